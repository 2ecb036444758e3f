"""Sound as samples: read from files, as FLAC bytes, many channels as one, at another rate (soxr), and plain measures.

Guarantee: in FLAC, samples on the 16-bit grid come back exactly and equal sound gives equal bytes. Channels are mixed
down here only, so that what was heard is not lost: two that both sound and do not cancel give exactly their mean; one
that is silent beside the loudest does not make it quieter, and where they cancel each other the loudest stands for all:
the mix is never more than 6 dB below the mean power of two channels. One decision holds for all samples given, so
nothing is torn; equal channels give equal bits.
Price: FLAC holds 16 bits, what lies outside [-1, 1) is clipped; mixing takes about 2 ms per ten seconds of stereo at 48
kHz. Not exact: where channels cancel, what the others alone have is lost.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from clipsonic.errors import ClipsonicError, UsageError

Wave = npt.NDArray[np.float32]

READABLE = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"} | {".aif", ".oga", ".opus"}
"""Suffixes of what `read_audio` reads."""
QUIETEST_LUFS = -70.0
_LOUDNESS_BLOCK_S = 0.4
QUIETEST_DB = -120.0
_FULL_SCALE = 32768
_SILENT = 1e-3  # of the loudest channel's power (-30 dB): a channel below it is not there
_CANCELLED = 0.5  # of the power that unrelated channels would give: two of equal level then correlate below -0.5
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_SURROUND_WEIGHT = 0.5


def read_audio(path: str | os.PathLike[str], start: int = 0, count: int = -1) -> tuple[Wave, int]:
    """A sound file as (T,) float32 mono, its channels mixed as one (`mix`), and its rate in Hz.

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


def encode_flac(wave: npt.ArrayLike, sample_rate_hz: int) -> bytes:
    """(T,) samples as a 16-bit FLAC file in memory; equal sound gives equal bytes.

    Raises:
        UsageError: the sound is not finite and one-dimensional.
    """
    samples = np.asarray(wave, dtype=np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise UsageError(f"sound of shape {samples.shape} cannot be written: it must be one-dimensional and finite")
    grid = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", int(sample_rate_hz), 1, "PCM_16", format="FLAC") as file:
        file.write(grid)
    return buffer.getvalue()


@dataclass(frozen=True)
class Mix:
    """One channel made of several: (T,) float32, and the energy (sum of squares) before and after.

    `before` is the mean over the channels that were mixed.
    """

    wave: Wave
    before: float
    after: float


def mix(channels: Sequence[Wave], names: Sequence[str] = ()) -> Mix:
    """Channels (T,) float32 of finite samples to one.

    Args:
        names: of the channels, FFmpeg's (`FL`, `FC`, `LFE`, ...). Of more than two the front counts 0.71, the centre 1,
            others 0.5, the low-frequency channel 0; without names all count alike.
    """
    energies = [_energy(channel) for channel in channels]
    if len(channels) == 1:
        return Mix(channels[0], energies[0], energies[0])
    weights = _weights(len(channels), names)
    audible = [place for place, weight in enumerate(weights) if weight and energies[place]]
    loudest = max(audible or range(len(channels)), key=energies.__getitem__)
    mixed = [place for place in audible if energies[place] >= _SILENT * energies[loudest]] or [loudest]
    before = sum(energies[place] for place in mixed) / len(mixed)
    wave = _weighted([channels[place] for place in mixed], [weights[place] or 1.0 for place in mixed])
    after, total = _energy(wave), sum(weights[place] or 1.0 for place in mixed)
    unrelated = sum(((weights[place] or 1.0) / total) ** 2 * energies[place] for place in mixed)
    if after < _CANCELLED * unrelated:
        wave, after = channels[loudest], energies[loudest]
    return Mix(wave, before, after)


def loss_db(mixes: Iterable[Mix]) -> float:
    """By how many dB the mixes are quieter than the mean power of their channels; 0 where nothing was lost.

    Unrelated channels lose 3 dB in pairs, equal ones nothing.
    """
    parts = list(mixes)
    before, after = sum(part.before for part in parts), sum(part.after for part in parts)
    if not (math.isfinite(before) and 0.0 < after < before):
        return 0.0
    return 10.0 * math.log10(before / after)


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


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if not source.is_file():
        reason = "is no file" if source.exists() else "does not exist"
        raise UsageError(f"sound file {source} {reason}: give the path of a WAV or FLAC file")
    return source


def _weights(count: int, names: Sequence[str]) -> list[float]:
    if count <= 2 or len(names) != count:
        return [1.0] * count
    return [_WEIGHTS.get(name, _SURROUND_WEIGHT) for name in names]


def _weighted(channels: Sequence[Wave], weights: Sequence[float]) -> Wave:
    """Their mean by weight, summed in order: a product of matrices would round as the machine's library likes."""
    if len(channels) == 1:
        return channels[0]
    total = np.float32(weights[0]) * channels[0]
    for channel, weight in zip(channels[1:], weights[1:], strict=True):
        total += np.float32(weight) * channel
    total /= np.float32(sum(weights))
    return total


def _energy(samples: Wave) -> float:
    with np.errstate(over="ignore"):
        return float(np.square(samples).sum())
