"""What happens around training steps: the end of the run, the look at held-out items, the progress bar.

Guarantee: nothing here touches a random draw or a weight, and the device is waited for only when something is logged.
Each acts once per optimiser step; they run in the order in which they are given to the trainer.
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import Any

import lightning
import torch
from torch import Tensor
from tqdm import tqdm

from clipsonic.train.engine.health import Health
from clipsonic.train.engine.lesson import Batch, Held, Lesson, Shown
from clipsonic.train.engine.logbook import Logbook
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.once_a_step import StepCallback


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
        assert isinstance(pl_module, LessonModule)
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        pl_module.clock.start()
        trainer.should_stop = pl_module.clock.progress(trainer.global_step) >= 1.0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LessonModule)
        pl_module.clock.count(len(batch["keys"]) * trainer.world_size)

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
        alone = trainer.world_size == 1
        deciding = alone or step % module.config.run.log_every == 0
        if deciding:
            now = (module.clock.elapsed_s, self.interrupted)
            elapsed_s, self.interrupted = now if alone else trainer.strategy.broadcast(now)
            module.clock.look(elapsed_s)
        trainer.should_stop = (deciding and self.interrupted) or module.clock.progress(step) >= 1.0

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, LessonModule)
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
    """The loss of the averaged weights on fixed batches with fixed draws, and the lesson's figures, every `every` steps
    and at the end; every `show_every` steps also what is to be seen and heard of them, once beside it what is true.

    Args:
        lesson: whose figures.
        batches: held-out ones.
        logbook: takes all of it.
        health: hears what is wrong.
    """

    def __init__(
        self, lesson: Lesson, batches: list[Batch], every: int, show_every: int, logbook: Logbook, health: Health
    ) -> None:
        self._lesson, self._batches, self._every, self._show_every = lesson, batches, every, show_every
        self._logbook, self._health = logbook, health
        self._truth_shown = False
        self.last_loss: float | None = None
        self.last_step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"last_loss": self.last_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_loss = state_dict["last_loss"]

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
        judging = bool(self._every) and (step % self._every == 0 or module.clock.progress(step) >= 1.0)
        showing = bool(self._show_every) and step % self._show_every == 0
        if not judging and not showing:
            return
        with module.clock.pause(), module.averaged():
            loss, figures, shown = trainer.strategy.predict_step(partial(self._look, module, step, judging, showing), 0)
        if judging:
            self.last_loss, self.last_step = loss, step
            self._logbook.write(step, {"val_loss": loss, **figures})
        if showing:
            self._show(shown, step)

    @torch.no_grad()
    def _look(
        self, module: LessonModule, step: int, judging: bool, showing: bool
    ) -> tuple[float, dict[str, float], list[Shown]]:
        def loss(batch: Batch, index: int) -> Tensor:
            moved = module.transfer_batch_to_device(batch, module.device, 0)
            return module.losses(moved, "train.validation", index).per_item.cpu()

        losses = [loss(batch, index) for index, batch in enumerate(self._batches)] if judging else []
        held = Held(step, self._batches, torch.cat(losses) if losses else torch.zeros(0), loss, self._health)
        figures = self._lesson.figures(held) if judging else {}
        shown = list(self._lesson.show(held)) if showing else []
        return (float(held.loss_N.mean()) if judging else 0.0), figures, shown

    def _show(self, shown: list[Shown], step: int) -> None:
        if not self._truth_shown:
            self._truth_shown = True
            self._logbook.show(self._lesson.truth(self._batches), 0)
        self._logbook.show(shown, step)


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

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
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

    def _words(self, module: LessonModule) -> str:
        words = [f"{module.clock.samples_per_s:.1f} samples/s"]
        if self._logbook.last_loss is not None:
            words.append(f"loss {self._logbook.last_loss:.4f}")
        if (minutes := module.config.run.max_minutes) is not None:
            words.append(f"{module.clock.elapsed_s / 60:.1f} of {minutes:g} min")
        return ", ".join(words)
