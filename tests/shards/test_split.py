"""Splitting a corpus: no video in two parts, nothing lost, copies kept together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.shards.record import Record
from clipsonic.shards.split import split
from clipsonic.shards.writer import CorpusIndex, corpus_facts, read_files, write_facts, write_shard
from clipsonic.specs import CorpusSpec

HALVES = {"train": 0.5, "test": 0.5}


def make(folder: Path, num_videos: int = 40, copies: dict[int, int] | None = None) -> Path:
    """Two records of each video, three videos in a shard; `copies`: video -> the one it is a copy of."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    hashes = [(rng.bytes(8).hex(), rng.bytes(8).hex()) for _ in range(num_videos)]
    facts, shards = [], []
    for start in range(0, num_videos, 3):
        records = []
        for video in range(start, min(start + 3, num_videos)):
            picture, sound = hashes[(copies or {}).get(video, video)]
            values = {"source": f"v/{video}.mp4", "seconds": 0.1, "sample_rate": 4000, "rms_db": -20.0}
            values |= {"picture_hash": picture, "sound_hash": sound}
            wave = rng.uniform(-0.1, 0.1, 400).astype(np.float32)
            frames = np.eye(2, 4, dtype=np.float16)
            records += [Record(f"{video:03d}-{part}", wave, frames, values, caption=f"é {part}") for part in range(2)]
        shards.append(write_shard(folder / f"shard-{len(shards):06d}.tar", records))
        facts += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in records]
    write_facts(folder, facts)
    lines = [{"source": f"v/{video}.mp4", "records": 2} for video in range(num_videos)]
    lines += [{"source": f"v/bad{number}.mp4", "records": 0, "reason": "no_audio"} for number in range(9)]
    (folder / "sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    CorpusIndex(CorpusSpec(4000, 0.1, 0.1), "toy/1", "toy", 4, shards).save(folder)
    return folder


def files_of(folder: Path) -> dict[str, dict[str, bytes]]:
    return {key: files for path in sorted(folder.glob("*.tar")) for key, files in read_files(path)}


def videos_of(folder: Path) -> set[str]:
    return {item["source"] for item in corpus_facts(folder)}


def test_each_record_and_each_listed_source_is_in_one_part_with_its_bytes(tmp_path: Path) -> None:
    corpus, out = make(tmp_path / "corpus"), tmp_path / "out"
    assert main(["split", str(corpus), "--out", str(out), "--part", "train=0.7", "--part", "test=0.3"]) == 0
    parts = [out / "train", out / "test"]
    whole = files_of(corpus)
    assert {**files_of(parts[0]), **files_of(parts[1])} == whole
    assert not videos_of(parts[0]) & videos_of(parts[1])
    assert 20 <= len(videos_of(parts[0])) <= 35
    listed = [line for part in parts for line in (part / "sources.jsonl").read_text().splitlines()]
    assert sorted(listed) == sorted((corpus / "sources.jsonl").read_text().splitlines())
    for part in parts:
        assert CorpusIndex.load(part).num_records == len(corpus_facts(part)) == len(files_of(part))
        for item in corpus_facts(part):
            assert item["key"] in dict(read_files(part / item["shard"]))


def test_videos_that_look_and_sound_alike_stay_together(tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus", copies={video + 20: video for video in range(20)})
    split(corpus, tmp_path / "out", HALVES)
    for video in range(20):
        sides = [f"v/{copy}.mp4" in videos_of(tmp_path / "out" / "test") for copy in (video, video + 20)]
        assert sides[0] == sides[1]


def test_a_video_keeps_its_part_as_others_come_and_another_seed_divides_otherwise(tmp_path: Path) -> None:
    split(make(tmp_path / "small", 20), tmp_path / "a", HALVES)
    split(make(tmp_path / "large", 40), tmp_path / "b", HALVES)
    split(tmp_path / "large", tmp_path / "c", HALVES, seed=1)
    assert videos_of(tmp_path / "a" / "test") <= videos_of(tmp_path / "b" / "test")
    assert videos_of(tmp_path / "b" / "test") != videos_of(tmp_path / "c" / "test")


def test_a_split_that_was_broken_off_is_ended_by_the_same_command(tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus")
    split(corpus, tmp_path / "a", HALVES)
    expected = (tmp_path / "a" / "test" / "index.json").read_bytes()
    (tmp_path / "a" / "test" / "index.json").unlink()
    (tmp_path / "a" / "train" / "index.json").unlink()
    split(corpus, tmp_path / "a", HALVES)
    assert (tmp_path / "a" / "test" / "index.json").read_bytes() == expected


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"a": 1.0}, "two or more"),
        ({"a": 0.5, "b": 0.6}, r"sum up to 1 \(these: 1\.1\)"),
        ({"a": 1.0, "b": 0.0}, "above 0"),
        ({"a": float("nan"), "b": 0.5}, "above 0"),
        ({"a": 0.5, "../b": 0.5}, "plain name"),
        ({"a": 0.99999, "b": 0.00001}, r"part b would be empty \(videos in all: 40\)"),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path: Path, shares: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        split(make(tmp_path / "corpus"), tmp_path / "out", shares)
    assert not (tmp_path / "out").exists()


def test_words_that_are_no_parts_and_parts_that_are_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, out = make(tmp_path / "corpus"), tmp_path / "out"
    command = ["split", str(corpus), "--out", str(out), "--part", "a=0.5", "--part"]
    assert main([*command, "b=half"]) == 2
    assert "must be NAME=SHARE" in capsys.readouterr().err
    assert main([*command, "a=0.5"]) == 2
    assert "one name" in capsys.readouterr().err
    assert main([*command, "b=0.5"]) == 0
    assert main([*command, "b=0.5"]) == 2
    assert "holds a corpus a already" in capsys.readouterr().err
