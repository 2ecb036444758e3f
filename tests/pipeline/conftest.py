"""A tiny untrained pipeline of 0.512 s, and a stand-in for CLIP that sees nothing but how bright a picture is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.dit import DiT1D
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.seeding import numpy_rng
from clipsonic.specs import MelSpec, SegmentSpec

WIDTH = 16


class BrightnessClip:
    """A picture's vector turns with its mean brightness, a text's is drawn from its letters; counts what it is asked.

    Like a real network it rounds differently in another batch: the last bits tell how many were asked together.
    """

    fingerprint = "brightness/1"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def embed_pictures(self, pictures: Sequence[Any], batch_size: int = 64) -> np.ndarray:
        self.asked += list(pictures)
        angle = np.array([np.asarray(picture).mean() / 255.0 for picture in pictures])
        rows = np.zeros((len(pictures), WIDTH), np.float32)
        rows[:, 0], rows[:, 1] = np.cos(angle), np.sin(angle)
        return rows * np.float32(1.0 + 1e-7 * len(pictures))

    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        self.asked += list(texts)
        rows = np.stack([numpy_rng(0, "text", text).normal(size=WIDTH) for text in texts])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32) * np.float32(1.0 + 1e-7 * len(texts))


@pytest.fixture
def clip() -> BrightnessClip:
    return BrightnessClip()


@pytest.fixture
def pipeline(clip: BrightnessClip) -> ClipSonicPipeline:
    """Untrained, with weights everywhere, so that the prompt has an effect."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = DiT1D(
            num_mels=32, num_mel_frames=32, patch=4, width=32, depth=1, heads=2, embed_width=WIDTH,
            segment_seconds=0.512,
        )  # fmt: skip
        with torch.no_grad():
            for weight in denoiser.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    spec = SegmentSpec(MelSpec(n_fft=512, hop_length=256, num_mels=32), 32, WIDTH, clip.fingerprint)
    made = ClipSonicPipeline(
        denoiser.eval(), make_scheduler("flow"), spec, np.linspace(-3.0, -6.0, 32), [2.0] * 32, num_inference_steps=3
    )
    made.set_progress_bar_config(disable=True)
    made.set_clip(clip)  # type: ignore[arg-type]
    return made
