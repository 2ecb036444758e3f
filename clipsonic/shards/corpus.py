"""A corpus wherever it lies: in a folder of this machine, or behind an address, by way of a cache on its disk.

Guarantee: what is read of a far corpus has the SHA-256 of its index, and is of the corpus as it was when it was opened;
a store that fails is asked again, then one sentence says what failed. Price: shards are fetched whole, so a far corpus
larger than the cache is fetched once for every epoch.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

from clipsonic import remote
from clipsonic.errors import ClipsonicError, CorpusError
from clipsonic.files import is_remote, write_whole
from clipsonic.shards.cache import ShardCache
from clipsonic.shards.writer import FACTS_NAME, INDEX_NAME, CorpusIndex, each_facts

CACHE_GB = 50.0
"""Shards of far corpora kept on this disk, in GB, unless told otherwise."""
TRIES = 4
"""Of every fetch: a second, two and four between them."""
Place = str | Path


class Corpus(ABC):
    """What readers need of a corpus.

    Args:
        name: what a user calls it: its folder or address.
        folder: of this machine; `index.json` and the facts lie there.
        index: what it is.
        is_far: whether its shards are fetched.
    """

    is_far = False

    def __init__(self, name: str, folder: Path, index: CorpusIndex) -> None:
        self.name, self.folder, self.index = name, folder, index

    def facts(self) -> Iterator[dict[str, Any]]:
        """The facts of every record, in order, each with "key" and "shard".

        Raises:
            CorpusError: they are damaged.
        """
        return each_facts(self.folder)

    @cached_property
    def digest(self) -> str:
        """Names its place and what is in its shards."""
        facts = str(self.folder.absolute()), self.index.shards
        return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()

    @cached_property
    def num_bytes(self) -> dict[str, int]:
        """Of every shard, by name."""
        return {str(shard["name"]): int(shard["bytes"]) for shard in self.index.shards}

    @abstractmethod
    def open_shard(self, name: str) -> BinaryIO:
        """One shard, open at its front.

        Raises:
            OSError: it is not there.
            ClipsonicError: the store refuses.
        """

    @abstractmethod
    def bring(self, name: str) -> None:
        """See that a shard is on this machine; raises as `open_shard`."""


class FolderCorpus(Corpus):
    """A corpus in a folder of this machine.

    Raises:
        CorpusError: see `CorpusIndex.load`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), folder, CorpusIndex.load(folder))

    def open_shard(self, name: str) -> BinaryIO:
        return (self.folder / name).open("rb")

    def bring(self, name: str) -> None:
        pass


class FarCorpus(Corpus):
    """A corpus behind an address.

    Args:
        url: such as s3://bucket/corpus.
        cache_dir: where its files are kept; each state of a corpus has a folder of its own there.
        cache_gb: what the shards of all corpora there may take, in GB.

    Raises:
        CorpusError: no corpus is there.
        UsageError: the store's package is missing.
    """

    is_far = True

    def __init__(self, url: str, cache_dir: Path, cache_gb: float) -> None:
        self.url = url.rstrip("/")
        try:
            data = remote.read(f"{self.url}/{INDEX_NAME}", TRIES)
        except ClipsonicError as error:
            if error.exit_code == 2:
                raise
            raise CorpusError(f"no {INDEX_NAME} can be read at {url}, which a corpus begins with: {error}") from None
        state = hashlib.blake2b(self.url.encode() + data, digest_size=8).hexdigest()
        folder = cache_dir / f"{remote.name_of(self.url)[:60]}-{state}"
        super().__init__(url, folder, CorpusIndex.parse(data, f"{self.url}/{INDEX_NAME}"))
        self._shards = {str(shard["name"]): shard for shard in self.index.shards}
        self.cache_bytes = int(cache_gb * 1e9)
        self._cache = ShardCache(cache_dir, self.cache_bytes)
        write_whole(folder / INDEX_NAME, data)

    def facts(self) -> Iterator[dict[str, Any]]:
        if not (self.folder / FACTS_NAME).is_file():
            write_whole(self.folder / FACTS_NAME, remote.read(f"{self.url}/{FACTS_NAME}", TRIES))
        return super().facts()

    def open_shard(self, name: str) -> BinaryIO:
        return self._cache.opened(self.folder / name, self._shards[name]["bytes"], partial(self._fetch, name))

    def bring(self, name: str) -> None:
        self._cache.bring(self.folder / name, self._shards[name]["bytes"], partial(self._fetch, name))

    def _fetch(self, name: str, path: Path) -> None:
        remote.get(f"{self.url}/{name}", path, TRIES)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self._shards[name]["sha256"]:
            raise CorpusError(
                f"shard {self.url}/{name} has SHA-256 {found[:12]}..., its index says "
                f"{self._shards[name]['sha256'][:12]}...: it was written over or damaged, build it again with ingest"
            )


def open_corpus(where: Place | Corpus, cache_dir: Place | None = None, cache_gb: float = CACHE_GB) -> Corpus:
    """The corpus in a folder or behind an address (s3://, gs://, hf://, http(s)://).

    Args:
        cache_dir: of far corpora; by default `clipsonic/corpora` in the user's folder of caches.
        cache_gb: limit of that folder, in GB.

    Raises:
        CorpusError: none is there, or it is damaged.
        UsageError: an address of another protocol, or the store's package is missing.
    """
    if isinstance(where, Corpus):
        return where
    if is_remote(str(where), "corpus"):
        return FarCorpus(str(where), Path(cache_dir) if cache_dir else default_cache_dir(), cache_gb)
    return FolderCorpus(Path(where))


def open_corpora(
    where: Place | Corpus | Sequence[Place | Corpus], cache_dir: Place | None = None, cache_gb: float = CACHE_GB
) -> list[Corpus]:
    """One corpus or several, see `open_corpus`."""
    places = [where] if isinstance(where, str | Path | Corpus) else where
    return [open_corpus(place, cache_dir, cache_gb) for place in places]


def default_cache_dir() -> Path:
    """`clipsonic/corpora` where the user's programs keep what can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipsonic" / "corpora"
