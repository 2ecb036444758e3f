"""Checkpoints: written whole, the last few and the best kept, found again, and refused when of another model.

Guarantee: a file called `step-XXXXXXXX.ckpt` is complete, and where the disk refuses one the older ones stay; it is
read with `weights_only=True`. Price: while one is written there is one more on the disk than are kept.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import lightning
import torch

from clipsonic.errors import CheckpointError, TrainingError, UsageError, first_line
from clipsonic.files import whole_file
from clipsonic.train.engine.callbacks import Validation
from clipsonic.train.engine.checkpoint_files import CheckpointFiles
from clipsonic.train.engine.module import STATE_KEY, LessonModule
from clipsonic.train.engine.once_a_step import StepCallback

FOLDER_NAME = "checkpoints"
BEST_NAME = "best.ckpt"
_NAME = re.compile(r"step-(\d{8,})\.ckpt")


class Saver(StepCallback):
    """Writes a checkpoint every so many steps, at the end of the run or of the session, and where validation is best.

    Args:
        folder: where they stand; older ones that this run did not resume from are removed with the first new one.
        every: steps between them; 0 is only at the end.
        keep_last: how many of the newest stay. The best stays as `best.ckpt`, a link to one of them or to none.
        validation: whose loss says which is best.
        files: the trainer's way of writing them.
        resumed: the checkpoint this session began with.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        keep_last: int,
        validation: Validation,
        files: CheckpointFiles,
        resumed: Path | None = None,
    ) -> None:
        self._folder, self._every, self._keep_last = folder, every, keep_last
        self._validation, self._files = validation, files
        self._ours = [] if resumed is None else [resumed]
        self.best_loss: float | None = None
        self.best_step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]

    @property
    def best(self) -> dict[str, Any] | None:
        """Step, validation loss and file of the best checkpoint; None before there is one."""
        if self.best_loss is None or not (path := self._folder / BEST_NAME).exists():
            return None
        return {"step": self.best_step, "val_loss": self.best_loss, "checkpoint": str(path)}

    def on_step(self, trainer: lightning.Trainer, module: LessonModule, step: int) -> None:
        ending = trainer.should_stop
        is_best = (self._every or ending) and self._is_best(step)
        if ending or is_best or (self._every and step % self._every == 0):
            if is_best:
                self.best_loss, self.best_step = self._validation.last_loss, step
            with module.clock.pause():
                module.guard.check()
                self._save(trainer, step)

    def _is_best(self, step: int) -> bool:
        loss = self._validation.last_loss if self._validation.last_step == step else None
        return loss is not None and (self.best_loss is None or loss < self.best_loss)

    def _save(self, trainer: lightning.Trainer, step: int) -> None:
        path = self._folder / f"step-{step:08d}.ckpt"
        trainer.save_checkpoint(path)
        if (refusal := trainer.strategy.broadcast(self._files.refusal)) is not None:
            raise TrainingError(self._sentence(path, refusal))
        if trainer.is_global_zero:
            self._ours = [*(old for old in self._ours if old != path), path][-self._keep_last :]
            self._link_best(path, step)
            for old in self._folder.iterdir():
                if old not in self._ours and _NAME.match(old.name.removeprefix(".")):
                    old.unlink(missing_ok=True)

    def _link_best(self, path: Path, step: int) -> None:
        best = self._folder / BEST_NAME
        if self.best_step == step and self.best_loss is not None:
            with whole_file(best) as temporary:
                _link(path, temporary)
        elif self.best_loss is None:  # one that an earlier run left
            best.unlink(missing_ok=True)

    def _sentence(self, path: Path, refusal: str) -> str:
        kept = f"{self._ours[-1]} is whole" if self._ours else "there is no older one"
        return (
            f"checkpoint {path} could not be written ({refusal}): training stopped and {kept}; "
            "free space or lower run.keep_last, then run the same command to continue"
        )


def _link(path: Path, other: Path) -> None:
    """A second name for a file, or a copy of it where the file system has no such names."""
    try:
        other.unlink(missing_ok=True)
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def find_checkpoint(folder: Path, resume: str) -> Path | None:
    """The checkpoint to continue from: the newest of `folder` (auto), none (never), or a file.

    Raises:
        UsageError: the file does not exist.
    """
    if resume == "never":
        return None
    if resume == "auto":
        found = sorted(path for path in folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name))
        return max(found, key=lambda path: int(path.stem.removeprefix("step-")), default=None)
    path = Path(resume)
    if not path.is_file():
        raise UsageError(f"--resume {resume} is not a file: give auto, never or a checkpoint file")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint, on the CPU.

    Raises:
        CheckpointError: it is damaged, or not one of ours.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if missing := {STATE_KEY, "global_step", "state_dict"} - checkpoint.keys():
            raise KeyError(f"no {', '.join(sorted(missing))}")
        if "identity" not in checkpoint[STATE_KEY]:
            raise KeyError("it is of version 0.1, before all lessons had one engine")
    except (RuntimeError, EOFError, KeyError, AttributeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({first_line(error)}): "
            "delete it to continue from the one before, or give --resume never"
        ) from error
    return checkpoint


def check_same(saved: dict[str, Any], path: Path, asked: dict[str, Any]) -> None:
    """Refuse to continue a checkpoint with a config that makes something else; rates, limits and the like may change.

    Raises:
        CheckpointError: names what differs, with both values.
    """
    if differing := differences(saved, asked):
        raise CheckpointError(
            f"checkpoint {path} is of another model ({differing}): "
            "train with its config, or start anew with --resume never"
        )


def differences(there: dict[str, Any], now: dict[str, Any], most: int = 4) -> str:
    """What differs between two nested descriptions, with both values, for a refusal; empty where nothing does."""
    saved, asked = _flat(there), _flat(now)
    found = [
        f"{name} is {saved.get(name)} there and {asked.get(name)} now"
        for name in sorted(saved.keys() | asked.keys())
        if saved.get(name) != asked.get(name)
    ]
    return "; ".join(found[:most])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
