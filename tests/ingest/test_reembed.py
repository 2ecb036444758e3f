"""A corpus in another CLIP's space, from the pictures it keeps: as if its videos had been ingested with that CLIP."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.cli import main
from clipsonic.errors import CorpusError, UsageError
from clipsonic.ingest.reembed import reembed
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.shards.writer import CorpusIndex, corpus_facts, read_files, read_shard
from clipsonic.specs import CorpusSpec

SPEC = CorpusSpec(16000, 1.0, 0.5)


class Other(makers.DoubleEmbedder):
    """Another space, in which a picture is the digits of its number; breaks off after so many batches."""

    fingerprint = "other/1"
    width = makers.DIGITS

    def __init__(self, most_batches: int = 1000) -> None:
        super().__init__()
        self.most_batches = most_batches

    def embed_pictures(self, pictures: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
        if len(self.batches) >= self.most_batches:
            raise KeyboardInterrupt
        self.batches.append(len(pictures))
        cells = [np.array_split(picture[4:12, :, 0], makers.DIGITS, axis=1) for picture in pictures]
        vectors = np.array([[cell.mean() for cell in row] for row in cells], np.float32) + 1.0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "videos"
    folder.mkdir()
    for number in range(5):
        makers.make_video(folder / f"{number}.mp4", seconds=2.2 + number)
    (folder / "bad.mp4").write_text("no media\n" * 30)
    return folder


@pytest.fixture(scope="module")
def corpus(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "corpus"
    options = IngestOptions(spec=SPEC, shard_files=2, workers=1, keep_frames=96)
    ingest([videos], out, options, embedder=makers.DoubleEmbedder())
    return out


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_it_is_the_corpus_that_the_other_clip_would_have_made(corpus: Path, videos: Path, tmp_path: Path) -> None:
    direct, again = tmp_path / "direct", tmp_path / "again"
    ingest([videos], direct, IngestOptions(spec=SPEC, shard_files=2, workers=1), embedder=Other())
    num_pictures = reembed(corpus, again, Other(), "other")
    index, expected = CorpusIndex.load(again), CorpusIndex.load(direct)
    assert (index.fingerprint, index.width, index.clip) == ("other/1", makers.DIGITS, "other")
    assert index.num_records == expected.num_records
    assert corpus_facts(again) == corpus_facts(corpus) == corpus_facts(direct)
    assert (again / "refused.jsonl").read_bytes() == (corpus / "refused.jsonl").read_bytes()
    cosines, others = [], []
    for one, two in zip(index.shards, expected.shards, strict=True):
        pairs = zip(read_shard(again / one["name"]), read_shard(direct / two["name"]), strict=True)
        for mine, theirs in pairs:
            assert np.array_equal(mine.wave, theirs.wave)
            assert mine.frames.shape == theirs.frames.shape
            assert len(mine.pictures) == len(mine.frames)
            cosines += list((mine.frames.astype(np.float32) * theirs.frames.astype(np.float32)).sum(1))
            others += list((mine.frames[1:].astype(np.float32) * theirs.frames[:-1].astype(np.float32)).sum(1))
    assert len(cosines) == num_pictures
    assert np.median(others) < 0.99
    assert min(cosines) > 0.999


def test_all_other_files_keep_their_bytes(corpus: Path, tmp_path: Path) -> None:
    reembed(corpus, tmp_path / "again", Other(), "other")
    for path in sorted(corpus.glob("*.tar")):
        for (key, before), (same, after) in zip(
            read_files(path), read_files(tmp_path / "again" / path.name), strict=True
        ):
            assert key == same
            changed = {suffix for suffix in before if before[suffix] != after.get(suffix)}
            assert changed == {"frames.npy"}
            assert set(after) == set(before)


def test_a_run_that_broke_off_goes_on_with_what_is_left(corpus: Path, tmp_path: Path) -> None:
    whole = Other()
    reembed(corpus, tmp_path / "whole", whole, "other")
    with pytest.raises(KeyboardInterrupt):
        reembed(corpus, tmp_path / "broken", Other(most_batches=2), "other")
    assert not (tmp_path / "broken" / "index.json").exists()
    done = len(list((tmp_path / "broken" / "reembed").iterdir()))
    assert done >= 1
    again = Other()
    reembed(corpus, tmp_path / "broken", again, "other")
    assert len(again.batches) < len(whole.batches)
    assert digests(tmp_path / "broken") == digests(tmp_path / "whole")
    assert not (tmp_path / "broken" / "reembed").exists()


def test_thumbnails_give_one_picture_for_each_record(corpus: Path, tmp_path: Path) -> None:
    reembed(corpus, tmp_path / "again", Other(), "other", thumbnails=True)
    for item, before in zip(corpus_facts(tmp_path / "again"), corpus_facts(corpus), strict=True):
        assert item["frame_times_s"] == [before["frame_times_s"][len(before["frame_times_s"]) // 2]]
    (record, *_) = read_shard(tmp_path / "again" / "shard-000000.tar")
    assert record.frames.shape == (1, makers.DIGITS)
    assert record.facts["frame_times_s"] == corpus_facts(tmp_path / "again")[0]["frame_times_s"]


def test_a_corpus_without_pictures_another_clip_and_a_finished_corpus_are_refused(
    corpus: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    ingest([videos], bare, IngestOptions(spec=SPEC, workers=1, thumbnails=False), embedder=makers.DoubleEmbedder())
    with pytest.raises(CorpusError, match="--keep-frames 256"):
        reembed(bare, tmp_path / "a", Other(), "other")
    with pytest.raises(CorpusError, match="--no-thumbnails"):
        reembed(bare, tmp_path / "b", Other(), "other", thumbnails=True)
    with pytest.raises(KeyboardInterrupt):
        reembed(corpus, tmp_path / "c", Other(most_batches=2), "other")
    with pytest.raises(UsageError, match="begun with another CLIP"):
        reembed(corpus, tmp_path / "c", makers.DoubleEmbedder(), "double")
    assert main(["reembed", str(corpus), "--clip", "tiny", "--out", str(bare)]) == 2
    assert "holds a corpus already" in capsys.readouterr().err


def test_the_command_makes_what_ingest_makes(corpus: Path, tmp_path: Path) -> None:
    assert main(["reembed", str(corpus), "--clip", "tiny", "--out", str(tmp_path / "tiny")]) == 0
    index = CorpusIndex.load(tmp_path / "tiny")
    assert index.clip == "tiny"
    assert index.fingerprint.startswith("soundstage-clip")
