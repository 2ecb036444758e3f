"""A training session: from a config and a corpus to a pipeline folder, new or continued.

Guarantee: on a CPU and with a limit in steps, a session that was killed at any moment and continued gives the same
weights, averaged weights, optimiser state, history and pipeline as an unbroken one, bit for bit. What stands in the
pipeline folder is the averaged weights of the last step.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from clipsonic.errors import UsageError
from clipsonic.specs import SegmentSpec
from clipsonic.train.callbacks import Bar, Ending, Validation
from clipsonic.train.checkpoint_files import CheckpointFiles
from clipsonic.train.checkpoints import FOLDER_NAME, Saver, check_same_model, find_checkpoint, read_checkpoint
from clipsonic.train.clock import Clock
from clipsonic.train.config import RunConfig, TrainConfig
from clipsonic.train.data import TrainData, frame_bank, open_data, opened
from clipsonic.train.health import Health
from clipsonic.train.logbook import Logbook, drop_events
from clipsonic.train.loggers import LOGS_NAME, make_loggers
from clipsonic.train.module import STATE_KEY, SoundModule
from clipsonic.train.pace import WatchedStream, make_pace
from clipsonic.train.preview import Preview
from clipsonic.train.result import save_pipeline, write_report
from clipsonic.train.sharding import make_strategy
from clipsonic.train.start import adapter_module, new_module
from clipsonic.train.surroundings import restored


def train(
    config: TrainConfig,
    corpus: Path | str | Sequence[Path | str],
    out: Path,
    resume: str = "auto",
    init: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train, write the pipeline folder, and say what came of it; torch's global state is afterwards as it was before.

    Args:
        corpus: a folder or an address, or several of them that are mixed.
        init: what to begin with, only for a run that is not continued, and for any of an adapter.
        callbacks: Lightning callbacks that look on, after ours.

    Raises:
        CorpusError, FingerprintError, SpecError: the corpus cannot feed the model.
        CheckpointError: the checkpoint is damaged or of another model.
        UsageError: the config does not go with this machine or the launcher of this process.
        TrainingError: a number that is not finite, or a disk that is full.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    with restored():
        return _train(config, corpus, out, resume, init, list(callbacks))


def _train(
    config: TrainConfig,
    corpus: Path | str | Sequence[Path | str],
    out: Path,
    resume: str,
    init: str | None,
    others: list[Callback],
) -> dict[str, Any]:
    _quiet()
    strategy, loggers = make_strategy(config.run), make_loggers(config.run, out)
    corpora = opened(corpus, config.data)
    index = corpora[0].index
    segment = config.segment.spec(index.width, index.fingerprint)
    start = find_checkpoint(out / FOLDER_NAME, resume)
    data = open_data(corpora, segment, config)
    if start is None:
        drop_events(out / LOGS_NAME)
    if start is None:
        module = new_module(config, segment, data, init)
    else:
        module = _continued(start, config, segment, data, init)
    files, ending, health = CheckpointFiles(), Ending(), Health()
    pace = make_pace(config, segment, module.clock, data.val_batches[0]["frames"].shape[1])
    logbook = Logbook(out / LOGS_NAME, config.run.log_every, pace, health)
    validation = Validation(data.val_batches, config.run.val_every, logbook.write, health)
    saver = Saver(out / FOLDER_NAME, config.run.ckpt_every, config.run.keep_last, validation, files, start)
    preview = Preview(data.val_batches[0], config.run.preview_every, health)
    callbacks: list[Callback] = [ending, logbook, validation, preview, Bar(logbook), saver, *others]
    trainer = make_trainer(config, out, callbacks, strategy=strategy, files=files, loggers=loggers(module))
    health.speaking = trainer.is_global_zero
    for note in data.notes if trainer.is_global_zero else ():
        _say(note)
    _fit(trainer, module, data, start, ending)
    save_pipeline(module, index.clip, frame_bank(data.loader, config.data.bank_size), out)
    findings = {
        "train_loss": logbook.last_loss,
        "val_loss": validation.last_loss,
        "best": saver.best,
        "warnings": list(health.warnings.values()),
    }
    return write_report(out, module, trainer.global_step, findings, data.summary(), init)


def _fit(trainer: lightning.Trainer, module: SoundModule, data: TrainData, start: Path | None, ending: Ending) -> None:
    """Run Lightning's loop; only the first rank comes back."""
    try:
        trainer.fit(module, datamodule=WatchedStream(data.loader, module.clock), ckpt_path=start, weights_only=True)
    except SystemExit:  # Lightning's answer to a second signal
        if not ending.interrupted:
            raise
    if ending.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        raise SystemExit(0)


def _continued(
    start: Path, config: TrainConfig, segment: SegmentSpec, data: TrainData, init: str | None
) -> SoundModule:
    """The module as it must be for Lightning to load `start` into it, and the loader at its place."""
    checkpoint = read_checkpoint(start)
    check_same_model(checkpoint, start, config, segment)
    state, weights = checkpoint[STATE_KEY], checkpoint["state_dict"]
    if state["stream"]["digest"] == data.loader.digest:
        data.loader.load_state_dict(state["stream"])
    else:
        data.notes.append("the corpus is another one than at the checkpoint: its records are read from the beginning")
    data.notes.append(f"continuing from step {checkpoint['global_step']} ({start})")
    clock = Clock(config.run, state["clock"])
    if config.adapter.rank:
        module: SoundModule = adapter_module(config, segment, init, clock, weights)
    else:
        module = SoundModule(config, segment, weights["mel_mean"], weights["mel_std"], clock)
    module.num_steps_before = int(checkpoint["global_step"])
    module.stream = data.loader.state_dict()
    return module


def make_trainer(
    config: TrainConfig,
    out: Path,
    callbacks: list[Callback],
    *,
    strategy: Strategy | str = "auto",
    files: CheckpointFiles | None = None,
    loggers: list[Logger] | None = None,
) -> lightning.Trainer:
    """Lightning's trainer with everything of its own that we do ourselves turned off."""
    return lightning.Trainer(
        default_root_dir=out,
        accelerator="auto",
        strategy=strategy,
        devices=config.run.devices,
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
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
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
