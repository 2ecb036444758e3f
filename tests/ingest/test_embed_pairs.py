"""Tars to embeddings: as the CLIP embeds them, the same bytes however often killed and whoever embeds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import makers_pairs as makers
import numpy as np
import psutil
import pytest

from clipsonic.cli import main
from clipsonic.clip.open_clip import load_clip
from clipsonic.clip.pair_embeds import open_embedded
from clipsonic.errors import CorpusError, UsageError
from clipsonic.ingest import embed_pairs as module
from clipsonic.ingest.embed_pairs import embed_pairs

COUNTS = (5, 3, 4)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in") / "tars"
    for number, count in enumerate(COUNTS):
        makers.write_tar(folder / f"{number}.tar", count, seed=number)
    return folder


@pytest.fixture(scope="module")
def unbroken(tars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "unbroken"
    embed_pairs([tars], out, workers=1)
    return out


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_rows_are_what_the_clip_says_of_pictures_and_captions(unbroken: Path) -> None:
    clip, shards = load_clip("tiny"), open_embedded(unbroken)
    assert [shard.shape for shard in shards] == [(3 * count, clip.width) for count in COUNTS]  # at most three captions
    texts, images = (shards[1].read(what, 0, 9).astype(np.float32) for what in ("texts", "images"))
    said = ["picture 0", "a colour", "plain 0", "picture 1", "a colour", "plain 1", "picture 2", "a colour", "plain 2"]
    assert np.abs(texts - clip.embed_texts(said)).max() < 1e-3  # float16 of values up to 1
    assert np.array_equal(images[0::3], images[1::3])
    assert not np.array_equal(images[0], images[3])
    assert shards[1].read("kinds", 0, 9).tolist() == ["k0"] * 3 + ["k1"] * 3 + ["k0"] * 3


def test_the_command_counts_and_a_second_time_finds_all_done(
    tars: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["embed-pairs", str(tars), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(words) == 0
    assert "36 pairs of 3 tars" in (said := capfd.readouterr().out)
    assert "3 samples could not be used" in said
    before = digests(tmp_path / "out")
    monkeypatch.setattr(module, "embed_tar", lambda *_: pytest.fail("embedded again"))
    assert main(words) == 0
    assert digests(tmp_path / "out") == before


def test_a_run_that_breaks_off_is_unfinished_and_goes_on_where_it_stood(
    tars: Path, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = module.embed_tar, []

    def breaking(tar: Path, clip: object) -> object:
        calls.append(tar.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(tar, clip)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "embed_tar", breaking)
    with pytest.raises(KeyboardInterrupt):
        embed_pairs([tars], tmp_path / "out", workers=1)
    with pytest.raises(CorpusError, match="is unfinished"):
        open_embedded(tmp_path / "out")
    embed_pairs([tars], tmp_path / "out", workers=1)
    assert calls == ["0.tar", "1.tar", "1.tar", "2.tar"]
    assert digests(tmp_path / "out") == digests(unbroken)


def test_other_tars_another_clip_and_other_things_in_the_folder_are_refused(
    tars: Path, tmp_path: Path, unbroken: Path
) -> None:
    with pytest.raises(UsageError, match="was begun with another CLIP or from other tars: give a new folder"):
        embed_pairs([tars / "0.tar"], unbroken, workers=1)
    foreign = makers.write_embeds(tmp_path / "foreign", makers.rotated_pairs(3, 1), fingerprint=None)
    with pytest.raises(UsageError, match="holds something else already"):
        embed_pairs([tars], foreign, workers=1)
    with pytest.raises(UsageError, match="--workers 0 is too small"):
        embed_pairs([tars], tmp_path / "new", workers=0)
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(CorpusError, match="is not a readable tar"):
        embed_pairs([tmp_path / "broken.tar"], tmp_path / "new", workers=1)
    with pytest.raises(CorpusError, match="no usable pair among 1 samples"):
        embed_pairs([makers.write_tar(tmp_path / "empty.tar", 0)], tmp_path / "none", workers=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whenever_it_is_killed_it_ends_with_the_bytes_of_one_process_and_leaves_none_behind(
    tars: Path, tmp_path: Path, unbroken: Path
) -> None:
    out, done = tmp_path / "out", 0
    words = [sys.executable, "-m", "clipsonic.cli", "embed-pairs", str(tars), "--out", str(out), "--workers", "2"]
    for wanted in (1, 2):
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("embed/[0-9].json"))) < wanted:
            time.sleep(0.02)
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        done += bool(children)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
    assert done >= 1, "all tars were done before the first kill"
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    assert digests(out) == digests(unbroken)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_writes_the_same_bytes(tars: Path, tmp_path: Path, unbroken: Path) -> None:
    pytest.importorskip("ray")
    embed_pairs([tars], tmp_path / "out", executor="ray")
    assert digests(tmp_path / "out") == digests(unbroken)
