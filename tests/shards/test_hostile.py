"""A corpus of a stranger names no file outside of its folder, and nobody writes through a link that was laid there."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from clipsonic import remote
from clipsonic.errors import CorpusError
from clipsonic.files import PROTOCOLS, TEMPORARY_SUFFIX
from clipsonic.shards.cache import ShardCache
from clipsonic.shards.corpus import open_corpus
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.merge import merge
from clipsonic.shards.record import Record
from clipsonic.shards.split import split
from clipsonic.shards.writer import FACTS_NAME, INDEX_NAME, ShardWriter, corpus_facts, write_facts
from clipsonic.specs import SegmentSpec

MakeCorpus = Callable[..., Path]
KEYS = [f"k{i}" for i in range(6)]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """fsspec's store in memory as one that may be read."""
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    monkeypatch.setattr(remote, "_PAUSE_S", 0.001)
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


@pytest.fixture
def corpus(make_corpus: MakeCorpus) -> Path:
    """Its facts say that a record is in a shard of the folder beside it, which is there."""
    make_corpus("beside", ["secret"])
    folder = make_corpus("corpus", KEYS)
    name_shard(folder, "../beside/shard-000000.tar")
    return folder


def name_shard(folder: Path, shard: Any) -> None:
    """Put a record of the folder beside into the facts."""
    facts = [{**item, "shard": f"shard-00000{place // 4}.tar"} for place, item in enumerate(corpus_facts(folder))]
    write_facts(folder, [*facts, {**facts[0], "key": "secret", "shard": shard}])


@pytest.mark.parametrize("shard", ["../beside/shard-000000.tar", "/shard.tar", "shard-000009.tar", ".", None, 3])
def test_facts_that_name_a_shard_which_is_none_of_the_index_are_refused(
    make_corpus: MakeCorpus, segment: SegmentSpec, shard: Any
) -> None:
    make_corpus("beside", ["secret"])
    folder = make_corpus("corpus", KEYS)
    name_shard(folder, shard)
    with pytest.raises(CorpusError, match=r"secret is in .*, which is no shard of index\.json: delete"):
        corpus_facts(folder)
    with pytest.raises(CorpusError, match="record secret is in"):
        SegmentLoader(folder, segment, 2, 1, "all")


def test_splitting_and_merging_read_no_shard_of_another_folder(corpus: Path, make_corpus: MakeCorpus) -> None:
    with pytest.raises(CorpusError, match="record secret is in"):
        split(corpus, corpus.parent / "parts", {"a": 0.5, "b": 0.5})
    with pytest.raises(CorpusError, match="record secret is in"):
        merge([make_corpus("other", ["x"]), corpus], corpus.parent / "merged")


def test_facts_without_an_index_may_name_files_of_their_folder_only(corpus: Path) -> None:
    (corpus / INDEX_NAME).unlink()
    with pytest.raises(CorpusError, match="record secret is in"):
        corpus_facts(corpus)
    name = "shard-000000.tar"
    write_facts(corpus, [{"key": "a", "shard": name}])
    assert corpus_facts(corpus) == [{"key": "a", "shard": name}]


def test_lines_that_are_no_facts_are_damage(corpus: Path) -> None:
    for line in (b"[1]\n", b'{"shard": "shard-000000.tar"}\n', b"3\n"):
        (corpus / FACTS_NAME).write_bytes(gzip.compress(line))
        with pytest.raises(CorpusError, match="is damaged"):
            corpus_facts(corpus)


def test_far_facts_that_name_an_unknown_shard_are_refused_in_a_sentence(
    corpus: Path, memory: Any, segment: SegmentSpec, tmp_path: Path
) -> None:
    for path in corpus.iterdir():
        memory.pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
    with pytest.raises(CorpusError, match="record secret is in"):
        SegmentLoader(open_corpus("memory://bucket/corpus", tmp_path / "cache"), segment, 2, 1, "all")


@pytest.mark.parametrize("last", ["..%2f..%2foutside", "%2e%2e%2foutside", "..%2foutside"])
def test_an_address_never_names_a_folder_outside_of_the_cache(
    corpus: Path, memory: Any, tmp_path: Path, last: str
) -> None:
    memory.pipe(f"/bucket/{last}/{INDEX_NAME}", (corpus / INDEX_NAME).read_bytes())
    cache = tmp_path / "a" / "b" / "cache"
    opened = open_corpus(f"memory://bucket/{last}", cache)
    assert opened.folder.resolve().parent == cache.resolve()
    assert [path.name for path in (tmp_path / "a").rglob(INDEX_NAME)] == [INDEX_NAME]


def record() -> Record:
    facts = {"sample_rate": 4000, "frame_times_s": [0.5]}
    return Record("a", np.zeros(40, np.float32), np.ones((1, 8), np.float16), facts)


def test_a_link_laid_where_a_shard_is_written_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / f".shard-000000.tar{TEMPORARY_SUFFIX}").symlink_to(victim)
    with ShardWriter(folder, "shard-000000.tar") as writer:
        writer.add(record())
    assert victim.read_bytes() == b"precious"
    assert not (folder / "shard-000000.tar").is_symlink()


def test_a_link_laid_where_a_lock_of_the_cache_is_made_is_refused_and_its_file_kept(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    shard = tmp_path / "cache" / "c" / "shard.tar"
    shard.parent.mkdir(parents=True)
    (shard.parent / ".shard.tar.lock").symlink_to(victim)
    with pytest.raises(OSError, match=r"shard\.tar\.lock"):
        ShardCache(tmp_path / "cache", 1000).bring(shard, 3, lambda path: path.write_bytes(b"abc"))  # type: ignore[arg-type, return-value]
    assert victim.read_bytes() == b"precious"


def test_what_a_killed_writer_left_of_a_shard_is_gone_when_it_is_written_again(tmp_path: Path) -> None:
    killed = ShardWriter(tmp_path, "shard-000000.tar")
    killed.add(record())
    other = tmp_path / f".shard-000000.tar.json.{'a' * 16}{TEMPORARY_SUFFIX}"
    other.write_bytes(b"of another file")
    assert len(list(tmp_path.glob(f".*{TEMPORARY_SUFFIX}"))) == 2
    with ShardWriter(tmp_path, "shard-000000.tar") as writer:
        writer.add(record())
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "shard-000000.tar"]
    os.close(killed._file.fileno())
