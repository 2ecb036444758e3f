"""Corpora behind addresses: the batches of a folder, checked, within the cache's limit, and from a store that fails."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from clipsonic import remote
from clipsonic.errors import ClipsonicError, CorpusError, UsageError
from clipsonic.files import PROTOCOLS
from clipsonic.shards.cache import ShardCache
from clipsonic.shards.corpus import FarCorpus, open_corpus
from clipsonic.shards.loader import SegmentLoader
from clipsonic.specs import SegmentSpec

MakeCorpus = Callable[..., Path]
URL = "memory://bucket/corpus"
KEYS = [f"k{i:02d}" for i in range(24)]


@pytest.fixture
def folder(make_corpus: MakeCorpus) -> Path:
    """24 records in six shards."""
    return make_corpus("folder", KEYS)


@pytest.fixture
def fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The same corpus in fsspec's store in memory; counts what is fetched from there, by name."""
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    monkeypatch.setattr(remote, "_PAUSE_S", 0.001)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in folder.iterdir():
        memory.pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
    counts, get = Counter[str](), remote.get

    def counting(url: str, path: Path, tries: int = 1) -> None:
        counts[url.rpartition("/")[2]] += 1
        get(url, path, tries)

    monkeypatch.setattr(remote, "get", counting)
    yield counts
    memory.store.clear()


def far(tmp_path: Path, shards_kept: float = 100.0) -> FarCorpus:
    """The corpus in the store, with a cache for so many shards."""
    corpus = open_corpus(URL, tmp_path / "cache", 1.0)
    largest = max(corpus.num_bytes.values())
    opened = open_corpus(URL, tmp_path / "cache", shards_kept * largest / 1e9)
    assert isinstance(opened, FarCorpus)
    return opened


