"""A sound file read and written in its own depth, rate and channels, so that what nobody changed stays the same.

Guarantee: samples read from WAV or FLAC of 8, 16, 24 or 32 bits or of floats, and written to a file that holds that
depth, come back bit for bit; the file is whole or absent. Price: eight bytes a sample in memory. Not exact: FLAC holds
24 bits at most and no floats; of a lossy file the decoded samples are what is kept.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from clipsonic.audio.formats import container_tags
from clipsonic.audio.wave import opened
from clipsonic.errors import UsageError
from clipsonic.files import write_whole

Wave = npt.NDArray[np.float64]

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
"""What holds samples exactly, by suffix."""

_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_FLOATS = {"FLOAT": np.float32, "DOUBLE": np.float64}
_HELD = {
    "WAV": {**{name: name for name in (*_BITS, *_FLOATS)}, "PCM_S8": "PCM_U8"},
    "FLAC": {"PCM_U8": "PCM_S8", "PCM_S8": "PCM_S8", "PCM_16": "PCM_16", "PCM_24": "PCM_24"},
}
_OTHERWISE = {
    "WAV": "FLOAT",
    "FLAC": "PCM_24",
}  # for depths that a container lacks, and for what a lossy file decodes to


@dataclass(frozen=True)
class ExactSound:
    """What a sound file holds.

    Args:
        wave_CT: (C, T) float64; integers of n bits are divided by 2^(n - 1), floats are as they are.
        rate_hz: its rate.
        depth: libsndfile's name of how it holds a sample (`PCM_24`, `FLOAT`, `VORBIS`, ...).
    """

    wave_CT: Wave
    rate_hz: int
    depth: str


def read_exact(path: str | os.PathLike[str]) -> ExactSound:
    """A sound file with all its channels.

    Raises:
        UsageError: there is no such file, or samples in it that are no numbers.
        ClipsonicError: it is no sound file that libsndfile can read.
    """
    with opened(path) as file:
        samples = file.read(dtype="float64", always_2d=True)
        rate_hz, depth = int(file.samplerate), str(file.subtype)
    if not np.isfinite(samples).all():
        raise UsageError(f"sound file {path} holds samples that are infinite or no numbers: mend it first")
    return ExactSound(np.ascontiguousarray(samples.T), rate_hz, depth)


def held_depth(suffix: str, depth: str) -> str:
    """The depth in which a .wav or .flac file holds samples of this depth: their own, if it can."""
    form = FORMATS[suffix.lower()]
    return _HELD[form].get(depth, _OTHERWISE[form])


def is_held_exactly(suffix: str, depth: str) -> bool:
    """Whether such a file gives samples of this depth back bit for bit."""
    bits = _BITS.get(held_depth(suffix, depth))
    return suffix.lower() == ".wav" or _BITS.get(depth, 25) <= (bits or 0)


def write_exact(
    path: str | os.PathLike[str], wave_CT: npt.ArrayLike, rate_hz: int, depth: str, tags: dict[str, str] | None = None
) -> None:
    """Write (C, T) or (T,) as WAV or FLAC, by the suffix of `path`, in this depth or else the nearest that it holds.

    What integers cannot hold, beyond [-1, 1), is clipped. Tags as in `formats.encode_sound`.

    Raises:
        UsageError: another suffix, or a sound that is not finite.
    """
    target = Path(path)
    if (form := FORMATS.get(target.suffix.lower())) is None:
        raise UsageError(
            f"{target.name}: only {' and '.join(FORMATS)} hold samples exactly: end its name in one of them"
        )
    samples = np.atleast_2d(np.asarray(wave_CT, np.float64))
    if samples.ndim != 2 or not np.isfinite(samples).all():
        raise UsageError(f"sound of shape {np.shape(wave_CT)} cannot be written: it must be (C, T) and finite")
    held, buffer = held_depth(target.suffix, depth), io.BytesIO()
    with soundfile.SoundFile(buffer, "w", int(rate_hz), len(samples), held, format=form) as file:
        for name, value in container_tags(tags or {}).items():
            setattr(file, name, value)
        file.write(_as_held(samples.T, held))
    write_whole(target, buffer.getvalue())


def _as_held(samples: Wave, depth: str) -> np.ndarray:
    """Floats, or whole numbers at the top of 32 bits, where libsndfile takes as many as it holds.

    Left to itself it would divide integers by 2^(n - 1) but multiply floats by 2^(n - 1) - 1.
    """
    if depth in _FLOATS:
        return np.ascontiguousarray(samples, _FLOATS[depth])
    half = 2 ** (_BITS[depth] - 1)
    grid = np.clip(np.rint(samples * half), -half, half - 1).astype(np.int64)
    return np.ascontiguousarray(grid << (32 - _BITS[depth]), np.int32)
