"""Tars that are reproducible and whole, and an index that knows when they are not."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsonic.errors import CorpusError
from clipsonic.shards.record import Record
from clipsonic.shards.writer import (
    FACTS_NAME,
    CorpusIndex,
    ShardWriter,
    corpus_facts,
    read_shard,
    write_facts,
    write_shard,
)
from clipsonic.specs import CorpusSpec


def make_records(count: int, first: int = 0) -> list[Record]:
    rng = np.random.default_rng(first)
    return [
        Record(
            f"src-{number:04d}",
            (rng.integers(-3000, 3000, 800) / 32768).astype(np.float32),
            rng.standard_normal((4, 8)).astype(np.float16),
            {"source": f"v/{number}.mp4", "sample_rate": 16000, "seconds": 0.05},
            caption=f"number {number}",
        )
        for number in range(first, first + count)
    ]


def make_corpus(folder: Path, per_shard: int = 3, num_shards: int = 2) -> CorpusIndex:
    shards, facts = [], []
    for number in range(num_shards):
        records = make_records(per_shard, number * per_shard)
        shards.append(write_shard(folder / f"shard-{number:06d}.tar", records))
        facts += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in records]
    write_facts(folder, facts)
    index = CorpusIndex(CorpusSpec(16000, 0.05, 0.05), "double/0", "tiny", 8, shards)
    index.save(folder)
    return index


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    records = make_records(5)
    write_shard(tmp_path / "s.tar", records)
    again = list(read_shard(tmp_path / "s.tar"))
    assert [record.key for record in again] == [record.key for record in records]
    assert all(np.array_equal(one.wave, two.wave) for one, two in zip(records, again, strict=True))
    assert [record.key for record in read_shard(tmp_path / "s.tar", {"src-0003"})] == ["src-0003"]


def test_the_info_is_true_of_the_file_and_equal_records_give_equal_tars(tmp_path: Path) -> None:
    info = write_shard(tmp_path / "one.tar", make_records(4))
    write_shard(tmp_path / "two.tar", make_records(4))
    data = (tmp_path / "one.tar").read_bytes()
    assert data == (tmp_path / "two.tar").read_bytes()
    assert info == {
        "name": "one.tar", "records": 4, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def test_any_reader_of_tars_finds_the_webdataset_layout_and_no_trace_of_this_machine(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", make_records(2))
    with tarfile.open(tmp_path / "s.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:4]] == [
        "src-0000.flac", "src-0000.frames.npy", "src-0000.json", "src-0000.txt",
    ]  # fmt: skip
    assert {(member.uid, member.gid, member.uname, member.mtime, member.mode) for member in members} == {
        (0, 0, "", 0, 0o644)
    }


def test_webdataset_itself_reads_the_samples(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    write_shard(tmp_path / "s.tar", make_records(3))
    samples = list(wds.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == ["src-0000", "src-0001", "src-0002"]
    assert "frames.npy" in samples[0]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def records() -> Iterator[Record]:
        yield from make_records(1)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half"):
        write_shard(tmp_path / "s.tar", records())
    assert list(tmp_path.iterdir()) == []


def test_a_shard_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "s.tar")
    writer.add(make_records(1)[0])
    assert not (tmp_path / "s.tar").exists()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["s.tar"]


def test_member_names_are_never_paths(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../escape.json"))
    with pytest.raises(CorpusError):
        list(read_shard(tmp_path / "evil.tar"))
    assert not (tmp_path.parent.parent / "escape.json").exists()


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\x00" * 700])
def test_a_file_that_is_no_shard_is_refused_or_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(data)
    if data.startswith(b"\x00"):
        assert list(read_shard(tmp_path / "s.tar")) == []  # two zero blocks are tar's own end mark
    else:
        with pytest.raises(CorpusError, match="cannot be read"):
            list(read_shard(tmp_path / "s.tar"))


def test_the_index_comes_back_and_counts(tmp_path: Path) -> None:
    index = make_corpus(tmp_path)
    assert CorpusIndex.load(tmp_path) == index
    assert index.num_records == 6


def test_facts_are_read_from_their_file_and_rebuilt_from_the_tars_without_it(tmp_path: Path) -> None:
    make_corpus(tmp_path)
    facts = corpus_facts(tmp_path)
    assert [item["key"] for item in facts] == [f"src-{number:04d}" for number in range(6)]
    assert [item["shard"] for item in facts] == ["shard-000000.tar"] * 3 + ["shard-000001.tar"] * 3
    (tmp_path / FACTS_NAME).unlink()
    assert corpus_facts(tmp_path) == facts


def test_facts_files_are_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_facts(tmp_path / name, [{"key": "é", "x": 1}])
    assert (tmp_path / "a" / FACTS_NAME).read_bytes() == (tmp_path / "b" / FACTS_NAME).read_bytes()


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _evil_shard(folder: Path) -> None:
    _edit(folder, shards=[{"name": "../x.tar", "records": 1, "bytes": 1, "sha256": ""}])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "index.json").unlink(), "no index.json"),
        (lambda folder: (folder / "index.json").write_text("{"), "not a corpus index"),
        (lambda folder: (folder / "index.json").write_text("[]"), "not a corpus index"),
        (lambda folder: _edit(folder, format=99), "format 99"),
        (lambda folder: _edit(folder, spec={"sample_rate_hz": 1}), "not a corpus index"),
        (lambda folder: _edit(folder, surprise=1), "not a corpus index"),
        (lambda folder: (folder / "shard-000001.tar").unlink(), "is missing"),
        (lambda folder: (folder / "shard-000001.tar").write_bytes(b"short"), "has 5 bytes"),
        (_evil_shard, "outside its folder"),
        (lambda folder: _edit(folder, shards=[{"name": "x.tar"}]), "not a corpus index"),
    ],
)
def test_a_damaged_corpus_is_refused_in_one_sentence(tmp_path: Path, damage: Any, words: str) -> None:
    make_corpus(tmp_path)
    damage(tmp_path)
    with pytest.raises(CorpusError, match=words) as caught:
        CorpusIndex.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_facts_are_refused(tmp_path: Path) -> None:
    make_corpus(tmp_path)
    (tmp_path / FACTS_NAME).write_bytes(b"no gzip")
    with pytest.raises(CorpusError, match="damaged"):
        corpus_facts(tmp_path)
