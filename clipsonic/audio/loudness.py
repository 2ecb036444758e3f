"""The level of a sound: its loudness brought to a target, its true peaks held below a limit, its ends faded.

Guarantee: the loudness is within 0.5 LU of the target unless that would take more than MAX_LIMITED_DB of limiting,
when the sound is made as loud as this allows and the report says so; the true peak is never above the limit; silence is
left silent; the same sound gives the same samples. Price: about 30 ms per second of sound.

True peaks are what a sound's samples reach between them. A limited sound stays under the ceiling at eight times its
rate (ITU-R BS.1770-4 asks for four); its gain moves smoothly, over 50 ms, and is 1 wherever nothing within 50 ms is too
loud; all channels share it. A stream gives what the whole gives, however it is cut.

Loudness is that of ITU-R BS.1770-4 (by pyloudnorm); a sound shorter than its measuring block of 0.4 s has none, and is
levelled by its root mean square.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clipsonic.audio.stereo import pseudo_stereo
from clipsonic.errors import UsageError

Samples = npt.NDArray[np.float32]

OVERSAMPLING = 8
QUIETEST_DB = -120.0
_MARGIN_DB = 0.05  # for the gain's own movement between samples, and for 16 bits
_SMOOTHING_S = 0.025  # half of the window
_FILTER_REACH = 12  # samples that the interpolating filter looks to each side, and the neighbours taken
_BLOCK_S = 10.0
QUIETEST_LUFS = -70.0
MAX_LIMITED_DB = 6.0
BLOCK_S = 0.4
_NEAR_LU = 0.2
_MAX_ROUNDS = 8


@dataclass(frozen=True)
class LevelOptions:
    """What to do to a sound's level.

    Args:
        loudness_lufs: the loudness wanted, -70 to 0 LUFS; None leaves the level.
        true_peak_db: no true peak above this, -60 to 0 dBTP; None, possible without a loudness only, leaves the peaks.
        fade_in_s, fade_out_s: seconds, raised cosine.
        stereo: make decorrelated left and right of mono.

    Raises:
        UsageError: a value out of its range.
    """

    loudness_lufs: float | None = -14.0
    true_peak_db: float | None = -1.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0
    stereo: bool = False

    def __post_init__(self) -> None:
        if self.loudness_lufs is not None and not QUIETEST_LUFS <= self.loudness_lufs <= 0.0:
            raise UsageError(f"loudness {self.loudness_lufs:g} LUFS must be from -70 to 0: -14 and -23 are usual")
        if self.true_peak_db is not None and not -60.0 <= self.true_peak_db <= 0.0:
            raise UsageError(f"true peak {self.true_peak_db:g} dBTP must be from -60 to 0: -1 is usual")
        if self.true_peak_db is None and self.loudness_lufs is not None:
            raise UsageError("true peak off goes with loudness off only, since a louder sound could clip: give a limit")
        for name, value in (("fade in", self.fade_in_s), ("fade out", self.fade_out_s)):
            if not (math.isfinite(value) and value >= 0.0):
                raise UsageError(f"{name} {value:g} s must be 0 or more, in seconds")


@dataclass(frozen=True)
class LevelReport:
    """What became of a sound's level.

    Args:
        lufs: loudness of the result, at least -70.
        true_peak_db: of the result, in dBTP.
        gain_db: how much louder the sound was made, before limiting.
        limited_db: how far the highest peak was turned down.
        is_silent: nothing was heard, so nothing was done.
        is_reached: whether the loudness is the one wanted (or none was).
    """

    lufs: float
    true_peak_db: float
    gain_db: float = 0.0
    limited_db: float = 0.0
    is_silent: bool = False
    is_reached: bool = True

    @property
    def note(self) -> str | None:
        """One sentence where the sound is not as loud as it was wanted."""
        if self.is_silent:
            return "the sound is silent, and was left so"
        if self.is_reached:
            return None
        return (
            f"the loudness is {self.lufs:.1f} LUFS: more would take above {MAX_LIMITED_DB:g} dB of limiting "
            "(give a lower --loudness, or leave it)"
        )

    def facts(self) -> dict[str, Any]:
        """The numbers, for machines."""
        return {
            "loudness_lufs": round(self.lufs, 2),
            "true_peak_db": round(self.true_peak_db, 2),
            "gain_db": round(self.gain_db, 2),
            "limited_db": round(self.limited_db, 2),
            "is_silent": self.is_silent,
            "is_loudness_reached": self.is_reached,
        }


def render(
    wave: npt.ArrayLike, sample_rate_hz: int, options: LevelOptions | None = None
) -> tuple[Samples, LevelReport]:
    """A sound as it is to be written.

    Args:
        wave: (T,) float32 mono; nothing is changed in place.

    Returns:
        (T,), or (2, T) for stereo, and what became of its level.

    Raises:
        UsageError: fades longer than the sound.
    """
    options = options or LevelOptions()
    shaped_CT = shaped(np.asarray(wave, np.float32), sample_rate_hz, options)
    levelled_CT, report = _levelled(shaped_CT, sample_rate_hz, options)
    return (levelled_CT if options.stereo else levelled_CT[0]), report


def integrated_lufs(wave: npt.ArrayLike, sample_rate_hz: int) -> float:
    """Loudness in LUFS of (T,) or (C, T), at least -70; of less than 0.4 s the root mean square over its own length."""
    samples_CT = np.atleast_2d(np.asarray(wave, np.float64))
    if samples_CT.shape[1] <= BLOCK_S * sample_rate_hz:
        power = float((samples_CT**2).mean(axis=1).sum()) if samples_CT.size else 0.0
        return max(QUIETEST_LUFS, 10.0 * math.log10(power)) if power > 0.0 else QUIETEST_LUFS
    from pyloudnorm import Meter  # takes a second: it imports scipy.signal

    with np.errstate(divide="ignore"):
        return max(QUIETEST_LUFS, float(Meter(sample_rate_hz).integrated_loudness(samples_CT.T)))


def shaped(wave_T: Samples, sample_rate_hz: int, options: LevelOptions) -> Samples:
    """(T,) to (C, T): faded, and in two channels if asked for.

    Raises:
        UsageError: fades longer than the sound.
    """
    fade_in, fade_out = (round(s * sample_rate_hz) for s in (options.fade_in_s, options.fade_out_s))
    if fade_in + fade_out > len(wave_T):
        raise UsageError(
            f"fades of {options.fade_in_s:g} and {options.fade_out_s:g} s are longer than the sound of "
            f"{len(wave_T) / sample_rate_hz:.2f} s: give shorter ones"
        )
    if fade_in or fade_out:
        gain_T = np.ones(len(wave_T), np.float32)
        gain_T[:fade_in] = _rise(fade_in)
        gain_T[len(wave_T) - fade_out :] = _rise(fade_out)[::-1]
        wave_T = wave_T * gain_T
    return pseudo_stereo(wave_T, sample_rate_hz) if options.stereo else wave_T[None]


def _levelled(wave_CT: Samples, sample_rate_hz: int, options: LevelOptions) -> tuple[Samples, LevelReport]:
    lufs, peak_db = integrated_lufs(wave_CT, sample_rate_hz), true_peak_db(wave_CT)
    if lufs <= QUIETEST_LUFS:
        return wave_CT, LevelReport(lufs, peak_db, is_silent=True)
    target, ceiling_db = options.loudness_lufs, options.true_peak_db
    if ceiling_db is None:
        return wave_CT, LevelReport(lufs, peak_db)
    most_db = ceiling_db + MAX_LIMITED_DB - peak_db
    gain_db = 0.0 if target is None else min(target - lufs, most_db)
    for _ in range(_MAX_ROUNDS):
        made_CT = limit(np.asarray(wave_CT * 10.0 ** (gain_db / 20.0), np.float32), sample_rate_hz, ceiling_db)
        got = integrated_lufs(made_CT, sample_rate_hz)
        if target is None or abs(target - got) <= _NEAR_LU or (got < target and gain_db >= most_db):
            break
        gain_db = min(gain_db + target - got, most_db)  # the limiter took away what is added again
    reached = target is None or abs(target - got) <= 0.5
    limited_db = max(0.0, peak_db + gain_db - ceiling_db)
    return made_CT, LevelReport(got, true_peak_db(made_CT), gain_db, limited_db, is_reached=reached)


def _rise(length: int) -> Samples:
    """From 0 to 1, raised cosine."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)


