"""Makers of a small untrained ear and of sounds for it."""

from __future__ import annotations

import numpy as np
import torch

from clipsonic.ear.tower import Ear

RATE_HZ, WIDTH = 4000, 16
MEL = {"sample_rate_hz": RATE_HZ, "n_fft": 256, "hop_length": 64, "num_mels": 16, "f_max_hz": 2000.0}


def make_ear(space: str, embed_width: int = WIDTH) -> Ear:
    """Of windows of about a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: Ear = Ear(
            embed_width=embed_width, space=space, window_columns=64, channels=(4, 8), depths=(1, 2), hidden=8, **MEL
        )
        with torch.no_grad():
            made.outer.bias.zero_()  # else all answers of an untrained one are near to it
            made.inner.bias.zero_()
    return made.eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """(T,) float32."""
    return np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)
