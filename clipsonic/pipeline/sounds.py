"""Listening to a sound that is a prompt: its seconds through the ear, then to the pictures that it could go with.

Guarantee: what is heard does not depend on the prompt's level; each window of the ear is a token at its time. Price: a
millisecond or two per second of sound; only the seconds that are needed are taken from it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipsonic.audio.wave import audio_length, mix, read_audio, resample
from clipsonic.ear.tower import LEAST_S, Ear
from clipsonic.errors import UsageError


def is_sounding(value: Any) -> bool:
    """Whether this is one sound: a file, or a pair of samples and rate."""
    is_pair = isinstance(value, tuple) and len(value) == 2 and np.ndim(value[0]) in (1, 2) and np.ndim(value[1]) == 0
    return isinstance(value, str | Path) or (is_pair and not isinstance(value[0], str | Path))


def listen(ear: Ear, prompt: Any, start_s: float, seconds: float) -> tuple[Tensor, Tensor]:
    """Unit vectors (W, E) of the windows of these seconds of a sound, or of what is left of them, and their middles
    (W,) in seconds from `start_s`.

    Args:
        prompt: a sound file, or (samples (T,) or (C, T), rate).

    Raises:
        UsageError: too little is left after `start_s`, it is silent, or it holds what are no numbers.
        ClipsonicError: a file that cannot be read.
    """
    name = f"sound {prompt}" if isinstance(prompt, str | Path) else "the sound"
    wave_T, rate_hz = _part(prompt, name, start_s, max(seconds, LEAST_S))
    if len(wave_T) < LEAST_S * rate_hz:
        raise UsageError(
            f"{name} has {len(wave_T) / rate_hz:.2f} s after {start_s:g} s, below the {LEAST_S:g} s that an ear needs: "
            "give a longer one, or an earlier start_s"
        )
    if not wave_T.any():
        raise UsageError(f"{name} is silent from {start_s:g} s on: give one that is heard")
    own_hz = ear.spec.sample_rate_hz
    own_T = resample(wave_T, rate_hz, own_hz)
    own_T = np.pad(own_T, (0, max(0, math.ceil(LEAST_S * own_hz) - len(own_T))))  # what rounding took away
    heard = ear.embed_sounds(own_T[None], own_hz)
    return torch.from_numpy(heard.embeds[0]), torch.from_numpy(heard.times_s).float()


def _part(prompt: Any, name: str, start_s: float, seconds: float) -> tuple[np.ndarray, int]:
    """The seconds that are asked about, (T,) mono, with their rate."""
    if not 0.0 <= start_s < float("inf"):
        raise UsageError(f"start_s {start_s} must be 0 or more, in seconds of the sound")
    if isinstance(prompt, str | Path):
        length, rate_hz = audio_length(prompt)
        first = min(round(start_s * rate_hz), length)
        return read_audio(prompt, first, min(round(seconds * rate_hz), length - first))
    rate_hz = _checked_rate(prompt[1])
    samples_CT = np.atleast_2d(np.asarray(prompt[0], dtype=np.float32))
    first = round(start_s * rate_hz)
    part_CT = samples_CT[:, first : first + round(seconds * rate_hz)]
    if not np.isfinite(part_CT).all():
        raise UsageError(f"{name} holds samples that are infinite or no numbers: mend it first")
    return mix(list(part_CT)).wave, rate_hz


def _checked_rate(rate_hz: Any) -> int:
    if int(rate_hz) != rate_hz or rate_hz < 1:
        raise UsageError(f"a rate of {rate_hz} Hz must be a whole number above 0: give (samples, rate)")
    return int(rate_hz)
