"""Merging corpora: every record once under the new names, and no merge of what does not go together."""

import dataclasses
import errno
import os

import numpy as np
import pytest

from clipsonic.cli import main
from clipsonic.errors import CorpusError, FingerprintError, SpecError, UsageError
from clipsonic.shards.merge import merge
from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, corpus_facts, read_shard, write_facts, write_shard
from clipsonic.specs import CorpusSpec

RATE_HZ = 4000


def make(folder, keys, fingerprint="toy/1", rate_hz=RATE_HZ, seconds=2.0):
    folder.mkdir(parents=True)
    facts, shards = [], []
    for number, part in enumerate(np.array_split(keys, 2)):
        records = [
            Record(str(key), np.full(rate_hz, 0.1, np.float32), np.eye(4, dtype=np.float16), {
                "source": f"{folder.name}/{key}.mp4", "seconds": 1.0, "sample_rate": rate_hz,
            })
            for key in part
        ]  # fmt: skip
        shards.append(write_shard(folder / f"shard-{number:06d}.tar", records))
        facts += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in records]
    write_facts(folder, facts)
    (folder / "sources.jsonl").write_text("".join(f'{{"source": "{key}", "records": 1}}\n' for key in keys))
    CorpusIndex(CorpusSpec(rate_hz, seconds, 0.5), fingerprint, "toy", 4, shards).save(folder)
    return folder


@pytest.fixture
def two(tmp_path):
    return make(tmp_path / "one", ["a", "b", "c"]), make(tmp_path / "two", ["d", "e"], seconds=3.0)


def keys_of(folder):
    return [record.key for shard in CorpusIndex.load(folder).shards for record in read_shard(folder / shard["name"])]


@pytest.mark.parametrize("links", [True, False])
def test_all_records_are_there_once_and_where_their_facts_say(two, tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(errno.EXDEV, "another disk")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert main(["merge", *map(str, two), "--out", str(tmp_path / "out")]) == 0
    out, index = tmp_path / "out", CorpusIndex.load(tmp_path / "out")
    assert keys_of(out) == [item["key"] for item in corpus_facts(out)] == ["a", "b", "c", "d", "e"]
    for item in corpus_facts(out):
        assert item["key"] in {record.key for record in read_shard(out / item["shard"])}
    assert (index.spec.seconds, index.fingerprint, len(index.shards)) == (3.0, "toy/1", 4)
    assert len((out / "sources.jsonl").read_text().splitlines()) == 5


def test_what_does_not_go_together_is_refused_with_both_sides(two, tmp_path):
    other = make(tmp_path / "other-clip", ["x"], fingerprint="toy/2")
    fast = make(tmp_path / "fast", ["y"], rate_hz=8000)
    copy = make(tmp_path / "copy", ["c"])
    with pytest.raises(FingerprintError, match=r"one is in CLIP space toy/1, .*other-clip in toy/2"):
        merge([two[0], other], tmp_path / "out")
    with pytest.raises(SpecError, match=r"one is at 4000 Hz, .*fast at 8000 Hz"):
        merge([two[0], fast], tmp_path / "out")
    with pytest.raises(CorpusError, match=r"one and .*copy both hold record c"):
        merge([two[0], copy], tmp_path / "out")
    with pytest.raises(UsageError, match="two or more"):
        merge([two[0]], tmp_path / "out")
    with pytest.raises(UsageError, match="holds a corpus already"):
        merge(two, two[0])
    assert not (tmp_path / "out").exists()


def test_a_copy_with_other_bytes_is_no_merge(two, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    shard = two[0] / "shard-000000.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorpusError, match="SHA-256"):
        merge(two, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


def test_a_merge_that_was_broken_off_is_ended_by_the_same_command(two, tmp_path):
    out = tmp_path / "out"
    merged = merge(two, out)
    (out / "index.json").unlink()
    (out / "shard-000003.tar").unlink()
    assert dataclasses.asdict(merge(two, out)) == dataclasses.asdict(merged)
