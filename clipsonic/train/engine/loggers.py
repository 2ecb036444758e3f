"""Where a run's curves, pictures and sounds go: TensorBoard always, Weights & Biases if asked.

Guarantee: a package that is asked for and missing is refused before any work. Price: none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from clipsonic.errors import UsageError
from clipsonic.train.engine.config import RunConfig
from clipsonic.train.engine.module import LessonModule

LOGS_NAME = "logs"


def make_loggers(config: RunConfig, out: Path) -> Callable[[LessonModule], list[Logger]]:
    """What makes the loggers of a run once its module is there; TensorBoard is the first.

    Raises:
        UsageError: Weights & Biases is asked for and not installed.
    """
    if config.wandb and importlib.util.find_spec("wandb") is None:
        raise UsageError("run.wandb is true but the package wandb is missing: pip install wandb, or leave it out")

    def loggers(module: LessonModule) -> list[Logger]:
        first_step = (
            module.num_steps_before + 1
        )  # TensorBoard forgets what a killed session logged after its checkpoint
        board = TensorBoardLogger(out, name=LOGS_NAME, version="", purge_step=first_step)
        return [board, _weights_and_biases(out, module)] if config.wandb else [board]

    return loggers


def _weights_and_biases(out: Path, module: LessonModule) -> Logger:
    """One run for all sessions: its id is the folder's name."""
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(
        project="clipsonic", name=out.name, id=out.name, save_dir=out, resume="allow", config=module.config.to_dict()
    )
