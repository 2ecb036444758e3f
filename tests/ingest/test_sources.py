"""What is listed: folders, files and manifests, in a fixed order, each thing once."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import makers_ingest as makers
import pytest

from clipsonic.errors import UsageError
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.sources import MEDIA_SUFFIXES, Remarks, list_jobs, passed_over_in_words
from clipsonic.specs import CorpusSpec


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*sources: str | Path) -> list[str]:
    return [job.source for job in list_jobs(sources)]


def test_a_folder_is_searched_to_the_bottom_sorted_and_by_suffix_in_any_case(tmp_path: Path) -> None:
    root = tmp_path / "my videos"
    touch(root / "b.MP4", root / "a.mkv", root / "deep" / "er" / "é 漢.WebM", root / "notes.md", root / "x.wav")
    touch(root / ".hidden.mp4", root / ".cache" / "y.mp4", root / "manifest.jsonl")
    assert names(root) == ["my videos/a.mkv", "my videos/b.MP4", "my videos/deep/er/é 漢.WebM"]


def test_names_do_not_depend_on_where_the_folder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    for place in ("one", "two"):
        touch(tmp_path / place / "videos" / "a.mp4")
        jobs.append(list_jobs([tmp_path / place / "videos"]))
    monkeypatch.chdir(tmp_path / "one" / "videos")
    jobs.append(list_jobs(["."]))
    assert len({(job.source, job.source_id, job.entry_id) for (job,) in jobs}) == 1
    assert str(tmp_path) not in jobs[0][0].source


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "videos" / "a.mp4", tmp_path / "two" / "videos" / "a.mp4")
    assert names(tmp_path / "one" / "videos", tmp_path / "two" / "videos") == ["videos/a.mp4", "videos~2/a.mp4"]


def test_what_is_listed_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "a.mp4", tmp_path / "v" / "b.mp4")
    (tmp_path / "v" / "link.mp4").symlink_to(tmp_path / "v" / "b.mp4")
    (tmp_path / "v" / "loop").symlink_to(tmp_path / "v")
    (tmp_path / "v" / "list.txt").write_text("b.mp4\na.mp4\n")
    assert names(tmp_path / "v", tmp_path / "v" / "a.mp4", tmp_path / "v", tmp_path / "v" / "list.txt") == [
        "v/a.mp4", "v/b.mp4",
    ]  # fmt: skip


def test_a_file_given_by_itself_is_listed_whatever_its_suffix_and_a_pipe_or_a_dead_link_too(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "a.xyz")
    os.mkfifo(tmp_path / "v" / "pipe.mp4")
    (tmp_path / "v" / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    assert names(tmp_path / "v" / "a.xyz") == ["v/a.xyz"]
    assert names(tmp_path / "v") == ["v/dead.mp4", "v/pipe.mp4"]


def test_a_text_manifest_has_a_path_a_line(tmp_path: Path) -> None:
    manifest = tmp_path / "list.txt"
    manifest.write_text("# comment\n\nsub/with space.mp4\nb.mp4\t1.5\t4\n/abs/gone.mp4\r\n", encoding="utf-8")
    jobs = list_jobs([manifest])
    assert [(Path(job.path), job.start_s, job.end_s) for job in jobs] == [
        (tmp_path / "sub" / "with space.mp4", None, None),
        (tmp_path / "b.mp4", 1.5, 4.0),
        (Path("/abs/gone.mp4"), None, None),
    ]
    assert jobs[0].source == f"{tmp_path.name}/sub/with space.mp4"
    assert jobs[2].source == "abs/gone.mp4"


@pytest.mark.parametrize("header", [True, False])
def test_a_table_has_columns_by_name_or_in_order(tmp_path: Path, header: bool) -> None:
    manifest = tmp_path / "list.CSV"
    rows = 'a.mp4,0,5,"a dog, barking"\n"b,c.mp4",,,\na.mp4,5,10,\n'
    manifest.write_text(("\ufeffpath,start_s,end_s,caption\n" if header else "") + rows, encoding="utf-8")
    jobs = list_jobs([manifest])
    assert [(Path(job.path).name, job.start_s, job.end_s, job.caption) for job in jobs] == [
        ("a.mp4", None, 5.0, "a dog, barking"), ("b,c.mp4", None, None, None), ("a.mp4", 5.0, 10.0, None),
    ]  # fmt: skip
    assert jobs[0].source_id == jobs[2].source_id
    assert jobs[0].entry_id != jobs[2].entry_id


def test_json_lines_are_objects_with_other_keys_ignored(tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    lines = [{"path": "a.mp4", "law": {"kind": "bell"}}, {"path": "a\u2028b.mp4", "start_s": 2}]
    manifest.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    assert [(Path(job.path).name, job.start_s) for job in list_jobs([manifest])] == [
        ("a.mp4", None),
        ("a\u2028b.mp4", 2.0),
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "# nothing\n", "lists nothing"),
        ("a.jsonl", "{broken\n", "line 1"),
        ("a.jsonl", '{"path": 3}\n', "line 1"),
        ("a.jsonl", '["a.mp4"]\n', "line 1"),
        ("a.csv", "path,start_s\na.mp4,soon\n", "start_s"),
        ("a.csv", "path,start_s,end_s\na.mp4,4,4\n", "end_s 4"),
        ("a.csv", "path,start_s,end_s\na.mp4,-1,4\n", "start_s"),
        ("a.csv", "path,start_s,end_s\na.mp4,nan,4\n", "start_s"),
        ("a.csv", "path,start_s,end_s\na.mp4,0,inf\n", "end_s"),
        ("a.csv", "a.mp4,0,4,a big, loud bell\n", "beyond the last column"),
        ("a.txt", "a.mp4\t0\t4\ta bell\tloud\n", "beyond the last column"),
    ],
)
def test_a_malformed_manifest_is_wrong_usage_and_names_the_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        list_jobs([tmp_path / name])


def test_a_missing_source_an_empty_folder_and_no_source_are_wrong_usage(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "readme.txt")
    with pytest.raises(UsageError, match="does not exist"):
        list_jobs([tmp_path / "missing.mp4"])
    with pytest.raises(UsageError, match="holds no media file"):
        list_jobs([tmp_path / "v"])
    with pytest.raises(UsageError, match="nothing is listed"):
        list_jobs([])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9.mp4\n")
    with pytest.raises(UsageError, match="UTF-8"):
        list_jobs([tmp_path / "latin.txt"])


def test_a_name_that_is_no_text_is_listed_with_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    try:
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.mp4"))).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (job,) = list_jobs([folder])
    assert job.source == "v/\\xff.mp4"
    assert Path(job.path).exists()


def test_a_parquet_manifest_is_read_by_its_columns(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    columns = {"path": ["a.mp4", "b.mp4"], "start_s": [1.5, None], "caption": [None, "a bell"], "label": [3, 4]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet")
    jobs = list_jobs([tmp_path / "list.parquet"])
    assert [(Path(job.path).name, job.start_s, job.caption) for job in jobs] == [
        ("a.mp4", 1.5, None), ("b.mp4", None, "a bell"),
    ]  # fmt: skip
    (tmp_path / "list.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        list_jobs([tmp_path / "list.parquet"])


def test_every_file_that_is_passed_over_is_counted_by_its_suffix(tmp_path: Path) -> None:
    root = tmp_path / "v"
    touch(root / "a.mp4", root / "b.TXT", root / "deep" / "c.txt", root / "d", root / "e.wtv", root / ".f.mp4")
    touch(root / ".git" / "g.mp4")
    with tarfile.open(root / "x.tar", "w") as archive:
        for name in ("1.mp4", "1.txt", "1.json", "2.jpg"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    remarks = Remarks()
    assert [job.source for job in list_jobs([root], remarks)] == ["v/a.mp4", "v/x.tar/1.mp4"]
    assert remarks.to_dict()["passed_over"] == {
        ".txt": 2, "hidden": 2, ".jpg": 1, ".json": 1, ".wtv": 1, "no suffix": 1
    }  # fmt: skip
    assert sum(remarks.passed_over.values()) == 8


def test_what_was_passed_over_is_one_line() -> None:
    assert passed_over_in_words({}) == ""
    assert passed_over_in_words({".jpg": 1}) == "passed over 1 file by their names: .jpg 1"
    counts = {f".x{number}": 20 - number for number in range(11)}
    words = passed_over_in_words(counts)
    assert words.startswith("passed over 165 files by their names: .x0 20, .x1 19, ")
    assert words.endswith(".x7 13, 3 other suffixes 33")


KINDS = {
    (".mp4", "libx264", "aac", 44100): ".mp4 .m4v .m4a .mp4v .mpg4 .mov .qt .mqv .3gp .3gpp .3g2 .3gp2 .f4v .f4p .mj2 "
    ".mjp2 .ism .ismv .insv .lrv .lrf .360",
    (".mkv", "libx264", "aac", 44100): ".mkv .mk3d .webm",
    (".avi", "mpeg4", "pcm_s16le", 44100): ".avi .divx .xvid",
    (".asf", "msmpeg4v3", "mp2", 44100): ".wmv .asf .wm .dvr-ms",
    (".ts", "mpeg2video", "mp2", 48000): ".ts .mts .m2ts .m2t .tp .trp",
    (".vob", "mpeg2video", "mp2", 48000): ".mpg .mpeg .mpe .m2p .ps .vob .vro .evo .mod .tod",
    (".flv", "libx264", "aac", 44100): ".flv",
    (".ogv", "libvpx", "libopus", 48000): ".ogv .ogm .ogx",
    (".nut", "mpeg4", "pcm_s16le", 44100): ".nut",
    (".mxf", "mpeg2video", "pcm_s16le", 48000): ".mxf",
    (".rm", "rv20", "ac3", 44100): ".rm .rmvb .rv",
}
NOT_MADE = {".dv", ".dif", ".mjpeg", ".mjpg"}
"""PyAV writes no DV from our pictures, and motion JPEG by itself has no sound."""


def test_every_suffix_that_is_listed_is_of_a_container_that_is_opened_under_it(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for (made_as, codec, sound_codec, rate_hz), suffixes in KINDS.items():
        how = {"seconds": 1.5, "fps": 25, "codec": codec, "sound_codec": sound_codec, "rate_hz": rate_hz}
        made = makers.make_video(tmp_path / f"made{made_as}", options={}, **how)
        for suffix in suffixes.split():
            os.link(made, folder / f"from{made_as[1:]}{suffix}")
    assert {path.suffix for path in folder.iterdir()} | NOT_MADE == MEDIA_SUFFIXES
    options = IngestOptions(spec=CorpusSpec(16000, 1.0, 1.0), workers=2, thumbnails=False)
    result = ingest(sorted(folder.iterdir()), tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    assert {outcome.source: outcome.reason for outcome in result.outcomes if outcome.refused} == {}
    assert result.index.num_records >= len(MEDIA_SUFFIXES - NOT_MADE) == result.listed
