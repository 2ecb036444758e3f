"""Shards of far corpora fetched before their records are asked for, in the order of the stream.

Guarantee: changes no batch, only when its bytes come; what fails here fails again, with its sentence, where the record
is read. Price: one thread, and room for as many records ahead as `reach` says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from clipsonic.errors import ClipsonicError
from clipsonic.shards.corpus import Corpus
from clipsonic.shards.stream import Stream

_PLACES_PER_STEP = 4096


class Prefetcher:
    """Use as a context manager: leaving it forgets what is not fetched yet.

    Args:
        stream: the order of the records.
        corpora: what holds them; those in folders need nothing.
        reach: places of the stream to look ahead.
    """

    def __init__(self, stream: Stream, corpora: Sequence[Corpus], reach: int) -> None:
        self._stream, self._corpora, self._reach = stream, corpora, reach
        self._next = 0
        self._asked: dict[tuple[int, str], int] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")

    def advance(self, place: int) -> None:
        """The stream is at `place`: ask for what comes up to `reach` places later, a part of it per call."""
        self._next = max(self._next, place)
        end = min(place + self._reach, self._next + _PLACES_PER_STEP)
        for ahead in range(self._next, end):
            record, _ = self._stream.at(ahead)
            name = (record.corpus, record.shard)
            if self._corpora[record.corpus].is_far and ahead >= self._asked.get(name, -1):
                self._asked[name] = ahead + self._reach  # until then it was in use, so it is still there
                self._pool.submit(self._bring, *name)
        self._next = max(self._next, end)

    def _bring(self, corpus: int, shard: str) -> None:
        with contextlib.suppress(ClipsonicError, OSError):
            self._corpora[corpus].bring(shard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
