"""A sound as a small picture on which a part of it can be chosen.

Guarantee: the picture spans the sound from its begin to its end, edge to edge, so a place in it is a time. Price: 1 ms;
400 numbers are kept of a sound, however long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

WIDTH, HEIGHT = 1200, 160  # wider than the page: gradio tells a click's place in a picture that is not made larger
_BAR = 3  # pixels
_GROUND, _WAVE, _PART, _CHOSEN = (245, 246, 250), (120, 130, 160), (224, 222, 250), (85, 70, 200)


@dataclass(frozen=True)
class Waveform:
    """What is kept of a sound to draw it.

    Args:
        peaks: the largest magnitudes of equal parts of it, 0 to 1.
        seconds: its length.
    """

    peaks: tuple[float, ...]
    seconds: float

    @classmethod
    def of(cls, wave_CT: np.ndarray, rate_hz: int) -> Self:
        """Of samples (C, T)."""
        loudest_T = np.abs(wave_CT).max(axis=0)
        starts = np.arange(WIDTH // _BAR) * len(loudest_T) // (WIDTH // _BAR)
        return cls(tuple(np.maximum.reduceat(loudest_T, starts).tolist()), len(loudest_T) / rate_hz)

    def time_s(self, x: float) -> float:
        """The time at a place in the picture, in pixels from its left."""
        return round(min(max(x / WIDTH, 0.0), 1.0) * self.seconds, 2)

    def drawn(self, from_s: float, to_s: float) -> np.ndarray:
        """The picture (HEIGHT, WIDTH, 3) uint8, with a part of it marked."""
        times_s = (np.arange(WIDTH) + 0.5) / WIDTH * self.seconds
        is_part = (times_s >= from_s) & (times_s < to_s)
        heights = np.repeat(np.array(self.peaks) / max(*self.peaks, 1e-9), _BAR) * (HEIGHT / 2 - 4)
        is_wave = np.abs(np.arange(HEIGHT)[:, None] - HEIGHT / 2) <= np.maximum(heights, 0.5)[None]
        ground = np.where(is_part[None, :, None], _PART, _GROUND)
        ink = np.where(is_part[None, :, None], _CHOSEN, _WAVE)
        return np.where(is_wave[..., None], ink, ground).astype(np.uint8)
