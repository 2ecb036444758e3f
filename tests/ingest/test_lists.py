"""Publishers' lists: read as the bundled recipes say, their videos found by name, missing ones counted, not fatal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import makers_ingest as makers
import pytest

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.ingest import run as run_module
from clipsonic.ingest.lists import Entry, ListFormat, jobs_of_list, read_list
from clipsonic.ingest.recipe import load_list_format
from clipsonic.shards.writer import corpus_facts

VGGSOUND = "---g-f_I2yQ,1,people marching,test\n0abcdefghij,30,dog barking,train\nKLMNOPQRSTU,0,rain,train\n"
AUDIOSET = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3, num_segs=3\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
    '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n--ZhevVpy1s, 50.000, 60.000, "/m/012xff"\n'
)
MUSIC = json.dumps({"videos": {"acoustic_guitar": ["aaaaaaaaaaa", "bbbbbbbbbbb"], "cello": ["ccccccccccc"]}})


def entries(tmp_path: Path, recipe: str, text: str, split: str | None = None) -> list[Entry]:
    (tmp_path / "list").write_text(text)
    layout = load_list_format(recipe)
    assert layout is not None
    return read_list(tmp_path / "list", layout, split)


def test_the_bundled_recipes_read_their_publishers_lists(tmp_path: Path) -> None:
    assert entries(tmp_path, "vggsound", VGGSOUND)[:2] == [
        Entry("---g-f_I2yQ", 1.0, 11.0, "people marching", "test"),
        Entry("0abcdefghij", 30.0, 40.0, "dog barking", "train"),
    ]
    assert [entry.id for entry in entries(tmp_path, "vggsound", VGGSOUND, "train")] == ["0abcdefghij", "KLMNOPQRSTU"]
    assert entries(tmp_path, "audioset", AUDIOSET)[0] == Entry("--PJHxphWEs", 30.0, 40.0)
    assert entries(tmp_path, "music", MUSIC)[1:] == [
        Entry("bbbbbbbbbbb", caption="acoustic guitar"), Entry("ccccccccccc", caption="cello"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "text", "split", "words"),
    [
        ("vggsound", VGGSOUND, "val", "no split 'val': it has test, train"),
        ("vggsound", AUDIOSET.replace("30.000", "thirty").replace("50.000", "fifty"), None, "start_s is 'thirty'"),
        ("vggsound", "id-only\n", None, "1 columns, the recipe is for 4: id, start_s, caption, split"),
        ("vggsound", "id,1,dog barking, howling,train\n", None, "5 columns, the recipe is for 4"),
        ("audioset", "# nothing\n", None, "lists nothing"),
        ("music", "[]", None, "is not"),
    ],
)
def test_a_list_of_another_kind_is_refused_in_a_sentence(
    tmp_path: Path, recipe: str, text: str, split: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        entries(tmp_path, recipe, text, split)


@pytest.mark.parametrize(
    ("file", "interval"),
    [
        ("0abcdefghij.mp4", (30.0, 40.0)),
        ("A dog barks [0abcdefghij].webm", (30.0, 40.0)),
        ("0abcdefghij_30.mp4", (None, None)),
        ("0abcdefghij_000030.mp4", (None, None)),
        ("deep/0abcdefghij_30_40.mkv", (None, None)),
        ("0abcdefghij_000030_000040.mp4", (None, None)),
        ("0abcdefghij_30000_40000.mp4", (None, None)),
    ],
)
def test_a_video_is_found_under_the_names_that_downloaders_give(
    tmp_path: Path, file: str, interval: tuple[float | None, float | None]
) -> None:
    path = tmp_path / "videos" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    listed = [Entry("0abcdefghij", 30.0, 40.0, "dog"), Entry("missing-one")]
    (job,), missing = jobs_of_list([tmp_path / "videos"], listed)
    assert (job.start_s, job.end_s, job.caption) == (*interval, "dog")
    assert missing == listed[1:]


def test_two_intervals_of_one_video_are_two_jobs_and_what_is_not_listed_is_none(tmp_path: Path) -> None:
    for name in ("aaaaaaaaaaa.mp4", "unlisted.mp4"):
        (tmp_path / name).write_bytes(b"x")
    listed = [Entry("aaaaaaaaaaa", 0.0, 10.0), Entry("aaaaaaaaaaa", 20.0, 30.0), Entry("aaaaaaaaaaa", 0.0, 10.0)]
    jobs, _ = jobs_of_list([tmp_path], listed)
    assert [(job.start_s, job.end_s) for job in jobs] == [(None, 10.0), (20.0, 30.0)]
    labelled = [dataclasses.replace(listed[0], caption=label) for label in ("cello", "guitar")]
    jobs, _ = jobs_of_list([tmp_path], labelled)
    assert [job.caption for job in jobs] == ["cello"]
    with pytest.raises(UsageError, match=r"none of the 1 listed videos is in .*such as zzz\.mp4"):
        jobs_of_list([tmp_path], [Entry("zzz")])


def test_the_command_takes_what_is_there_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "load_embedder", lambda *_: makers.DoubleEmbedder())
    (tmp_path / "videos").mkdir()
    makers.make_video(tmp_path / "videos" / "0abcdefghij.mp4")
    (tmp_path / "list.csv").write_text("0abcdefghij,1,dog barking,train\nKLMNOPQRSTU,0,rain,train\n")
    out = tmp_path / "out"
    command = ["ingest", str(tmp_path / "videos"), "--out", str(out), "--min-seconds", "1", "--workers", "1"]
    assert main([*command, "--recipe", "vggsound"]) == 2
    assert "give both, such as --recipe vggsound --list vggsound.csv" in capsys.readouterr().err
    assert main([*command, "--recipe", "vggsound", "--list", str(tmp_path / "list.csv"), "--split", "train"]) == 0
    assert "missing: 1 of 2 listed" in capsys.readouterr().out
    assert [item["start_s"] for item in corpus_facts(out)] == [1.0]
    missing = [json.loads(line) for line in (out / "missing.jsonl").read_text().splitlines()]
    assert missing == [{"id": "KLMNOPQRSTU", "start_s": 0.0, "end_s": 10.0, "caption": "rain", "split": "train"}]


@pytest.mark.parametrize("given", [{"kind": "xml"}, {"columns": ("id", "colour")}])
def test_a_recipe_that_describes_no_list_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="unknown"):
        ListFormat(**given)  # type: ignore[arg-type]
