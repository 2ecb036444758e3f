"""Makers of a tiny untrained pipeline, and of low-rank adapters with weights everywhere for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.dit import DiT1D
from clipsonic.models.lowrank import LowRank, adapter_weights, add_adapter, remove_adapter
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import Adapter
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec

WIDTH = 8
MEL = MelSpec(n_fft=512, hop_length=256, num_mels=32)


def make_pipeline(width: int = 16, seed: int = 0) -> ClipSonicPipeline:
    """Untrained, with weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = DiT1D(num_mels=32, num_mel_frames=32, patch=4, width=width, depth=1, heads=2, embed_width=WIDTH,
                         segment_seconds=0.512)  # fmt: skip
        with torch.no_grad():
            for weight in denoiser.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    pipeline = ClipSonicPipeline(
        denoiser.eval(), make_scheduler("flow", flow_shift=3.0), SegmentSpec(MEL, 32, WIDTH, "toy/1"),
        [-4.0] * 32, [2.0] * 32, num_inference_steps=3, guidance_scale=1.5,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_adapter(folder: Path, pipeline: ClipSonicPipeline, seed: int = 0, steps: int = 0) -> Path:
    """An adapter of that pipeline with weights everywhere."""
    shape = LowRank(2, 4.0, ("block",))
    add_adapter(pipeline.denoiser, shape, "made", seed)
    generator = torch_generator(seed, "test.adapter")
    for value in adapter_weights(pipeline.denoiser, "made").values():
        value.data.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    found = Adapter.taken_from(pipeline.denoiser, "made", shape)
    remove_adapter(pipeline.denoiser, "made")
    Adapter(found.shape, found.network, found.base, found.weights, steps=steps, flow_shift=6.0).save(folder)
    return folder


def mels(pipeline: ClipSonicPipeline, **options: Any) -> np.ndarray:
    made: np.ndarray = pipeline(embeds=np.eye(2, WIDTH, dtype=np.float32), output_type="mel", **options).mels
    return made