def batches(loader: SegmentLoader, count: int) -> list[dict[str, Any]]:
    return list(islice(iter(loader), count))


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    for expected, got in zip(first, second, strict=True):
        assert expected["keys"] == got["keys"]
        for name in ("wave", "frames", "frame_times_s"):
            assert torch.equal(expected[name], got[name])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_address_gives_the_batches_of_the_folder_and_fetches_each_shard_once(
    folder: Path, fetched: Counter[str], tmp_path: Path, segment: SegmentSpec, num_workers: int
) -> None:
    expected = batches(SegmentLoader(folder, segment, 5, 1, "all"), 12)
    loader = SegmentLoader(far(tmp_path), segment, 5, 1, "all", num_workers=num_workers, cache_mb=0)
    assert_same(expected, batches(loader, 12))
    assert fetched == Counter({f"shard-{n:06d}.tar": 1 for n in range(6)})
    assert_same(expected, batches(SegmentLoader(far(tmp_path), segment, 5, 1, "all"), 12))
    assert fetched.total() == 6, "the next run finds them on the disk"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corpus_larger_than_the_cache_is_fetched_once_an_epoch_and_stays_within_the_limit(
    fetched: Counter[str], tmp_path: Path, segment: SegmentSpec, num_workers: int
) -> None:
    corpus = far(tmp_path, shards_kept=4.1)
    loader = SegmentLoader(corpus, segment, 4, 1, "all", num_workers=num_workers, cache_mb=0)
    most, keys = 0, []
    for batch in islice(iter(loader), 18):  # three epochs
        keys += batch["keys"]
        most = max(most, len(list((tmp_path / "cache").glob("*/*.tar"))))
    # a shard is in its place before the oldest is removed: a look from another thread may fall in between
    assert most <= 4 + (num_workers > 0)
    for epoch in range(3):
        assert sorted(keys[24 * epoch : 24 * (epoch + 1)]) == KEYS
    assert keys[:24] != keys[24:48]
    shards = [int(key[1:]) // 4 for key in keys[:8]]
    assert len(set(shards)) == 2, "a window is half the cache: two shards"
    assert shards != sorted(shards), "whose records are mixed"
    # each epoch fetches what is not there, and some of the next one is ahead; a thread that the machine lets wait until
    # its shard has been removed again fetches it once more (23 in all were seen at a load of 8 on two cores)
    assert 12 <= fetched.total() <= 18 + (4 if num_workers == 0 else 12)


def test_a_look_at_some_records_of_a_corpus_larger_than_the_cache_fetches_few_shards(
    fetched: Counter[str], tmp_path: Path, segment: SegmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipsonic.shards.loader._HANDY_SHARDS", 2)
    corpus = far(tmp_path, shards_kept=4.1)
    keys = [record.key for record in SegmentLoader(corpus, segment, 4, 1, "all").handy_records()]
    assert len(keys) == 8
    assert len({int(key[1:]) // 4 for key in keys}) == 2
    some = SegmentLoader(corpus, segment, 4, 1, "all", few_shards=True)
    assert sorted(key for batch in islice(some.one_pass(), 6) for key in batch["keys"]) == KEYS
    fetched.clear()
    next(iter(SegmentLoader(far(tmp_path / "new", 4.1), segment, 4, 1, "all", few_shards=True).one_pass()))
    assert fetched.total() == 1
    whole = SegmentLoader(far(tmp_path), segment, 4, 1, "all")
    assert whole.handy_records() == whole.records


def test_another_size_of_cache_is_another_stream_and_says_so(
    fetched: Counter[str], tmp_path: Path, segment: SegmentSpec
) -> None:
    state = SegmentLoader(far(tmp_path, 4.1), segment, 4, 1, "all").state_dict()
    with pytest.raises(CorpusError, match="digest"):
        SegmentLoader(far(tmp_path), segment, 4, 1, "all").load_state_dict(state)


def test_a_shard_that_is_not_what_the_index_says_is_refused_and_not_kept(
    fetched: Counter[str], tmp_path: Path, segment: SegmentSpec
) -> None:
    memory = fsspec.filesystem("memory")
    data = bytearray(memory.cat_file("/bucket/corpus/shard-000002.tar"))
    data[600] ^= 1
    memory.pipe("/bucket/corpus/shard-000002.tar", bytes(data))
    with pytest.raises(CorpusError, match=r"shard memory://bucket/corpus/shard-000002.tar has SHA-256 .* its index"):
        batches(SegmentLoader(far(tmp_path), segment, 24, 1, "all"), 1)
    assert not [path for path in (tmp_path / "cache").rglob("*shard-000002*") if path.suffix != ".lock"]


def test_a_store_that_fails_now_and_then_is_asked_again_and_one_that_keeps_failing_is_one_sentence(
    folder: Path, fetched: Counter[str], tmp_path: Path, segment: SegmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kind = Counter[str](), type(fsspec.filesystem("memory"))
    get_file, times = kind.get_file, {"fails": 2}

    def failing(self: Any, path: str, *rest: Any, **options: Any) -> Any:
        asked[path] += 1
        if asked[path] <= times["fails"]:
            raise ConnectionError("reset by peer")
        return get_file(self, path, *rest, **options)

    monkeypatch.setattr(kind, "get_file", failing)
    expected = batches(SegmentLoader(folder, segment, 4, 1, "all"), 6)
    assert_same(expected, batches(SegmentLoader(far(tmp_path), segment, 4, 1, "all"), 6))
    assert set(asked.values()) == {3}
    asked.clear()
    times["fails"] = 100
    with pytest.raises(ClipsonicError, match=r"shard-\d+\.tar refuses \(ConnectionError: reset by peer\)") as refusal:
        batches(SegmentLoader(far(tmp_path / "other"), segment, 4, 1, "all"), 6)
    assert "\n" not in str(refusal.value)
    assert list(asked.values()) == [4]


def test_what_is_not_there_is_not_asked_for_again(
    fetched: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    monkeypatch.setattr(remote, "_PAUSE_S", 100.0)
    with pytest.raises(CorpusError, match=r"no index.json can be read at memory://bucket/none"):
        open_corpus("memory://bucket/none", tmp_path)
    assert time.monotonic() - started < 60
    with pytest.raises(UsageError, match=r"corpus 'ftp://host/corpus': ftp:// is not read"):
        open_corpus("ftp://host/corpus", tmp_path)


def test_a_corpus_that_was_written_anew_is_fetched_anew(
    make_corpus: MakeCorpus, fetched: Counter[str], tmp_path: Path, segment: SegmentSpec
) -> None:
    before = far(tmp_path)
    batches(SegmentLoader(before, segment, 24, 1, "all"), 1)
    for path in make_corpus("new", [f"new{i}" for i in range(8)]).iterdir():
        fsspec.filesystem("memory").pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
    after = SegmentLoader(far(tmp_path), segment, 8, 1, "all")
    assert sorted(batches(after, 1)[0]["keys"]) == [f"new{i}" for i in range(8)]
    assert fetched["shard-000000.tar"] == 2


def test_of_several_who_want_a_shard_one_fetches_it_and_the_oldest_make_room(tmp_path: Path) -> None:
    cache, calls = ShardCache(tmp_path, 250), Counter[str]()

    def fetch(path: Path) -> None:
        calls[path.name.split(".")[1]] += 1
        time.sleep(0.05)
        path.write_bytes(b"x" * 100)

    def size_of(name: str) -> int:
        with cache.opened(tmp_path / "c" / f"{name}.tar", 100, fetch) as file:
            return len(file.read())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(size_of, ["a"] * 8)) == {100}
    assert calls == {"a": 1}
    size_of("b")
    for name, age_s in (("a", 50), ("b", 100)):
        os.utime(tmp_path / "c" / f"{name}.tar", (time.time() - age_s,) * 2)
    held = cache.opened(tmp_path / "c" / "b.tar", 100, fetch)  # now the last one used
    os.utime(tmp_path / "c" / "b.tar", (time.time() - 100,) * 2)
    (tmp_path / "c" / ".d.tar.1.tmp").write_bytes(b"of one that was killed")
    size_of("d")
    assert sorted(path.name for path in (tmp_path / "c").iterdir() if path.suffix != ".lock") == ["a.tar", "d.tar"]
    with held:
        assert len(held.read()) == 100, "what is open can be read to its end"


def test_a_web_server_serves_a_corpus(folder: Path, tmp_path: Path, segment: SegmentSpec) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder.parent)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        corpus = open_corpus(f"http://127.0.0.1:{server.server_address[1]}/folder", tmp_path / "cache")
        loader = SegmentLoader(corpus, segment, 5, 1, "all", num_workers=1)
        assert_same(batches(SegmentLoader(folder, segment, 5, 1, "all"), 6), batches(loader, 6))
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_a_bucket_and_a_folder_are_mixed(
    store: Any, make_corpus: MakeCorpus, folder: Path, tmp_path: Path, segment: SegmentSpec
) -> None:
    for path in folder.iterdir():
        store.upload_file(str(path), "bucket", f"corpora/one/{path.name}")
    other = make_corpus("other", ["x", "y", "z"])
    corpus = open_corpus("s3://bucket/corpora/one", tmp_path / "cache")
    options: dict[str, Any] = {"weights": [0.6, 0.4], "num_workers": 1}
    loaders = [SegmentLoader([each, other], segment, 5, 1, "all", **options) for each in (folder, corpus)]
    assert_same(*(batches(loader, 8) for loader in loaders))
    store.delete_object(Bucket="bucket", Key="corpora/one/index.json")
    with pytest.raises(CorpusError, match=r"no index.json can be read at s3://bucket/corpora/one.*FileNotFoundError"):
        open_corpus("s3://bucket/corpora/one", tmp_path / "cache")