def true_peak_db(wave: npt.ArrayLike) -> float:
    """The largest magnitude of (T,) or (C, T), eight times oversampled, in dB of full scale (dBTP), at least -120."""
    samples = np.atleast_2d(np.asarray(wave, np.float32))
    block = round(_BLOCK_S * 48000)
    pieces = (
        samples[:, max(0, at - _FILTER_REACH) : at + block + _FILTER_REACH] for at in range(0, samples.shape[1], block)
    )
    highest = max((float(np.abs(_oversampled(piece)).max()) for piece in pieces), default=0.0)
    return max(QUIETEST_DB, 20.0 * float(np.log10(highest))) if highest > 0.0 else QUIETEST_DB


def limit(wave: Samples, sample_rate_hz: int, ceiling_db: float) -> Samples:
    """(C, T) with its true peaks at or below `ceiling_db`."""
    if not wave.shape[1]:
        return wave
    block = round(_BLOCK_S * sample_rate_hz)
    blocks = (wave[:, at : at + block] for at in range(0, wave.shape[1], block))
    return np.concatenate(list(limited(blocks, sample_rate_hz, ceiling_db)), axis=1)


def limited(chunks: Iterable[Samples], sample_rate_hz: int, ceiling_db: float) -> Iterator[Samples]:
    """The chunks (C, n) of a stream, limited; they come out cut otherwise, with the same sum of lengths."""
    half = round(_SMOOTHING_S * sample_rate_hz)
    reach = 2 * half + _FILTER_REACH
    ceiling = 10.0 ** ((ceiling_db - _MARGIN_DB) / 20.0)
    held: Samples | None = None
    for chunk in chunks:
        held = np.concatenate([np.zeros((len(chunk), reach), np.float32) if held is None else held, chunk], axis=1)
        if held.shape[1] > 2 * reach:
            yield _turned_down(held, ceiling, half)[:, reach:-reach]
            held = held[:, -2 * reach :]
    if held is not None:
        held = np.concatenate([held, np.zeros((len(held), reach), np.float32)], axis=1)
        yield _turned_down(held, ceiling, half)[:, reach:-reach]


