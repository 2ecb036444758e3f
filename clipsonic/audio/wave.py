"""Sound as files, bytes and plain measures: 16-bit WAV and FLAC through soundfile, resampling through soxr.

Guarantee: a written file is whole or absent, samples on the 16-bit grid come back exactly, equal sound gives equal
bytes. Price: 16 bits; what lies outside [-1, 1) is clipped.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from clipsonic.audio.mono import mix
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import write_whole

Wave = npt.NDArray[np.float32]

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
READABLE = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".aif", ".oga", ".opus"}
"""Suffixes of what `read_audio` reads."""
QUIETEST_LUFS = -70.0
_LOUDNESS_BLOCK_S = 0.4
QUIETEST_DB = -120.0
_FULL_SCALE = 32768
_TAGS = ("title", "copyright", "software", "artist", "comment", "date", "album", "license", "tracknumber", "genre")


def write_audio(
    path: str | os.PathLike[str], wave: npt.ArrayLike, sample_rate_hz: int, metadata: dict[str, str] | None = None
) -> None:
    """Write (T,) samples as 16-bit WAV or FLAC, by the suffix of `path`; missing folders are made.

    Args:
        metadata: tags; names that WAV and FLAC both know (title, artist, comment, ...) stand as such, all others go
            into the comment as one JSON object; `read_metadata` gives them all back.

    Raises:
        UsageError: another suffix, or a sound that is not finite and one-dimensional.
    """
    target = Path(path)
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise UsageError(
            f"{target.name}: suffix {target.suffix!r} is not a sound format here: use {' or '.join(FORMATS)}"
        )
    write_whole(target, _encode(wave, sample_rate_hz, form, metadata))


def read_audio(path: str | os.PathLike[str], start: int = 0, count: int = -1) -> tuple[Wave, int]:
    """A sound file as (T,) float32 mono, its channels mixed as one (`audio.mono`), and its rate in Hz.

    Args:
        start, count: the samples of the file that are read; by default all.

    Raises:
        UsageError: there is no such file.
        ClipsonicError: it is no sound file that libsndfile can read.
    """
    with opened(path) as file:
        file.seek(start)
        samples = file.read(count, dtype="float32", always_2d=True)
        return mix(list(np.ascontiguousarray(samples.T))).wave, int(file.samplerate)


def audio_length(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Samples and rate in Hz of a sound file, without decoding it.

    Raises:
        UsageError: there is no such file.
        ClipsonicError: it is no sound file that libsndfile can read.
    """
    with opened(path) as file:
        return int(file.frames), int(file.samplerate)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    """A sound file, open for reading.

    Raises:
        UsageError: there is no such file.
        ClipsonicError: it is no sound file that libsndfile can read.
    """
    source = _existing(path)
    try:
        with soundfile.SoundFile(source) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise ClipsonicError(
            f"{source} is not a sound file that can be read ({error.error_string}): give WAV or FLAC"
        ) from None


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The tags given to `write_audio`, empty if there are none.

    Raises:
        UsageError: there is no such file.
    """
    with soundfile.SoundFile(_existing(path)) as file:
        tags = {name: str(value) for name, value in file.copy_metadata().items() if value}
    try:
        extra = json.loads(tags.get("comment", ""))
    except ValueError:
        return tags
    if not isinstance(extra, dict):
        return tags
    del tags["comment"]
    return {**tags, **{str(name): str(value) for name, value in extra.items()}}


def encode_flac(wave: npt.ArrayLike, sample_rate_hz: int) -> bytes:
    """(T,) samples as a 16-bit FLAC file in memory; equal sound gives equal bytes.

    Raises:
        UsageError: the sound is not finite and one-dimensional.
    """
    return _encode(wave, sample_rate_hz, "FLAC", None)


def decode_flac(data: bytes) -> tuple[Wave, int]:
    """The inverse of `encode_flac`, exact on the 16-bit grid.

    Raises:
        ClipsonicError: the bytes are no FLAC file.
    """
    try:
        samples, sample_rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ClipsonicError(
            f"{len(data)} bytes are not a FLAC file ({error.error_string}): make the record again"
        ) from None
    return np.ascontiguousarray(samples[:, 0]), int(sample_rate_hz)


def resample(wave: npt.ArrayLike, from_hz: int, to_hz: int) -> Wave:
    """(T,) at one rate to (about T * to_hz / from_hz,) at another, soxr's HQ band-limited filter; equal rates pass."""
    samples = np.ascontiguousarray(wave, dtype=np.float32)
    if from_hz == to_hz or not len(samples):
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), dtype=np.float32)


