"""The log of a run: TensorBoard for people, `history.jsonl` for programs.

Guarantee: a resumed run first drops the entries after its checkpoint, so the history of a killed and resumed run is
that of an unbroken one. Price: the device is waited for at each entry, not in between.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from clipsonic.files import write_whole
from clipsonic.train.callbacks import StepCallback
from clipsonic.train.module import SoundModule

HISTORY_NAME = "history.jsonl"


class Logbook(StepCallback):
    """Loss, learning rate and gradient norm; the loss is the mean over the steps since the last entry.

    Args:
        folder: where `history.jsonl` stands.
        every: steps between entries; the last step of a run has one too.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._path, self._every = folder / HISTORY_NAME, every
        self._sum, self._count = torch.zeros(()), 0
        self.last_loss: float | None = None
        self._board: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self._sum.cpu(), "count": self._count, "last_loss": self.last_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sum, self._count, self.last_loss = state_dict["sum"], state_dict["count"], state_dict["last_loss"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._sum = self._sum.to(pl_module.device)
        if trainer.is_global_zero:
            keep_until(self._path, trainer.global_step)
            self._board = trainer.logger.experiment if isinstance(trainer.logger, TensorBoardLogger) else None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, SoundModule)
        self._sum, self._count = self._sum + pl_module.last_loss, self._count + 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if step % self._every and module.clock.progress(step) < 1.0:
            return
        self.last_loss = float(self._sum) / self._count
        self._sum, self._count = torch.zeros_like(self._sum), 0
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.write(step, {"loss": self.last_loss, "lr": rate, "grad_norm": float(module.grad_norm)})
        if self._board is not None:
            self._board.add_scalar("samples_per_s", module.clock.samples_per_s, step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One entry."""
        if self._board is None:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)


@rank_zero_only
def drop_events(folder: Path) -> None:
    """Remove an earlier run's TensorBoard files, so that a new run's curves are not drawn into them."""
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run, in order; empty if it has none."""
    path = folder / HISTORY_NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def keep_until(path: Path, step: int) -> None:
    """Drop the entries after `step`, and a last line that was cut off."""
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_whole(path, "".join(kept))
