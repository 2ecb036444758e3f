"""The log of a run: TensorBoard for people, `history.jsonl` for programs.

Guarantee: a resumed run first drops the entries after its checkpoint, so the history of a killed and resumed run is
that of an unbroken one. Price: the device is waited for at each entry, not in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from clipsonic.files import write_whole
from clipsonic.train.engine.health import Health
from clipsonic.train.engine.lesson import Shown
from clipsonic.train.engine.losses import summary
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.once_a_step import StepCallback
from clipsonic.train.engine.pace import Pace

HISTORY_NAME = "history.jsonl"


class Logbook(StepCallback):
    """Loss, what else the lesson logs, learning rate and gradient norm, of all processes, over the steps since the last
    entry; to the loggers also how busy the hardware is, which no two runs share.

    Args:
        folder: where `history.jsonl` stands.
        every: steps between entries; the last step of a run has one too.
        pace: says how busy the hardware is.
        health: hears of waiting.
    """

    def __init__(self, folder: Path, every: int, pace: Pace, health: Health) -> None:
        self._path, self._every, self._pace, self._health = folder / HISTORY_NAME, every, pace, health
        self._own: list[torch.Tensor] = []
        self._rows: torch.Tensor | None = None
        self._names: tuple[str, ...] = ()
        self.last_loss: float | None = None
        self._trainer: lightning.Trainer | None = None
        self._entries = 0

    def state_dict(self) -> dict[str, Any]:
        self._gather()
        rows = torch.zeros(0) if self._rows is None else self._rows
        return {"rows": rows, "names": list(self._names), "last_loss": self.last_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rows = state_dict.get("rows")  # version 0.1.0 saved their sum
        self._rows, self._names = rows if rows is not None and len(rows) else None, tuple(state_dict.get("names", ()))
        self.last_loss = state_dict["last_loss"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._trainer = trainer
        if trainer.is_global_zero:
            keep_until(self._path, trainer.global_step)
        self._pace.start(pl_module.device)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LessonModule)
        self._own.append(pl_module.last_row)
        self._names = pl_module.row_names
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
        if step % self._every and module.clock.progress(step) < 1.0:
            return
        self._gather()
        assert self._rows is not None
        losses = summary(self._rows, self._names)
        self._rows, self.last_loss = None, losses["loss"]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.write(step, {**losses, "lr": rate, "grad_norm": float(module.grad_norm)})
        self._write_pace(step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One entry."""
        if self._trainer is None or not self._trainer.is_global_zero:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self._draw(step, values)

    def show(self, shown: Iterable[Shown], step: int) -> None:
        """Pictures, sounds and words, where there is a board for them."""
        if self._trainer is None or not self._trainer.is_global_zero:
            return
        for logger in self._trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for item in shown:
                    _put(logger.experiment, item, step)

    def _write_pace(self, step: int) -> None:
        pace = self._pace.since_last()
        self._draw(step, pace)
        self._entries += 1
        if self._entries > 1:  # the first steps of a session find nothing in memory yet
            self._health.look_at_waiting(step, pace["data_wait_share"])

    def _draw(self, step: int, values: dict[str, float]) -> None:
        for logger in self._trainer.loggers if self._trainer is not None else ():
            logger.log_metrics(values, step)

    def _gather(self) -> None:
        """Turn this process's rows into those of all processes (all must call it)."""
        if self._own:
            assert self._trainer is not None
            rows = self._trainer.strategy.reduce(torch.stack(self._own), reduce_op="mean")
            assert isinstance(rows, torch.Tensor)
            before = () if self._rows is None else (self._rows,)
            self._own, self._rows = [], torch.cat([*before, rows.cpu()])


def _put(board: Any, item: Shown, step: int) -> None:
    if item.picture is not None:
        board.add_image(item.name, item.picture, step, dataformats="HWC")
    if item.sound is not None:
        board.add_audio(item.name, torch.from_numpy(item.sound), step, sample_rate=item.rate_hz)
    if item.text is not None:
        board.add_text(item.name, item.text, step)


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
