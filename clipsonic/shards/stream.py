"""Which record stands at a place of the stream: epochs' permutations end to end, of one list or of several interleaved.

Guarantee: a pure function of (seed, place), found without the places before it. Of each list every record comes exactly
once per epoch of that list; lists are interleaved by weight, see `interleave`.
Price: the permutations of the last three epochs of each list, 8 bytes for a record.

Records of shards that are fetched, and do not all fit in the cache, are shuffled in windows: each epoch shuffles the
shards, cuts their row into windows that fit, and shuffles the records of each window. So a shard is fetched once per
epoch; the price is that records of different windows are never in one batch, but at a border.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from clipsonic.seeding import numpy_rng
from clipsonic.shards.interleave import Interleave
from clipsonic.shards.selection import Candidate

ShardSize = Callable[[Candidate], int]
_EPOCHS_KEPT = 3


class Stream:
    """An endless order of records.

    Args:
        records: all of them, in order of their corpora.
        seed: of the permutations.
        weights: one for each corpus that has records; None makes one list of all records.
        shard_bytes: what fetching a record's shard takes in bytes, 0 if it lies on this machine.
        window_bytes: of the shards whose records are shuffled together; None shuffles all.

    Raises:
        UsageError: weights that cannot be.
    """

    def __init__(
        self,
        records: Sequence[Candidate],
        seed: int,
        weights: Sequence[float] | None = None,
        shard_bytes: ShardSize | None = None,
        window_bytes: int | None = None,
    ) -> None:
        self.records, self._weights, self._window_bytes = records, weights, window_bytes
        self._turns = Interleave(weights or [1.0])
        corpora = np.array([record.corpus for record in records])
        starts = np.unique(corpora, return_index=True)[1] if weights else np.zeros(1, dtype=int)
        bounds = [*starts.tolist(), len(records)]
        sizes = [_ShardSizes(records[start:end], shard_bytes) for start, end in itertools.pairwise(bounds)]
        total = max(1, sum(size.total for size in sizes))
        self._lists = [
            _List(start, size, seed, number, window_bytes and max(1, window_bytes * size.total // total))
            for number, (start, size) in enumerate(zip(starts.tolist(), sizes, strict=True))
        ]

    @property
    def shares(self) -> list[float]:
        """Each list's part of the stream; together 1."""
        return self._turns.shares

    def at(self, place: int) -> tuple[Candidate, int]:
        """The record at a place, and its list's epoch there."""
        number, count = self._turns.at(place)
        epoch, nth = divmod(count, self._lists[number].length)
        return self.records[self._lists[number].order(epoch)[nth]], epoch

    def first_places(self) -> np.ndarray:
        """The places where each record comes for the first time, rising: a pass over all records, weighted as long as
        no list is at its end."""
        return np.sort(np.concatenate([
            self._turns.first_turns(number, part.length) for number, part in enumerate(self._lists)
        ]))  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """Names the records, their listing and their way of mixing: places mean the same only under equal digests."""
        keys = "\n".join(record.key for record in self.records)
        how = "" if self._weights is None and self._window_bytes is None else f"\n\n{self.shares} {self._window_bytes}"
        return hashlib.blake2b((keys + how).encode(), digest_size=8).hexdigest()


class _ShardSizes:
    """The shards of some records: which one each record is in, and the bytes to fetch of each."""

    def __init__(self, records: Sequence[Candidate], shard_bytes: ShardSize | None) -> None:
        firsts: dict[tuple[int, str], tuple[int, Candidate]] = {}
        self.shard_of = np.empty(len(records), dtype=np.int32)
        for place, record in enumerate(records):
            self.shard_of[place], _ = firsts.setdefault((record.corpus, record.shard), (len(firsts), record))
        self.sizes = np.array([shard_bytes(record) if shard_bytes else 0 for _, record in firsts.values()])
        self.total = int(self.sizes.sum())


class _List:
    """The permutations of one list of records.

    Args:
        start: of the list among all records.
        shards: of its records.
        number: of the list; each has permutations of its own.
        window_bytes: see `Stream`.
    """

    def __init__(self, start: int, shards: _ShardSizes, seed: int, number: int, window_bytes: int | None) -> None:
        self.start, self.length = start, len(shards.shard_of)
        self._shards, self._seed, self._window_bytes = shards, seed, window_bytes
        self._shards, self._seed, self._window_bytes = shards, seed, window_bytes
        self._names = () if number == 0 else (number,)
        self._orders: dict[int, np.ndarray] = {}

    def order(self, epoch: int) -> np.ndarray:
        """The places among all records, in the order of an epoch."""
        order = self._orders.get(epoch)
        if order is None:
            order = self.start + self._drawn(epoch)
            kept = dict(list(self._orders.items())[1 - _EPOCHS_KEPT :])
            self._orders = kept | {epoch: order}  # in one go: several threads ask
        return order

    def _drawn(self, epoch: int) -> np.ndarray:
        mixed = numpy_rng(self._seed, "shards.order", epoch, *self._names).permutation(self.length)
        if self._window_bytes is None:
            return mixed
        row = numpy_rng(self._seed, "shards.windows", epoch, *self._names).permutation(len(self._shards.sizes))
        window = np.empty(len(row), dtype=np.int64)
        window[row] = _windows(self._shards.sizes[row], self._window_bytes)
        order: np.ndarray = mixed[np.argsort(window[self._shards.shard_of[mixed]], kind="stable")]
        return order


def _windows(sizes: np.ndarray, window_bytes: int) -> list[int]:
    """The window of each shard in a row: as many as fit, at least one."""
    number, filled, windows = 0, 0, []
    for size in sizes.tolist():
        if filled and filled + size > window_bytes:
            number, filled = number + 1, 0
        filled += size
        windows.append(number)
    return windows
