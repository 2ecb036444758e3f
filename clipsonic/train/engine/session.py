"""A training session of any lesson: from a config and a course to the folder that the lesson leaves, new or continued.

Guarantee: on a CPU and with a limit in steps, a session that was killed at any moment and continued gives the same
weights, averaged weights, optimiser state, history and folder as an unbroken one, bit for bit. What the lesson leaves
are the averaged weights of the last step.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from clipsonic.errors import UsageError
from clipsonic.options import device_of
from clipsonic.train.engine.callbacks import Bar, Ending, Validation
from clipsonic.train.engine.checkpoint_files import CheckpointFiles
from clipsonic.train.engine.checkpoints import FOLDER_NAME, Saver, check_same, find_checkpoint, read_checkpoint
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.config import EngineConfig, RunConfig
from clipsonic.train.engine.feed import Feed
from clipsonic.train.engine.health import Health
from clipsonic.train.engine.lesson import Course
from clipsonic.train.engine.logbook import Logbook, drop_events
from clipsonic.train.engine.loggers import LOGS_NAME, make_loggers
from clipsonic.train.engine.module import LESSON_PREFIX, STATE_KEY, LessonModule
from clipsonic.train.engine.pace import make_pace
from clipsonic.train.engine.result import leave
from clipsonic.train.engine.sharding import check_launched, make_strategy
from clipsonic.train.engine.surroundings import restored

Maker = Callable[[dict[str, Tensor] | None], Course]
"""Makes a course anew, or around the lesson's tensors in the checkpoint that it continues from."""


def learn(
    config: EngineConfig, make: Maker, out: Path, resume: str = "auto", callbacks: Sequence[Callback] = ()
) -> dict[str, Any]:
    """Train, write what the lesson leaves, and say what came of it; torch's global state is afterwards as before.

    Args:
        callbacks: Lightning callbacks that look on, after ours.

    Raises:
        CheckpointError: the checkpoint is damaged or of another model.
        UsageError: the config does not go with this machine or the launcher of this process.
        TrainingError: a number that is not finite, or a disk that is full.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
        ClipsonicError: what the making of the course refuses.
    """
    with restored():
        return _learn(config, make, out, resume, list(callbacks))


def _learn(config: EngineConfig, make: Maker, out: Path, resume: str, others: list[Callback]) -> dict[str, Any]:
    _quiet()
    check_launched(config.run)
    loggers = make_loggers(config.run, out)
    start = find_checkpoint(out / FOLDER_NAME, resume)
    module, course = _begun(config, make, start)
    if start is None:
        drop_events(out / LOGS_NAME)
    files, ending, health = CheckpointFiles(), Ending(), Health()
    pace = make_pace(config, module.clock, course.lesson.flops_per_item())
    logbook = Logbook(out / LOGS_NAME, config.run.log_every, pace, health)
    often = config.run.val_every, config.run.preview_every
    validation = Validation(course.lesson, course.held_out, *often, logbook, health)
    saver = Saver(out / FOLDER_NAME, config.run.ckpt_every, config.run.keep_last, validation, files, start)
    callbacks: list[Callback] = [ending, logbook, validation, Bar(logbook), saver, *others]
    strategy = make_strategy(config.run, course.lesson.units())
    trainer = make_trainer(config, out, callbacks, strategy=strategy, files=files, loggers=loggers(module))
    health.speaking = trainer.is_global_zero
    for note in course.notes if trainer.is_global_zero else ():
        _say(note)
    _fit(trainer, module, course, start, ending)
    findings = {
        "train_loss": logbook.last_loss,
        "val_loss": validation.last_loss,
        "best": saver.best,
        "warnings": list(health.warnings.values()),
    }
    return leave(out, module, trainer.global_step, findings, course)


def _fit(trainer: lightning.Trainer, module: LessonModule, course: Course, start: Path | None, ending: Ending) -> None:
    """Run Lightning's loop; only the first rank comes back."""
    try:
        trainer.fit(module, datamodule=Feed(course.stream, module.clock), ckpt_path=start, weights_only=True)
    except SystemExit:  # Lightning's answer to a second signal
        if not ending.interrupted:
            raise
    if ending.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        raise SystemExit(0)


def _begun(config: EngineConfig, make: Maker, start: Path | None) -> tuple[LessonModule, Course]:
    """A module and its course at the first step, or as they must be for Lightning to load `start`."""
    if start is None:
        course = make(None)
        module = LessonModule(config, course.lesson, Clock(config.run))
    else:
        checkpoint = read_checkpoint(start)
        state, prefix = checkpoint[STATE_KEY], LESSON_PREFIX
        check_same({"learn": state["lesson"]}, start, {"learn": config.lesson})
        course = make({name.removeprefix(prefix): value for name, value in checkpoint["state_dict"].items()})
        check_same(state["identity"], start, course.lesson.identity())
        if state["stream"]["digest"] == course.stream.digest:
            course.stream.load_state_dict(state["stream"])
        else:
            course.notes.append("the data is not that of the checkpoint: it is read from the beginning")
        course.notes.append(f"continuing from step {checkpoint['global_step']} ({start})")
        module = LessonModule(config, course.lesson, Clock(config.run, state["clock"]))
        module.num_steps_before = int(checkpoint["global_step"])
    module.stream = course.stream.state_dict()
    return module, course


def make_trainer(
    config: EngineConfig,
    out: Path,
    callbacks: list[Callback],
    *,
    strategy: Strategy | str = "auto",
    files: CheckpointFiles | None = None,
    loggers: list[Logger] | None = None,
) -> lightning.Trainer:
    """Lightning's trainer with everything of its own that we do ourselves turned off."""
    device = device_of(config.run.device)
    return lightning.Trainer(
        default_root_dir=out,
        accelerator=device.type,
        strategy=strategy,
        devices=config.run.devices if device.type == "cpu" or config.run.devices > 1 else [device.index],
        num_nodes=config.run.nodes,
        precision=precision_of(config.run),
        max_epochs=-1,
        max_steps=config.run.max_steps,
        accumulate_grad_batches=config.optim.accumulate,
        logger=loggers or False,
        plugins=[files] if files is not None else None,
        callbacks=callbacks,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )


def precision_of(config: RunConfig) -> Literal["32-true", "bf16-mixed"]:
    """Lightning's name of this config's precision on this machine.

    Raises:
        UsageError: bf16 without a GPU that has it.
    """
    has_bf16 = device_of(config.device).type == "cuda" and torch.cuda.is_bf16_supported()
    if config.precision == "bf16" and not has_bf16:
        raise UsageError("run.precision bf16 needs a GPU that computes in bfloat16: use auto or float32")
    return "bf16-mixed" if has_bf16 and config.precision != "float32" else "32-true"


def _say(sentence: str) -> None:
    print(f"clipsonic train: {sentence}", file=sys.stderr)


def _quiet() -> None:
    """Lightning's notices are for its own users; ours get errors, our sentences and the bar."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
    warnings.filterwarnings("ignore", category=UserWarning, message=r".*(dataloader|num_workers|resumable).*")
    warnings.filterwarnings("ignore", category=FutureWarning, message=r"torch\.distributed\.nn\.functional")
