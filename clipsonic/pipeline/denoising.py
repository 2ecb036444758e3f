"""A denoiser with its condition and guidance bound, for one segment or for the windows of a longer sound.

The one place where guidance meets a network: the pipeline, training's previews and the teacher of few steps go through
it. Guarantee: one segment is a call of the network on all sounds at once, windows come `MAX_WINDOWS` at a time; scale
1, and times outside of guidance's interval, cost one prediction, guided times two in one call. Price: none of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.guidance import Guidance
from clipsonic.diffusion.objective import DenoiseFn
from clipsonic.diffusion.schedulers import NUM_TRAIN_TIMESTEPS
from clipsonic.diffusion.windows import in_windows
from clipsonic.models.conditioner import Condition
from clipsonic.pipeline.timeline import Timeline


def bound_to(denoiser: Any, condition: Condition, away: Condition, guidance: Guidance, timeline: Timeline) -> DenoiseFn:
    """(x (B, M, F), timestep (B,)) to the guided prediction, F the timeline's columns.

    Args:
        condition, away: an item for each window, sound by sound, on the denoiser's device.
    """
    if len(timeline.starts) == 1:
        return guided_in_one_batch(denoiser, condition, away, guidance)
    return in_windows(
        lambda some: guided_in_one_batch(denoiser, condition[some], away[some], guidance),
        len(condition) // len(timeline.starts),
        timeline.starts,
        denoiser.config.num_mel_frames,
        timeline.num_columns,
    )


def guided_in_one_batch(denoiser: Any, condition: Condition, away: Condition, guidance: Guidance) -> DenoiseFn:
    """Classifier-free guidance: away + scale (conditional - away), both in one call of the network.

    Scale 1, and times outside of the interval, are the conditional, and scale 0 the other one, each alone and bit for
    bit.
    """
    both = Condition.cat([away, condition])

    def denoise(x_BMF: Tensor, timestep_B: Tensor) -> Tensor:
        if not guidance.acts_at(float(timestep_B[0]) / NUM_TRAIN_TIMESTEPS):
            return predicted(x_BMF, timestep_B, condition)
        if guidance.scale == 0.0:
            return predicted(x_BMF, timestep_B, away)
        twice_BMF, times_B = torch.cat([x_BMF, x_BMF]), torch.cat([timestep_B, timestep_B])
        return guidance.mixed(*predicted(twice_BMF, times_B, both).chunk(2))

    def predicted(x_BMF: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
        prediction_BMF: Tensor = denoiser(x_BMF, timestep_B, condition)
        return prediction_BMF

    return denoise
