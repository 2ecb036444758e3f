"""Mels of a network in training for fixed prompts, sampled as the pipeline that will be saved samples.

Guarantee: the same noise every time, so that two moments of a run can be compared; scheduler, steps and guidance (its
scale, interval and rescaling) are those that are given, and the loop is the pipeline's. Price: that of a call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipsonic.diffusion.sampling import Guidance, initial_noise, sample
from clipsonic.models.conditioner import timed_condition
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.seeding import torch_generator
from clipsonic.train.lessons.denoising import Denoising


class Sampling(NamedTuple):
    """How a sound is made from noise: scheduler, solver steps, guidance."""

    scheduler: Any
    num_steps: int
    guidance: Guidance


@torch.no_grad()
def generate(sound: Denoising, how: Sampling, prompts: dict[str, Tensor]) -> Tensor:
    """Log-mels (N, M, F) on the CPU for the frames of some records, with the network's present weights."""
    condition = timed_condition(prompts["frames"], prompts["frame_times_s"], prompts["frame_mask"]).to(sound.device)
    shape = (sound.segment.mel.num_mels, sound.segment.num_mel_frames)
    generators = [torch_generator(sound.config.run.seed, "train.preview", item) for item in range(len(condition))]
    x0_BMF = sample(
        guided_in_one_batch(sound.denoiser, condition, condition.null_like(), how.guidance),
        how.scheduler,
        initial_noise(shape, generators).to(sound.device),
        how.num_steps,
        generators=generators,
    )
    return sound.from_model_space(x0_BMF).cpu()
