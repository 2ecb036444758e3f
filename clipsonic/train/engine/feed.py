"""The training stream as Lightning takes it, with the time counted that is spent waiting for it."""

from __future__ import annotations

from collections.abc import Iterator

import lightning

from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.lesson import Batch, Stream


class Feed(lightning.LightningDataModule):
    """Gives each rank its part of the stream."""

    def __init__(self, stream: Stream, clock: Clock) -> None:
        super().__init__()
        self._stream, self._clock = stream, clock

    def train_dataloader(self) -> _Endless:
        """The stream from its position."""
        assert self.trainer is not None
        return _Endless(self._stream.shard(self.trainer.global_rank, self.trainer.world_size), self._clock)


class _Endless:
    """A loader without a length: to Lightning the whole run is one epoch, and resuming is our position's affair."""

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self._stream, self._clock = stream, clock

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._stream)
        while True:
            with self._clock.wait():
                batch = next(batches)
            yield batch
