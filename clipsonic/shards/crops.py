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


def crop_frames(stored: Stored, start_s: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a crop and their times in it; if none falls in, the nearest one, its time clamped to the crop."""
    times_s = stored.frame_times_s - start_s
    inside = np.flatnonzero((times_s >= 0.0) & (times_s < seconds))
    if not len(inside):
        inside = np.array([np.argmin(np.abs(times_s - seconds / 2))])
    return stored.frames[inside].astype(np.float32), times_s[inside].clip(0.0, seconds).astype(np.float32)


def pad_frames(frames: Sequence[np.ndarray], times_s: Sequence[np.ndarray]) -> dict[str, Any]:
    """Ragged frames as one padded tensor with times and mask."""
    longest, width = max(map(len, frames)), frames[0].shape[1]
    padded = torch.zeros(len(frames), longest, width)
    times = torch.full((len(frames), longest), ABSENT_TIME_S)
    mask = torch.zeros(len(frames), longest, dtype=torch.bool)
    for row, (values, value_times_s) in enumerate(zip(frames, times_s, strict=True)):
        padded[row, : len(values)] = torch.from_numpy(values)
        times[row, : len(values)] = torch.from_numpy(value_times_s)
        mask[row, : len(values)] = True
    return {"frames": padded, "frame_times_s": times, "frame_mask": mask}
