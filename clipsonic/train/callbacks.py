"""What happens around training steps: the end of the run, the validation, the progress bar.

Guarantee: nothing here touches a random draw or a weight, and the device is waited for only when something is logged.
Each acts once per optimiser step; they run in the order in which they are given to the trainer.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from clipsonic.shards.loader import Batch
from clipsonic.train.health import Health
from clipsonic.train.module import SoundModule

if TYPE_CHECKING:
    from clipsonic.train.logbook import Logbook

SWAPPED_RECORDS = 64
"""Held-out records on which it is measured what seeing the right frames is worth."""
FEWEST_SWAPPED = 8
"""With fewer of them nothing is concluded: a record alone in its batch sees its own frames."""


class StepCallback(Callback):
    """Calls `on_step` once per optimiser step, however many batches are accumulated."""

    _seen = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SoundModule)
        if trainer.global_step != self._seen:
            self._seen = trainer.global_step
            self.on_step(trainer, pl_module, trainer.global_step)

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        """`step` optimiser steps are done."""
        raise NotImplementedError


class Ending(StepCallback):
    """Stops the run at its limit, or after the step in hand when the user or the system asks for it.

    The first SIGINT or SIGTERM lets the step and its checkpoint finish; a second one interrupts at once. Of several
    ranks the first decides for all, at every log entry.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, SoundModule)
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        pl_module.clock.start()
        trainer.should_stop = pl_module.clock.progress(trainer.global_step) >= 1.0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SoundModule)
        pl_module.clock.count(len(batch["keys"]) * trainer.world_size)

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        alone = trainer.world_size == 1
        deciding = alone or step % module.config.run.log_every == 0
        if deciding:
            now = (module.clock.elapsed_s, self.interrupted)
            elapsed_s, self.interrupted = now if alone else trainer.strategy.broadcast(now)
            module.clock.look(elapsed_s)
        trainer.should_stop = (deciding and self.interrupted) or module.clock.progress(step) >= 1.0

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, SoundModule)
        pl_module.clock.stop()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._give_back()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print("stopping after this step; a second signal stops at once", file=sys.stderr)


class Validation(StepCallback):
    """The loss of the averaged weights on fixed batches, with fixed noise, at its own steps and at the end.

    Beside it, on the first records, the loss with each record seeing another one's frames: a network that uses what it
    sees loses by that.
    """

    def __init__(
        self, batches: list[Batch], every: int, log: Callable[[int, dict[str, float]], None], health: Health
    ) -> None:
        self._batches, self._every, self._log, self._health = batches, every, log, health
        self.last_loss: float | None = None
        self.last_step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"last_loss": self.last_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_loss = state_dict["last_loss"]

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if self._every and (step % self._every == 0 or module.clock.progress(step) >= 1.0):
            with module.clock.pause(), module.averaged():
                loss_N = self._losses(trainer, module, self._batches)
                few = [swapped(batch) for batch in self._batches[: _enough(self._batches)]]
                lost_N = self._losses(trainer, module, few)
            self.last_loss, self.last_step = float(loss_N.mean()), step
            gain = 1.0 - float(loss_N[: len(lost_N)].mean() / lost_N.mean())
            self._log(step, {"val_loss": self.last_loss, "condition_gain": gain})
            if len(lost_N) >= FEWEST_SWAPPED:
                self._health.look_at_gain(step, gain)

    @torch.no_grad()
    def _losses(self, trainer: lightning.Trainer, module: SoundModule, batches: list[Batch]) -> Tensor:
        losses = []
        for index, batch in enumerate(batches):
            moved = module.transfer_batch_to_device(batch, module.device, 0)
            loss_B = trainer.strategy.validation_step(moved, index)
            assert isinstance(loss_B, Tensor)
            losses.append(loss_B.cpu())
        return torch.cat(losses)


def _enough(batches: list[Batch]) -> int:
    """How many batches hold `SWAPPED_RECORDS`."""
    return -(-SWAPPED_RECORDS // len(batches[0]["keys"]))


def swapped(batch: Batch) -> Batch:
    """A batch whose records see the frames of their neighbours."""
    seen = {name: batch[name].roll(1, dims=0) for name in ("frames", "frame_times_s", "frame_mask")}
    return {**batch, **seen}


class Bar(StepCallback):
    """The progress bar on standard error: steps, the logged loss, records per second, minutes if they are limited."""

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._bar = tqdm(
                total=total, initial=trainer.global_step, desc="train", unit="step",
                file=sys.stderr, mininterval=0.5, dynamic_ncols=True,
            )  # fmt: skip

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._words(module), refresh=False)
            self._bar.update(step - self._bar.n)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._close()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _words(self, module: SoundModule) -> str:
        words = [f"{module.clock.samples_per_s:.1f} samples/s"]
        if self._logbook.last_loss is not None:
            words.append(f"loss {self._logbook.last_loss:.4f}")
        if (minutes := module.config.run.max_minutes) is not None:
            words.append(f"{module.clock.elapsed_s / 60:.1f} of {minutes:g} min")
        return ", ".join(words)
