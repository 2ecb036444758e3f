"""Checkpoints: written whole, the last two kept, found again, and refused when they belong to another model.

Guarantee: a file called `step-XXXXXXXX.ckpt` is complete; it is read with `weights_only=True`.
Price: while one is written there are three on the disk.
"""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import lightning
import torch

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.specs import SegmentSpec
from clipsonic.train.callbacks import StepCallback
from clipsonic.train.config import TrainConfig
from clipsonic.train.module import STATE_KEY, SoundModule

FOLDER_NAME = "checkpoints"
_NAME = re.compile(r"step-(\d{8,})\.ckpt")
NUM_KEPT = 2


class Saver(StepCallback):
    """Writes a checkpoint every so many steps, and at the end of the run or of the session.

    Args:
        folder: where they stand; older ones that this run did not resume from are removed with the first new one.
        every: steps between them; 0 is only at the end.
        resumed: the checkpoint this session began with.
    """

    def __init__(self, folder: Path, every: int, resumed: Path | None = None) -> None:
        self._folder, self._every = folder, every
        self._ours = [] if resumed is None else [resumed]

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if trainer.should_stop or (self._every and step % self._every == 0):
            with module.clock.pause():
                module.guard.check()
                self._save(trainer, step)

    def _save(self, trainer: lightning.Trainer, step: int) -> None:
        path = self._folder / f"step-{step:08d}.ckpt"
        temporary = path.with_name(f".{path.name}.tmp")
        trainer.save_checkpoint(temporary)
        if not trainer.is_global_zero:
            return
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        self._ours = [*(old for old in self._ours if old != path), path][-NUM_KEPT:]
        for old in self._folder.iterdir():
            if old not in self._ours and _NAME.match(old.name.removeprefix(".")):
                old.unlink(missing_ok=True)


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
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if missing := {STATE_KEY, "global_step", "state_dict"} - checkpoint.keys():
            raise KeyError(f"no {', '.join(sorted(missing))}")
    except (RuntimeError, EOFError, KeyError, AttributeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({reason}): "
            "delete it to continue from the one before, or give --resume never"
        ) from error
    return checkpoint


def check_same_model(checkpoint: dict[str, Any], path: Path, config: TrainConfig, segment: SegmentSpec) -> None:
    """Refuse to continue with a config that makes another model; learning rate, limits and the like may change.

    Raises:
        CheckpointError: names what differs, with both values.
    """
    state = checkpoint[STATE_KEY]
    saved, asked = _identity(state["config"], state["segment"]), _identity(config.to_dict(), segment.to_dict())
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


def _identity(config: dict[str, Any], segment: dict[str, Any]) -> dict[str, Any]:
    kind = config["model"]["kind"]
    return {
        "model": {"kind": kind, kind: config["model"][kind]},
        "objective": {"prediction_type": config["objective"]["prediction_type"]},
        "segment": segment,
        **{name: config[name] for name in ("adapter", "distill") if config.get("adapter", {}).get("rank")},
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
