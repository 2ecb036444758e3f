"""A mono sound dressed like a given one: its top band, which a lower rate cannot make, and its channels.

Guarantee: where the given sound has equal channels the made one has, too, bit for bit; a silent channel stays silent;
below the top band the mono mix of what comes out is what went in; nothing is drawn at random. Price: a few convolutions
with some 40 ms of filter. Not exact: spectrum and spread are means over the given sound, its directions are levels
(no delays between channels), and the top band is the made sound's own upper octave moved up, its harmonics displaced.

The top band is spectral band replication (M. Dietz et al., "Spectral band replication, a novel approach in audio
coding", AES 112, 2002), the envelope being that of the given sound; the spread is parametric (J. Breebaart et al.,
"Parametric coding of stereo audio", 2005): what of each channel goes along with the mix, and what stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clipsonic.audio.stereo import pseudo_stereo

Wave = npt.NDArray[np.float64]

_WINDOW_S = 0.04
_SMOOTHING = 9  # bins over which spectra are averaged: about 200 Hz
_FLOOR = 1e-4  # of the mean power: below it a band is taken to be like the whole
_LONGEST_S = 60.0  # of the given sound that is looked at
_TOP, _EDGE = 0.88, 0.03  # of the lower Nyquist rate: where the top band begins, within what the resampler passes
_MOST_GAIN = 2.0  # that a moved octave may get
_NOTHING = 1e-3  # of the mix's amplitude
_LEAST_POWER = 1e-20


@dataclass(frozen=True)
class Likeness:
    """What a given sound is like, over K frequencies from 0 to half of its rate.

    Args:
        rate_hz: its rate.
        power_K: mean power of its mono mix.
        along_CK: amplitude of each channel that goes along with the mix, relative to it; below 0 against it.
        beside_CK: amplitude of each channel that does not; its sign tells channels that are against each other.
    """

    rate_hz: int
    power_K: Wave
    along_CK: Wave
    beside_CK: Wave

    @classmethod
    def of(cls, given_CT: Wave, mix_T: Wave, rate_hz: int) -> Self:
        """Of a sound (C, T) and the mono that was made of it."""
        first = max(0, (mix_T.size - round(_LONGEST_S * rate_hz)) // 2)
        looked_at = slice(first, mix_T.size - first)
        given_CT, mix_T = given_CT[:, looked_at], mix_T[looked_at]
        power = partial(_cross_power, count=window_length(rate_hz))
        power_K = power(mix_T, mix_T)
        if not power_K.any():
            return cls(
                rate_hz, power_K, np.ones((len(given_CT), power_K.size)), np.zeros((len(given_CT), power_K.size))
            )
        along_CK = np.stack([_lifted(power(wave_T, mix_T)) for wave_T in given_CT]) / _lifted(power_K)
        own_CK = np.stack([_lifted(power(wave_T, wave_T)) for wave_T in given_CT]) / _lifted(power_K)
        rest_CK = np.sqrt(np.maximum(own_CK - along_CK**2, 0.0))
        rest_CT = given_CT - along_CK.mean(axis=1, keepdims=True) * mix_T
        sides_C = np.where(rest_CT @ rest_CT[0] < 0.0, -1.0, 1.0)
        return cls(rate_hz, power_K, along_CK, sides_C[:, None] * np.where(rest_CK < _NOTHING, 0.0, rest_CK))

    def dressed(self, mono_T: Wave, made_rate_hz: int, fill: bool = True) -> Wave:
        """A sound (T,), already at this rate but made at another one, as (C, T): `filled`, unless not, and `spread`."""
        return self.spread(self.filled(mono_T, made_rate_hz) if fill else mono_T)

    def filled(self, mono_T: Wave, made_rate_hz: int) -> Wave:
        """A sound (T,), already at this rate but made at a lower one, with what lies above that one's band."""
        if made_rate_hz >= self.rate_hz:
            return mono_T
        count = self.power_K.size
        bins_per_hz = 2 * (count - 1) / self.rate_hz
        width = round(_TOP * made_rate_hz / 4 * bins_per_hz)  # half of what lies below the top: an octave
        edge = _EDGE * made_rate_hz / 2 * bins_per_hz
        filled_T = filtered(mono_T, _band(count, -edge, 2 * width, edge))
        for shift in range(width, count - width, width):
            octave_K = _band(count, width, min(2 * width, count - 1 - shift), edge)
            moved_T = (_analytic(mono_T, octave_K) * _turn(shift, 2 * (count - 1), mono_T.size)).real
            gain_K = np.sqrt(self.power_K[shift:] / np.maximum(self.power_K[:-shift], _LEAST_POWER))
            filled_T += filtered(moved_T, np.pad(np.minimum(gain_K, _MOST_GAIN), (shift, 0)))
        return filled_T

    def spread(self, mono_T: Wave) -> Wave:
        """(T,) to (C, T)."""
        if len(self.along_CK) == 1:
            return mono_T[None]
        spread_CT = np.stack([filtered(mono_T, along_K) for along_K in self.along_CK])
        if not self.beside_CK.any():
            return spread_CT
        side_T = pseudo_stereo(mono_T, self.rate_hz)[0] - mono_T
        power = float(np.mean(side_T**2))
        side_T *= np.sqrt(np.mean(mono_T**2) / power) if power > 0.0 else 0.0
        return spread_CT + np.stack([filtered(side_T, beside_K) for beside_K in self.beside_CK])


