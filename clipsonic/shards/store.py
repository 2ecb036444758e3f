"""Records by name: one read at their place inside a tar, and kept for all processes of the machine as 16-bit sound.

Guarantee: a record reads the same from memory, from disk and from a store, from any thread. Memory stays within the
budget, which all processes share that read the same corpora, the records in hand, and in each process about 0.5 KB for
each record of the shards that were read from.
Price: the headers of a tar are scanned once, at its first record; without memory a record costs its read and its
decoding (FLAC, about 2 ms for 10 s of sound), so a corpus on a spinning disk wants the budget.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from clipsonic.errors import CorpusError
from clipsonic.files import is_trouble
from clipsonic.shards.corpus import Corpus, FarCorpus, Place, open_corpora
from clipsonic.shards.record import decode_stored
from clipsonic.shards.selection import Candidate
from clipsonic.shards.shared import SharedArrays

_NEEDED = ("flac", "frames.npy", "json")
_OPTIONAL = ("audio.npy",)
_LONGEST_GAP = 2**18
"""Bytes between needed members that are read along with them; where more lie between, members are read one by one."""


class Stored(NamedTuple):
    """A decoded record: sound (T,) int16, frames (S, E) float16, times (S,) in seconds from the record's start, and,
    where the record has one, an embedding of its sound (A,) float16."""

    wave: np.ndarray
    frames: np.ndarray
    frame_times_s: np.ndarray
    audio_embed: np.ndarray | None = None


class RecordStore:
    """The records of one corpus or several.

    Args:
        corpora: folders, addresses or opened corpora.
        cache_mb: budget of this machine for decoded records kept in memory, in MiB; 0 keeps none.
    """

    def __init__(self, corpora: Place | Corpus | Sequence[Place | Corpus], cache_mb: float = 1024) -> None:
        self.corpora = open_corpora(corpora)
        self._kept = SharedArrays([corpus.digest for corpus in self.corpora], cache_mb)
        self._members: dict[tuple[int, str], _Members] = {}
        self._locks: defaultdict[tuple[int, str], threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    @property
    def window_bytes(self) -> int | None:
        """Shards to be fetched that are to be read from at a time, in bytes: half the cache; None if all fit in it."""
        far = [corpus for corpus in self.corpora if isinstance(corpus, FarCorpus)]
        limit = min((corpus.cache_bytes for corpus in far), default=0)
        return limit // 2 if sum(sum(corpus.num_bytes.values()) for corpus in far) > limit else None

    @property
    def reach(self) -> float:
        """The share of an epoch whose shards may be fetched ahead; 0 if none is fetched."""
        far = sum(sum(corpus.num_bytes.values()) for corpus in self.corpora if corpus.is_far)
        return min(1.0, (self.window_bytes or far) / far) if far else 0.0

    def bytes_to_fetch(self, record: Candidate) -> int:
        """Length of the shard of a record, 0 if it lies on this machine."""
        corpus = self.corpora[record.corpus]
        return corpus.num_bytes[record.shard] if corpus.is_far else 0

    def read(self, shard: str, key: str, corpus: int = 0, start: int = 0, count: int | None = None) -> Stored:
        """One record of one of the corpora; of its sound the `count` samples from `start`, or what there is of them.

        Raises:
            CorpusError: the tar is missing or damaged, or does not hold it.
            ClipsonicError: the store that holds it refuses.
        """
        name = f"{corpus}/{key}"
        kept = self._kept.get(name)
        if kept is None and self._kept.is_full:
            return self._decode(shard, key, corpus, start, count)
        stored = Stored(*kept) if kept is not None else self._decode(shard, key, corpus)
        if kept is None:
            self._kept.keep(name, [array for array in stored if array is not None])
        return stored._replace(wave=stored.wave[start : None if count is None else start + count])

    def _decode(self, shard: str, key: str, corpus: int, start: int = 0, count: int | None = None) -> Stored:
        try:
            with self.corpora[corpus].open_shard(shard) as file:
                files = self._members_of(shard, corpus, file).read(file, key)
            return Stored(*decode_stored(key, files, start, count))
        except (KeyError, OSError, ValueError, tarfile.TarError) as error:
            if is_trouble(error):
                raise
            raise CorpusError(
                f"record {key} of {self.corpora[corpus].name}/{shard} cannot be read ({error}): the shard is damaged, "
                "ingest it again"
            ) from error

    def _members_of(self, shard: str, corpus: int, file: BinaryIO) -> _Members:
        with self._lock:
            known, lock = self._members.get((corpus, shard)), self._locks[corpus, shard]
        if known is not None:
            return known
        with lock:  # one thread scans, those who want other shards do not wait
            if (corpus, shard) not in self._members:
                self._members[corpus, shard] = _Members(file)
            return self._members[corpus, shard]


class _Members:
    """Where the needed members of each record of a tar lie. Names are split at their first dot.

    Raises:
        TarError: it is no tar.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._rows: dict[str, int] = {}
        columns = {suffix: column for column, suffix in enumerate((*_NEEDED, *_OPTIONAL))}
        places: list[list[tuple[int, int]]] = []
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if suffix in columns:
                    row = self._rows.setdefault(key, len(places))
                    if row == len(places):
                        places.append([(0, -1)] * len(columns))
                    places[row][columns[suffix]] = member.offset_data, member.size
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps a kilobyte of each
        self._places = np.array(places, dtype=np.int64).reshape(len(places), len(columns), 2)

    def read(self, file: BinaryIO, key: str) -> dict[str, bytes]:
        """A record's needed files: suffix -> bytes.

        Raises:
            KeyError: the tar does not hold it. OSError: it ends early.
        """
        places = dict(zip((*_NEEDED, *_OPTIONAL), self._places[self._rows[key]].tolist(), strict=True))
        found = {suffix: (offset, size) for suffix, (offset, size) in places.items() if size >= 0}
        if missing := [suffix for suffix in _NEEDED if suffix not in found]:
            raise KeyError(f"no {missing[0]}")
        start = min(offset for offset, _ in found.values())
        end = max(offset + size for offset, size in found.values())
        if end - start - sum(size for _, size in found.values()) > _LONGEST_GAP:
            return {suffix: _read_at(file, *place) for suffix, place in found.items()}
        data = _read_at(file, start, end - start)
        return {suffix: data[offset - start : offset - start + size] for suffix, (offset, size) in found.items()}


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    data = os.pread(file.fileno(), size, offset)
    if len(data) != size:
        raise OSError(f"{len(data)} of {size} bytes at {offset}")
    return data
