"""The training stream as Lightning takes it, on the device, with the time counted that is spent waiting for it.

Guarantee: a batch is what the stream made, whatever device it goes to. Lightning asks for a batch before it trains on
the one before, so on a GPU the copy of the next (from pinned memory, in a CUDA stream of its own) goes beside a step's
computing. Price: one more batch on the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import lightning
import torch
from torch import Tensor

from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.lesson import Batch, Stream


class Feed(lightning.LightningDataModule):
    """Gives each rank its part of the stream."""

    def __init__(self, stream: Stream, clock: Clock) -> None:
        super().__init__()
        self._stream, self._clock = stream, clock

    def train_dataloader(self) -> _Endless:
        """The stream from its position."""
        trainer = self.trainer
        assert trainer is not None
        part = self._stream.shard(trainer.global_rank, trainer.world_size)
        return _Endless(part, self._clock, trainer.strategy.root_device)


class _Endless:
    """A loader without a length: to Lightning the whole run is one epoch, and resuming is our position's affair."""

    def __init__(self, stream: Stream, clock: Clock, device: torch.device) -> None:
        self._stream, self._clock, self._device = stream, clock, device

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._stream)
        side = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        while True:
            with self._clock.wait():
                batch = next(batches)
            yield batch if side is None else on_device(batch, side)


def on_device(batch: Batch, side: torch.cuda.Stream) -> Batch:
    """A batch on the device of a CUDA stream that copies it; the host goes on, what is computed next there waits."""
    with torch.cuda.stream(side):
        moved = {
            name: value.pin_memory().to(side.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
    here = torch.cuda.current_stream(side.device)
    here.wait_stream(side)
    for value in moved.values():
        if isinstance(value, Tensor):
            value.record_stream(here)
    return moved
