"""Mels of a network in training for fixed prompts: the sampler's loop on the module's own parts.

Guarantee: the same noise every time, so that two moments of a run can be compared, with the steps and the guidance of
the pipeline that will be saved. Price: two network calls per step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clipsonic.diffusion.guidance import guided
from clipsonic.diffusion.sampling import initial_noise, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.conditioner import timed_condition
from clipsonic.seeding import torch_generator

if TYPE_CHECKING:
    from clipsonic.train.module import SoundModule

NUM_STEPS, GUIDANCE_SCALE = 24, 1.5
"""Where the config says nothing: the saved pipeline's own defaults."""


@torch.no_grad()
def generate(module: SoundModule, prompts: dict[str, Tensor]) -> Tensor:
    """Log-mels (N, M, F) on the CPU for the frames of some records, with the network's present weights."""
    how = module.config.objective
    steps, scale = how.num_inference_steps or NUM_STEPS, how.guidance_scale
    condition = timed_condition(prompts["frames"], prompts["frame_times_s"], prompts["frame_mask"]).to(module.device)
    null = condition.null_like()
    shape = (module.segment.mel.num_mels, module.segment.num_mel_frames)
    generators = [torch_generator(module.config.run.seed, "train.preview", item) for item in range(len(condition))]
    x0_BMF = sample(
        lambda x, t: guided(module.denoiser, x, t, condition, null, GUIDANCE_SCALE if scale is None else scale),
        make_scheduler(module.objective.prediction_type, flow_shift=how.flow_shift),
        initial_noise(shape, generators).to(module.device),
        steps,
        generators=generators,
    )
    return module.from_model_space(x0_BMF).cpu()
