"""Crops of records as tensors: the sound of some seconds with the frames of the same seconds.

Guarantee: pure functions; what is missing is zero, and the mask says where frames are. Price: the sound is copied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clipsonic.shards.store import Stored

ABSENT_TIME_S = -1.0
"""The time of a frame that is not there."""


def crop_wave(wave: np.ndarray, start: int, num_samples: int) -> np.ndarray:
    """`num_samples` float32 samples in [-1, 1] from an int16 sound; zeros where it ends early."""
    piece, crop = wave[start : start + num_samples], np.empty(num_samples, dtype=np.float32)
    np.multiply(piece, np.float32(1 / 32768), out=crop[: len(piece)])
    crop[len(piece) :] = 0.0
    return crop


def as_float(wave: torch.Tensor) -> torch.Tensor:
    """An int16 sound as float32 in [-1, 1), on its device; what is float32 already as it is."""
    return wave if wave.is_floating_point() else wave.float() / 32768


def crop_frames(stored: Stored, start_s: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a crop and their times in it; if none falls in, the nearest one, its time clamped to the crop."""
    times_s = stored.frame_times_s - start_s
    inside = np.flatnonzero((times_s >= 0.0) & (times_s < seconds))
    if not len(inside):
        inside = np.array([np.argmin(np.abs(times_s - seconds / 2))])
    return stored.frames[inside], times_s[inside].clip(0.0, seconds)


def pad_frames(frames: Sequence[np.ndarray], times_s: Sequence[np.ndarray]) -> dict[str, Any]:
    """Ragged frames as one padded tensor with times and mask."""
    shape = len(frames), max(map(len, frames))
    padded = np.zeros((*shape, frames[0].shape[1]), np.float32)
    times, mask = np.full(shape, ABSENT_TIME_S, np.float32), np.zeros(shape, bool)
    for row, (values, value_times_s) in enumerate(zip(frames, times_s, strict=True)):
        padded[row, : len(values)], times[row, : len(values)] = values, value_times_s
        mask[row, : len(values)] = True
    made = {"frames": padded, "frame_times_s": times, "frame_mask": mask}
    return {name: torch.from_numpy(array) for name, array in made.items()}
