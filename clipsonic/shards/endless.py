"""What every endless stream of batches shares: a position that is one number, parts for ranks, batches made ahead.

Guarantee: rank r of n holds rows r, r + n ... of what one process would hold, equally many as the others; a position
resumes exactly, and on the same data only; how many threads make batches ahead never changes one.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol, Self

from clipsonic.errors import CorpusError

Batch = dict[str, Any]


class Follower(Protocol):
    """Whoever must know how far a stream is."""

    def advance(self, position: int) -> None:
        """Batches from this position on are being made."""


class Endless(ABC):
    """Batches whose rows are functions of their place in the stream.

    Args:
        batch_size: rows per batch, of all ranks together until `shard`.
        seed: of whatever is drawn.
        num_workers: threads that make batches ahead; 0 makes them when asked.
    """

    reads: ClassVar[str] = "data"
    """What a position is in, for refusals."""

    def __init__(self, batch_size: int, seed: int, num_workers: int = 0) -> None:
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.rank, self.world_size, self.position = 0, 1, 0
        self.report: dict[str, Any] = {"batch_size": batch_size}

    @property
    @abstractmethod
    def digest(self) -> str:
        """Names the data and its order: positions mean the same under equal digests."""

    @abstractmethod
    def batch_at(self, position: int) -> Batch:
        """This rank's batch of the places from `position` on, without its `position`."""

    def follower(self) -> AbstractContextManager[Follower | None]:
        """Who is told of positions before their batches are made ahead."""
        return nullcontext()

    @property
    def stride(self) -> int:
        """Rows that all ranks together take per step."""
        return self.batch_size * self.world_size

    def places(self, position: int) -> range:
        """The places of this rank's rows in the batch at `position`."""
        return range(position + self.rank, position + self.stride, self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from `position`; it never ends."""
        for batch in self._made() if self.num_workers else self._asked():
            self.position = batch["position"]
            yield batch

    def shard(self, rank: int, world_size: int) -> Self:
        """One rank's part of this stream; this stream's batch size is the sum over the ranks. Memory is shared."""
        part = copy.copy(self)
        part.rank, part.world_size = rank, world_size
        part.batch_size = max(1, self.batch_size // world_size)
        part.report = {**self.report, "batch_size": part.batch_size}
        return part

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what it is a position in."""
        return {"position": self.position, "seed": self.seed, "digest": self.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position; iterators made before are void.

        Raises:
            CorpusError: the state belongs to other data or another seed.
        """
        for name, mine in (("digest", self.digest), ("seed", self.seed)):
            if state[name] != mine:
                raise CorpusError(
                    f"the saved position is of {name} {state[name]}, {self.reads} and seed here have {mine}: "
                    f"resume on the same {self.reads} with the same seed, or start anew"
                )
        self.position = int(state["position"])

    def _numbered(self, position: int) -> Batch:
        return {**self.batch_at(position), "position": position + self.stride}

    def _asked(self) -> Iterator[Batch]:
        position = self.position
        while True:
            yield self._numbered(position)
            position += self.stride

    def _made(self) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="stream")
        ahead, pending = self.position, deque[Future[Batch]]()
        try:
            with self.follower() as follower:
                while True:
                    if follower is not None:
                        follower.advance(ahead)
                    while len(pending) <= self.num_workers:
                        pending.append(pool.submit(self._numbered, ahead))
                        ahead += self.stride
                    yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
