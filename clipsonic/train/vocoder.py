"""Trains a vocoder: true mels in, and the wave that comes out held against the true one at several resolutions.

Guarantee: batches are a function of (seed, step), so a resumed run continues as the unbroken one would, bit for bit on
a CPU (unless limited by minutes); checkpoints are written whole about once a minute.
Price: about 0.3 s per step of 16 one-second crops on two cores.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocos import Vocos
from clipsonic.errors import TrainingError, UsageError
from clipsonic.resumable import learning_rate_factor, load_state, save_state
from clipsonic.train.vocoder_data import Bank, batches
from clipsonic.train.vocoder_loss import mel_loss, spectral_loss

_MEL_WEIGHT = 15.0
_AVERAGING = 0.999


@dataclass(frozen=True)
class VocoderSettings:
    """How to train.

    Args:
        num_steps: optimiser steps; `max_minutes` may end the run earlier.
        batch_size: crops per step.
        crop_s: length of a crop in seconds.
        learning_rate: at its highest; it rises over the first `warmup_share` and falls along a cosine to zero.
        max_minutes: wall-clock limit over all resumes; the schedule then follows the clock, so results vary.
        checkpoint_s: seconds between checkpoints.
    """

    num_steps: int = 6000
    batch_size: int = 16
    crop_s: float = 1.024
    learning_rate: float = 1e-3
    warmup_share: float = 0.02
    seed: int = 0
    max_minutes: float | None = None
    checkpoint_s: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("num_steps", 1), ("batch_size", 1), ("crop_s", 0.3), ("learning_rate", 1e-9)):
            if (value := getattr(self, name)) < least:
                raise UsageError(f"{name} {value:g} is below {least:g}: give more")


class VocoderTrainer:
    """One run: network, its average, optimiser, and the place it has reached."""

    def __init__(self, vocoder: Vocos, banks: list[Bank], settings: VocoderSettings, facts: dict[str, Any]) -> None:
        """`facts` name the data; a checkpoint with other facts or other settings is refused."""
        self.vocoder, self.banks, self.settings = vocoder, banks, settings
        self.facts = {**facts, **{key: value for key, value in asdict(settings).items() if key != "checkpoint_s"}}
        self.averaged = AveragedModel(vocoder, avg_fn=running_mean)
        self.optimizer = torch.optim.AdamW(vocoder.parameters(), lr=settings.learning_rate, betas=(0.8, 0.99))
        self.log_mel = LogMel(vocoder.spec).to(vocoder.device)
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by the clock, whichever is further."""
        minutes = self.settings.max_minutes
        by_clock = self.seconds / (60.0 * minutes) if minutes else 0.0
        return max(self.step / self.settings.num_steps, by_clock)

    def run(self, folder: Path) -> None:
        """Train to the end, with checkpoints in `folder`.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        saved, num_samples = time.monotonic(), self.num_samples
        stream = batches(self.banks, self.settings.batch_size, num_samples, self.settings.seed, self.step)
        with tqdm(
            total=self.settings.num_steps, initial=self.step, file=sys.stderr, mininterval=0.5, unit="step",
            desc="train-vocoder",
        ) as bar:  # fmt: skip
            while self.progress < 1.0:
                started = time.monotonic()
                loss = self._train_step(next(stream).to(self.vocoder.device))
                self.seconds += time.monotonic() - started
                bar.update()
                if self.step % 10 == 0:
                    bar.set_postfix(loss=f"{loss:.3f}", done=f"{self.progress:.0%}")
                if time.monotonic() - saved > self.settings.checkpoint_s:
                    self.save_checkpoint(folder)
                    saved = time.monotonic()

    @property
    def num_samples(self) -> int:
        """Samples of a crop: whole columns."""
        spec = self.vocoder.spec
        return spec.num_samples(spec.num_mel_frames(round(self.settings.crop_s * spec.sample_rate_hz)))

    def _train_step(self, true_BT: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * learning_rate_factor(
                self.progress + 1e-6, self.settings.warmup_share
            )
        self.vocoder.train()
        true_BMF = self.log_mel(true_BT)
        made_BT = self.vocoder.wave(true_BMF)
        loss = spectral_loss(made_BT, true_BT) + _MEL_WEIGHT * mel_loss(self.log_mel, made_BT, true_BMF)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"the loss is not finite at step {self.step}: lower --lr")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.vocoder.parameters(), 1.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.vocoder)
        self.step += 1
        return float(loss.detach())

    def result(self) -> Vocos:
        """The averaged network, ready to use."""
        vocoder: Vocos = self.averaged.module  # type: ignore[assignment]
        return vocoder.eval().requires_grad_(False)

    def save_checkpoint(self, folder: Path) -> None:
        """Everything the rest of the run needs, written whole."""
        state = {
            "vocoder": self.vocoder.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        save_state(folder, state, self.facts)

    def resume(self, folder: Path) -> bool:
        """Continue from the checkpoint in `folder`, if there is one.

        Raises:
            CheckpointError: the checkpoint is damaged.
            UsageError: it belongs to another run.
        """
        state = load_state(folder, self.facts, self.vocoder.device)
        if state is None:
            return False
        self.vocoder.load_state_dict(state["vocoder"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        return True


def running_mean(averaged: Tensor, new: Tensor, num_averaged: Tensor | int) -> Tensor:
    """An exponential mean whose memory grows with the run, to at most 1 / (1 - _AVERAGING) steps."""
    share = max(1.0 - _AVERAGING, 9.0 / (10.0 + float(num_averaged)))
    return averaged + share * (new - averaged)
