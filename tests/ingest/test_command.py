"""The command: options, recipes, and one sentence for every wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.ingest import run as run_module
from clipsonic.ingest.command import build_parser
from clipsonic.ingest.recipe import OPTION_KINDS, load_recipe
from clipsonic.ingest.run import IngestOptions
from clipsonic.resources import bundled_root
from clipsonic.shards.writer import CorpusIndex, read_shard
from clipsonic.specs import CorpusSpec


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    makers.make_video(folder / "a.mp4", seconds=3)
    makers.make_video(folder / "b.mp4", sound_codec=None)
    return folder


def test_the_command_ingests_and_says_what_it_did(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "load_embedder", lambda *_: makers.DoubleEmbedder())
    out = tmp_path / "corpus"
    words = ["ingest", str(videos), "--out", str(out), "--seconds", "1", "--workers", "1", "--no-thumbnails"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "3 records" in captured.out
    assert "1 of 2 listed sources" in captured.out
    assert "no_audio 1" in captured.out
    assert "file/s" in captured.err
    assert main([*words, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["listed"], values["ingested"], values["refused"], values["records"]) == (2, 1, 1, 3)
    index = CorpusIndex.load(out)
    assert (index.spec.seconds, index.spec.min_seconds, index.clip) == (1.0, 1.0, "tiny")
    assert next(read_shard(out / "shard-000000.tar")).thumbnail is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing_folder"], "does not exist"),
        (["EMPTY"], "holds no media file"),
        (["VIDEOS", "--seconds", "0"], "must be above 0"),
        (["VIDEOS", "--min-seconds", "-1"], "must be above 0"),
        (["VIDEOS", "--sample-rate-hz", "10"], "below 1000"),
        (["VIDEOS", "--workers", "0"], "--workers 0 is too small"),
        (["VIDEOS", "--stride-s", "nan"], "--stride-s nan is too small"),
        (["VIDEOS", "--recipe", "nowhere"], "neither a file nor a bundled recipe"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_two_before_any_work(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"VIDEOS": str(videos), "EMPTY": str(tmp_path / "empty")}
    assert main(["ingest", *[places.get(word, word) for word in words], "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [[], ["--out", "x"], ["v"], ["v", "--out", "x", "--second", "3"], ["v", "--out", "x", "--workers", "two"]]
)
def test_unknown_abbreviated_and_missing_options_are_exit_two(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ingest", *words])
    assert caught.value.code == 2


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser("clipsonic ingest").parse_args(["--help"])
    assert "clipsonic ingest my_videos --out corpus" in capsys.readouterr().out


def test_every_bundled_recipe_is_valid_and_the_folder_recipe_is_the_default() -> None:
    recipes = sorted((bundled_root() / "data" / "recipes").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        load_recipe(recipe)
    defaults = {**vars(IngestOptions()), **vars(CorpusSpec()), "clip": "tiny"}
    assert set(OPTION_KINDS) == defaults.keys() - {"spec", "device"}
    assert all(defaults[name] == value for name, value in load_recipe("folder").items())


def test_the_command_line_wins_over_the_recipe(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "load_embedder", lambda *_: makers.DoubleEmbedder())
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("description: short\noptions:\n  seconds: 0.5\n  thumbnails: false\n  workers: 1\n")
    words = ["ingest", str(videos), "--recipe", str(recipe), "--out"]
    assert main([*words, str(tmp_path / "one")]) == 0
    assert main([*words, str(tmp_path / "two"), "--seconds", "1", "--thumbnails"]) == 0
    assert [CorpusIndex.load(tmp_path / name).spec.seconds for name in ("one", "two")] == [0.5, 1.0]
    assert next(read_shard(tmp_path / "two" / "shard-000000.tar")).thumbnail is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("options: {secnds: 3}", "unknown options secnds"),
        ("options: {seconds: long}", "must be of type float"),
        ("options: {workers: true}", "must be of type int"),
        ("options: {thumbnails: 1}", "must be of type bool"),
        ("sources: [a]", "nothing else"),
        ("[1, 2]", "nothing else"),
        ("a: [", "not YAML"),
        ("options: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.slow
def test_with_the_bundled_clip_the_embeddings_are_those_of_the_whole_pictures(videos: Path, tmp_path: Path) -> None:
    """Pictures are brought to CLIP's size by the decoding processes: nothing may change by that."""
    if not (bundled_root() / "priors" / "tiny" / "clip").is_dir():
        pytest.skip("the bundled CLIP is not built in this checkout")
    from clipsonic.clip.open_clip import load_clip
    from clipsonic.ingest.decode import frames_at

    out = tmp_path / "corpus"
    assert main(["ingest", str(videos), "--out", str(out), "--seconds", "1", "--frame-tolerance-s", "0"]) == 0
    embedder = load_clip("tiny")
    assert run_module.fit_of(embedder) is not None
    assert CorpusIndex.load(out).fingerprint == embedder.fingerprint
    for record in read_shard(out / "shard-000000.tar"):
        times_s = [record.facts["start_s"] + time_s for time_s in record.facts["frame_times_s"]]
        whole = embedder.embed_pictures(frames_at(videos / "a.mp4", times_s))
        assert np.abs(record.frames - whole).max() < 1e-3  # float16, and float32 rounding in another batch
