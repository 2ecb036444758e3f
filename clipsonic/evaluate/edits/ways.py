"""The ways of filling that are held against each other: the product's, AudioLDM's, and fills that know no model.

Guarantee: every way sees the same given cells and masks, and item by item the same generators; those with a model see
the same levels, the same number of calls and, unless they are blind, the same picture. Price: a call of the network
per level and sound, two where guidance acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.audio.mel import LogMel
from clipsonic.diffusion.editing import Given, levels_above, sample_given, sample_replacing
from clipsonic.diffusion.objective import Objective, make_objective
from clipsonic.diffusion.sampling import Guidance, StepFn, initial_noise, levels
from clipsonic.evaluate.edits import fills
from clipsonic.evaluate.edits.tasks import Task
from clipsonic.evaluate.material import Material
from clipsonic.evaluate.rows import Making
from clipsonic.models.conditioner import Condition
from clipsonic.pipeline.denoising import Timeline, bound_to
from clipsonic.pipeline.prompts import condition_of, timeless
from clipsonic.pipeline.vocoding import vocode
from clipsonic.seeding import torch_generator

GUIDANCE = 1.0
"""Unless another is asked for: with what is given beside the picture, more guidance costs twice as much and gains
nothing (over 32 sounds, 7.6 dB with 1 and with 1.5 in a gap of a second)."""
AUDIOLDM, OURS = "audioldm", "picture"
FILLS = ("mean", "linear", "repeat")
"""The names of those without a model."""

Fill = Callable[[Tensor, Tensor, np.ndarray], Tensor]
"""(x0 (B, M, F) of the model's space, made (B, M, F) bool, places (B,) of the items) to x (B, M, F)."""


@dataclass(frozen=True)
class Way:
    """One way of filling.

    Args:
        name: its word in report.json.
        label, about: what people read.
        fill: what makes it.
        is_compared: whether it is made of all items, or of `num_others`.
    """

    name: str
    label: str
    about: str
    fill: Fill
    is_compared: bool = False


class Model:
    """A pipeline's network, its levels, and the pictures and sounds it is judged on, ready to be bound to a batch.

    Args:
        pipeline: a ClipSonicPipeline.
        material: the true sounds and their pictures.
        making: steps, guidance (None: GUIDANCE), seed, batch size.

    Attributes:
        log_mels_NMF, x0_NMF: the true sounds as log-mels and in the model's space, on the CPU.
        levels, filling: from noise to 0, and those of them that an edit uses where given cells lead.
        guidance, changing: where given cells lead, and where whole sounds are changed; as in `ClipSonicPipeline.edit`.
    """

    def __init__(self, pipeline: Any, material: Material, making: Making) -> None:
        self.pipeline, self.making = pipeline, making
        self.segment, self.device = pipeline.segment, pipeline._execution_device
        steps, self.changing = pipeline.sampling(making.steps, making.guidance)
        self.guidance = self.changing if making.guidance is not None else pipeline.sampling(scale=GUIDANCE)[1]
        self.objective: Objective = make_objective(pipeline.denoiser.config.prediction_type)
        if isinstance(self.objective, torch.nn.Module):  # with a table
            self.objective.to(self.device)
        self.levels: list[float] = levels(pipeline.solver, steps).tolist()
        self.filling: list[float] = levels_above(self.levels, self.objective)
        self._keys = [item.key for item in material.items]
        self._images = functional.normalize(torch.from_numpy(material.images), dim=-1)
        self._timeline = Timeline.of(None, self.segment)
        self.log_mels_NMF = self._log_mels(material.waves)
        mean_M, std_M = pipeline.mel_statistics
        self.x0_NMF = (self.log_mels_NMF - mean_M[:, None]) / std_M[:, None]

    def bound(
        self, at: Sequence[int] | np.ndarray, *, is_blind: bool = False, guidance: Guidance | None = None
    ) -> StepFn:
        """The network with the pictures of these items bound, or with nothing."""
        condition = condition_of([[timeless(self._images[int(place)])] for place in at])
        null = condition.null_like()
        if is_blind:
            return self._bound(null, null, Guidance(1.0))
        return self._bound(condition, null, guidance or self.guidance)

    def _bound(self, condition: Condition, away: Condition, guidance: Guidance) -> StepFn:
        condition, away = condition.to(self.device), away.to(self.device)
        return bound_to(self.pipeline.denoiser, condition, away, guidance, self._timeline)

    def generators(self, at: Sequence[int] | np.ndarray, purpose: str = "evaluate.edit") -> list[torch.Generator]:
        """One for each of these items."""
        return [torch_generator(self.making.seed, purpose, self._keys[int(place)]) for place in at]

    def mask(self, task: Task, place: int) -> Tensor:
        """What this task takes away of this item, (M, F)."""
        generator = torch_generator(self.making.seed, "evaluate.edit.mask", task.name, self._keys[place])
        return task.mask(self.segment, generator)

    def to_log_mel(self, x_BMF: Tensor) -> Tensor:
        """Log-mels of what the network works on."""
        mean_M, std_M = self.pipeline.mel_statistics
        log_mel_BMF: Tensor = x_BMF * std_M[:, None] + mean_M[:, None]
        return log_mel_BMF

    def waves(self, log_mels_BMF: Tensor) -> np.ndarray:
        """Through the pipeline's vocoder, (B, T)."""
        size = self.making.batch_size
        parts = [
            vocode(self.pipeline.vocoder, log_mels_BMF[at : at + size]) for at in range(0, len(log_mels_BMF), size)
        ]
        return np.asarray(torch.cat(parts).numpy())

    def _log_mels(self, waves: np.ndarray, batch_size: int = 32) -> Tensor:
        log_mel = LogMel(self.segment.mel)
        starts = range(0, len(waves), batch_size)
        return torch.cat([log_mel(torch.from_numpy(waves[at : at + batch_size])) for at in starts])


def ways_for(task: Task, model: Model) -> list[Way]:
    """Those that can fill what this task takes away."""

    def one_by_one(fill: Callable[[Tensor, Tensor], Tensor]) -> Fill:
        return lambda x0_BMF, made_BMF, _: torch.stack(
            [fill(x0_MF, made_MF) for x0_MF, made_MF in zip(x0_BMF, made_BMF, strict=True)]
        )

    plain = [Way("mean", "mean of the given", "each band at the mean of its given cells", one_by_one(fills.mean))]
    if task.has_columns:
        plain.append(Way("linear", "line in time", "from the last given cell to the next", one_by_one(fills.linear)))
    if task.made_s is not None:
        about = "given columns again, at the lag that fits best"
        fill = one_by_one(lambda x0_MF, made_MF: fills.repeat(x0_MF, made_MF, model.segment.mel))
        plain.append(Way("repeat", "repeat", about, fill))
    return [*plain, *_with_the_model(model)]


def _with_the_model(model: Model) -> list[Way]:
    def by(sampler: Callable[..., Tensor], *, is_blind: bool = False) -> Fill:
        def fill(x0_BMF: Tensor, made_BMF: Tensor, at: np.ndarray) -> Tensor:
            denoise, generators = model.bound(at, is_blind=is_blind), model.generators(at)
            noise_BMF = initial_noise(x0_BMF.shape[1:], generators)
            return sampler(denoise, model.objective, model.filling, noise_BMF, generators, Given(x0_BMF, made_BMF))

        return fill

    about = "its picture; given cells noised anew at each level, then a step of the ODE"
    return [
        Way(AUDIOLDM, "AudioLDM's way", about, by(sample_replacing), is_compared=True),
        Way("blind", "no prompt", "what is given, and no picture", by(sample_given, is_blind=True)),
        Way(OURS, "picture", "what is given, and one frame", by(sample_given), is_compared=True),
    ]
