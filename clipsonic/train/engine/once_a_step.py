"""What acts once per optimiser step, however many batches are accumulated."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from clipsonic.train.engine.module import LessonModule


class StepCallback(Callback):
    """Calls `on_step` once per optimiser step, however many batches are accumulated."""

    _seen = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LessonModule)
        if trainer.global_step != self._seen:
            self._seen = trainer.global_step
            self.on_step(trainer, pl_module, trainer.global_step)

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
        """`step` optimiser steps are done."""
        raise NotImplementedError