def window_length(rate_hz: int) -> int:
    """Samples of the windows and filters, a power of two of about 40 ms."""
    return int(2 ** round(np.log2(_WINDOW_S * rate_hz)))


def filtered(wave_T: Wave, gain_K: Wave) -> Wave:
    """(T,) with each frequency times its gain, without delay; silence is assumed beyond the ends."""
    return _convolved(wave_T, np.fft.irfft(gain_K))


def _analytic(wave_T: Wave, gain_K: Wave) -> npt.NDArray[np.complex128]:
    """The same, twice the frequencies above 0 alone, so that the real part is what `filtered` gives."""
    gains = np.concatenate([2.0 * gain_K, np.zeros(gain_K.size - 2)])
    return _convolved(wave_T, np.fft.ifft(gains))


def _convolved(wave_T: Wave, taps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from scipy.signal import oaconvolve

    half = taps.size // 2
    window = np.hanning(taps.size + 1)[:-1]  # 1 in the middle, so that a gain of 1 everywhere changes nothing
    whole = oaconvolve(wave_T, np.roll(taps, half) * window)
    return whole[half : half + wave_T.size]


def _turn(shift: int, count: int, length: int) -> npt.NDArray[np.complex128]:
    """What moves a sound of this length up by `shift` of `count` frequencies around the circle."""
    return np.exp(2j * np.pi / count * (shift * np.arange(length) % count))


def _band(count: int, low: float, high: float, edge: float) -> Wave:
    """Of `count` frequencies from `low` to `high`, (K,): edges 2 `edge` wide, at half of the power in the middle."""

    def above_K(at: float) -> Wave:
        return np.clip((np.arange(count) - at) / (2.0 * edge) + 0.5, 0.0, 1.0)

    return np.sin(0.5 * np.pi * above_K(low)) * np.cos(0.5 * np.pi * above_K(high))


def _cross_power(first_T: Wave, second_T: Wave, count: int) -> Wave:
    """Real part of the mean cross spectrum (K,), smoothed; windows of `count` samples."""
    from scipy.signal import csd

    short = max(0, count - first_T.size)
    pair = (np.pad(wave_T, (0, short)) for wave_T in (first_T, second_T))
    cross_K = csd(*pair, nperseg=count, detrend=False, scaling="spectrum")[1].real
    return np.convolve(np.pad(cross_K, _SMOOTHING // 2, mode="edge"), np.full(_SMOOTHING, 1.0 / _SMOOTHING), "valid")


def _lifted(power_K: Wave) -> Wave:
    """Powers with a little of their mean added, so that where there is next to nothing it is as elsewhere."""
    return power_K + _FLOOR * power_K.mean()
