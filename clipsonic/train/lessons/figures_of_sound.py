"""What is measured and shown of a denoiser in training: what its frames are worth to it, and what it sounds like.

Guarantee: the prompts are held-out records, and the noise is the same every time. Price of a preview: two network calls
per solver step, and Griffin-Lim.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from clipsonic.audio.picture import spectrogram_png
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.shards.crops import as_float
from clipsonic.specs import MelSpec
from clipsonic.train.engine.health import Health
from clipsonic.train.engine.lesson import Batch, Held, Lesson, Shown
from clipsonic.train.lessons.denoising import Denoising
from clipsonic.train.lessons.sampled import Sampling, generate

NUM_PROMPTS = 3
SWAPPED_RECORDS = 64
"""Held-out records on which it is measured what seeing the right frames is worth."""
FEWEST_SWAPPED = 8
"""With fewer of them nothing is concluded: a record alone in its batch sees its own frames."""
LEAST_GAIN = 0.005
LARGEST_LEVEL_ERROR_DB = 12.0
LEAST_SPREAD = 0.3


class Heard(Lesson):
    """What lessons about a denoiser answer alike: what is measured, shown and said of it."""

    @property
    def sound(self) -> Denoising:
        """The denoiser and its mel space; by default the part of this name."""
        part = self._modules["sound"]
        assert isinstance(part, Denoising)
        return part

    @abstractmethod
    def sampling(self) -> Sampling:
        """How the pipeline that is left will make a sound."""

    @property
    def learner(self) -> nn.Module:
        """The denoiser."""
        network: nn.Module = self.sound.denoiser
        return network

    def figures(self, held: Held) -> dict[str, float]:
        """What seeing the right frames is worth."""
        return condition_gain(held)

    def show(self, held: Held) -> Iterator[Shown]:
        """What some held-out frames sound like."""
        return previews(self.sound, held, self.sampling())

    def truth(self, batches: Sequence[Batch]) -> Iterator[Shown]:
        """What they really sound like."""
        return true_sounds(self.sound, batches)

    def facts(self) -> dict[str, Any]:
        """The segment."""
        return {"segment": self.sound.segment.to_dict()}


def condition_gain(held: Held) -> dict[str, float]:
    """The share by which the loss of the first records is lower than with each seeing another one's frames."""
    few = held.batches[: -(-SWAPPED_RECORDS // len(held.batches[0]["keys"]))]
    lost_N = torch.cat([held.loss(swapped(batch), index) for index, batch in enumerate(few)])
    gain = 1.0 - float(held.loss_N[: len(lost_N)].mean() / lost_N.mean())
    if len(lost_N) >= FEWEST_SWAPPED:
        judge_gain(held.health, held.step, gain)
    return {"condition_gain": gain}


def swapped(batch: Batch) -> Batch:
    """A batch whose records see the frames of their neighbours."""
    seen = {name: batch[name].roll(1, dims=0) for name in ("frames", "frame_times_s", "frame_mask")}
    return {**batch, **seen}


def previews(sound: Denoising, held: Held, how: Sampling) -> Iterator[Shown]:
    """What the frames of the first held-out records sound like."""
    batch = held.batches[0]
    prompts = {name: batch[name][:NUM_PROMPTS] for name in ("frames", "frame_times_s", "frame_mask")}
    made = generate(sound, how, prompts)
    made_db, true_db = sound.segment.mel.db(made), sound.segment.mel.db(_true(sound, batch))
    spread = float(made_db.std() / true_db.std().clamp_min(1e-6))
    judge_levels(held.health, held.step, float(made_db.mean()), float(true_db.mean()), spread)
    return shown("generated", made, sound.segment.mel)


def true_sounds(sound: Denoising, batches: Sequence[Batch]) -> Iterator[Shown]:
    """The true sounds of the same records."""
    return shown("truth", _true(sound, batches[0]), sound.segment.mel)


def _true(sound: Denoising, batch: Batch) -> Tensor:
    log_mel_BMF: Tensor = sound.log_mel(as_float(batch["wave"][:NUM_PROMPTS].to(sound.device))).cpu()
    return log_mel_BMF


def shown(name: str, log_mel_BMF: Tensor, spec: MelSpec) -> Iterator[Shown]:
    """A picture and a sound of each item."""
    waves = GriffinLim(spec)(log_mel_BMF)
    for item, (log_mel, wave) in enumerate(zip(log_mel_BMF, waves, strict=True)):
        yield Shown(f"{name}/{item}", picture_of(log_mel, spec), wave.numpy(), spec.sample_rate_hz)


def picture_of(log_mel_MF: Tensor, spec: MelSpec) -> np.ndarray:
    """The spectrogram of a log-mel as (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(spectrogram_png(log_mel_MF.numpy(), spec))).convert("RGB"))


def judge_gain(health: Health, step: int, gain: float) -> None:
    """`gain`: share by which the validation loss is lower with the right frames than with another record's."""
    if step >= health.settled and gain < LEAST_GAIN:
        health.warn(
            "conditions",
            f"after {step} steps the validation loss is only {100 * gain:.2f} % lower with the right frames than "
            f"with another record's (it should be {100 * LEAST_GAIN:g} % or more): the network does not use what "
            "it sees; check with clipsonic inspect that pictures and sounds belong together, and lower "
            "condition.dropout or condition.embed_noise_std",
        )


def judge_levels(health: Health, step: int, level_db: float, true_level_db: float, spread: float) -> None:
    """Mean level of the previews against that of the true sounds, and the spread of their levels over theirs."""
    if step < health.settled:
        return
    if abs(level_db - true_level_db) > LARGEST_LEVEL_ERROR_DB:
        health.warn(
            "level",
            f"after {step} steps the previews' mean level is {level_db:.0f} dB where the true sounds have "
            f"{true_level_db:.0f} dB (it should be within {LARGEST_LEVEL_ERROR_DB:g} dB): the loudness has "
            "collapsed; look at the previews in the log, and lower optim.lr",
        )
    elif spread < LEAST_SPREAD:
        health.warn(
            "spread",
            f"after {step} steps the levels of the previews spread only {spread:.2f} times as far as those of the "
            f"true sounds (it should be {LEAST_SPREAD:g} or more): all sounds are becoming one; look at the "
            "previews in the log, and lower optim.lr",
        )
