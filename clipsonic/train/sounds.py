"""Mels of a network in training for fixed prompts, sampled as the pipeline that will be saved samples.

Guarantee: the same noise every time, so that two moments of a run can be compared; scheduler, steps and guidance (its
scale, interval and rescaling) are those of `module.sampling()`, and the loop is the pipeline's. Price: that of a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clipsonic.diffusion.sampling import initial_noise, sample
from clipsonic.models.conditioner import timed_condition
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.seeding import torch_generator

if TYPE_CHECKING:
    from clipsonic.train.module import SoundModule


@torch.no_grad()
def generate(module: SoundModule, prompts: dict[str, Tensor]) -> Tensor:
    """Log-mels (N, M, F) on the CPU for the frames of some records, with the network's present weights."""
    scheduler, steps, guidance = module.sampling()
    condition = timed_condition(prompts["frames"], prompts["frame_times_s"], prompts["frame_mask"]).to(module.device)
    shape = (module.segment.mel.num_mels, module.segment.num_mel_frames)
    generators = [torch_generator(module.config.run.seed, "train.preview", item) for item in range(len(condition))]
    x0_BMF = sample(
        guided_in_one_batch(module.denoiser, condition, condition.null_like(), guidance),
        scheduler,
        initial_noise(shape, generators).to(module.device),
        steps,
        generators=generators,
    )
    return module.from_model_space(x0_BMF).cpu()