def peak(wave: npt.ArrayLike) -> float:
    """Largest magnitude; 0 for an empty sound."""
    samples = np.asarray(wave)
    return float(np.abs(samples).max()) if samples.size else 0.0


def rms_db(wave: npt.ArrayLike) -> float:
    """Level in dB relative to full scale (a full-scale square wave is 0 dB), at least -120."""
    samples = np.asarray(wave, dtype=np.float64)
    power = float(np.mean(samples**2)) if samples.size else 0.0
    return max(QUIETEST_DB, 10.0 * float(np.log10(power))) if power > 0.0 else QUIETEST_DB


def loudness_lufs(wave: npt.ArrayLike, sample_rate_hz: int) -> float:
    """Integrated loudness (ITU-R BS.1770-4, by pyloudnorm) in LUFS, at least -70, where its absolute gate lies."""
    from pyloudnorm import Meter  # takes a second: it imports scipy.signal

    samples = np.asarray(wave, dtype=np.float64)
    least = math.ceil(_LOUDNESS_BLOCK_S * sample_rate_hz) + 1
    if samples.size < least:
        samples = np.pad(samples, (0, least - samples.size))
    with np.errstate(divide="ignore"):
        return max(QUIETEST_LUFS, float(Meter(sample_rate_hz).integrated_loudness(samples)))


def silence_share(wave: npt.ArrayLike, sample_rate_hz: int, threshold_db: float = -60.0) -> float:
    """Share of windows of 20 ms whose level is below `threshold_db`; an empty sound is all silence."""
    samples = np.asarray(wave, dtype=np.float64)
    if not samples.size:
        return 1.0
    length = max(1, sample_rate_hz // 50)
    starts = np.arange(0, samples.size, length)
    counts = np.diff(np.append(starts, samples.size))
    power = np.add.reduceat(samples**2, starts) / counts
    return float(np.mean(power < 10.0 ** (threshold_db / 10.0)))


def clipped_share(wave: npt.ArrayLike) -> float:
    """Share of samples within 0.1 % of full scale or beyond it."""
    samples = np.asarray(wave)
    return float(np.mean(np.abs(samples) >= 0.999)) if samples.size else 0.0


def _encode(wave: npt.ArrayLike, sample_rate_hz: int, form: str, metadata: dict[str, str] | None) -> bytes:
    samples = np.asarray(wave, dtype=np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise UsageError(f"sound of shape {samples.shape} cannot be written: it must be one-dimensional and finite")
    grid = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", int(sample_rate_hz), 1, "PCM_16", format=form) as file:
        for name, value in _tags_of(metadata or {}).items():
            setattr(file, name, value)
        file.write(grid)
    return buffer.getvalue()


def _tags_of(metadata: dict[str, str]) -> dict[str, str]:
    """Known names as they are; if there are others, these and the comment become one JSON comment."""
    tags = {name: str(value) for name, value in metadata.items() if name in _TAGS}
    extra = {name: str(value) for name, value in metadata.items() if name not in _TAGS}
    if extra:
        if "comment" in tags:
            extra["comment"] = tags["comment"]
        tags["comment"] = json.dumps(extra, ensure_ascii=False, sort_keys=True)
    return tags


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if not source.is_file():
        reason = "is no file" if source.exists() else "does not exist"
        raise UsageError(f"sound file {source} {reason}: give the path of a WAV or FLAC file")
    return source