def _turned_down(wave_CT: Samples, ceiling: float, half: int) -> Samples:
    """Every sample times the smoothed gain that its surroundings need; what lies within `reach` of an end is not exact.

    The least gain of a window, averaged over the same window, is nowhere above the gain that is needed.
    """
    needed_T = ceiling / np.maximum(_highest_near(wave_CT), ceiling)
    if needed_T.min() >= 1.0:
        return wave_CT
    from scipy.ndimage import minimum_filter1d
    from scipy.signal import oaconvolve

    window = np.hanning(2 * half + 3)[1:-1]
    least_T = np.pad(minimum_filter1d(needed_T, 2 * half + 1, mode="nearest"), half, mode="edge")
    gain_T = np.minimum(oaconvolve(least_T, window / window.sum(), mode="valid"), 1.0)
    return np.asarray(wave_CT * gain_T, np.float32)


def _highest_near(wave_CT: Samples) -> npt.NDArray[np.float64]:
    """For every sample the largest magnitude between its two neighbours, over all channels: (T,)."""
    highest = np.abs(_oversampled(wave_CT)).max(axis=0).reshape(-1, OVERSAMPLING)
    after_T = highest.max(axis=1).astype(np.float64)  # from each sample to just before the next one
    return np.maximum(after_T, np.concatenate([[0.0], after_T[:-1]]))


def _oversampled(wave_CT: Samples) -> Samples:
    """(C, 8 T): the band-limited sound between its samples."""
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(wave_CT, OVERSAMPLING, 1, axis=1), np.float32)
