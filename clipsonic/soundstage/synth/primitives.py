"""What all sounds are built from: damped modes, wavetables, shaped noise, grains, slow curves.

Guarantee: every function is a pure function of its arguments (randomness is a generator passed in), vectorised over
samples, and makes nothing above 0.47 of the sample rate. Waves are (T,) float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

Wave = NDArray[np.float32]
TOP_SHARE = 0.47
"""Highest frequency made, as a share of the sample rate."""
_TABLE = 4096
_TAU = 2.0 * np.pi


def as_wave(values: npt.ArrayLike) -> Wave:
    """The values as float32."""
    return np.asarray(values, dtype=np.float32)


def time_axis(seconds: float, sample_rate_hz: int) -> Wave:
    """Sample times in seconds."""
    return np.arange(max(1, round(seconds * sample_rate_hz)), dtype=np.float32) / np.float32(sample_rate_hz)


def modes(
    freqs_hz: Sequence[float], decays_s: Sequence[float], gains: Sequence[float], seconds: float, sample_rate_hz: int
) -> Wave:
    """A struck body: sum over k of gain_k exp(-t / decay_k) sin(2 pi f_k t), its end faded over 10 ms."""
    t = time_axis(seconds, sample_rate_hz)
    keep = [k for k, freq_hz in enumerate(freqs_hz) if freq_hz < TOP_SHARE * sample_rate_hz]
    wave = np.zeros_like(t)
    for k in keep:
        wave += np.float32(gains[k]) * np.exp(t * (-1.0 / decays_s[k])) * np.sin(t * (_TAU * freqs_hz[k]))
    return fade(wave, sample_rate_hz, out_s=0.01)


def fade(wave: Wave, sample_rate_hz: int, *, in_s: float = 0.0, out_s: float = 0.01) -> Wave:
    """The wave with linear ramps at its ends."""
    shaped = wave.astype(np.float32)
    num_in, num_out = (min(len(wave), round(seconds * sample_rate_hz)) for seconds in (in_s, out_s))
    if num_in:
        shaped[:num_in] *= np.linspace(0.0, 1.0, num_in, endpoint=False, dtype=np.float32)
    if num_out:
        shaped[-num_out:] *= np.linspace(1.0, 0.0, num_out, dtype=np.float32)
    return shaped


def attack_decay(t: Wave, attack_s: float, decay_s: float) -> Wave:
    """An envelope that rises linearly in `attack_s`, then decays with time constant `decay_s`."""
    return as_wave(np.minimum(t / attack_s, 1.0) * np.exp(-np.maximum(t - attack_s, 0.0) / decay_s))


def harmonic_tone(cycles: NDArray[np.float64], gains: Sequence[float], top_hz: float, sample_rate_hz: int) -> Wave:
    """A periodic tone whose phase is `cycles`: partial k + 1 has gain k; those above the top of the band are left out.

    Args:
        top_hz: the highest fundamental that occurs, which decides how many partials fit.
    """
    num = min(len(gains), max(1, int(TOP_SHARE * sample_rate_hz / top_hz)))
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : num + 1] = -0.5j * _TABLE * np.asarray(gains[:num])
    table = scipy.fft.irfft(spectrum, _TABLE).astype(np.float32)
    place = (cycles - np.floor(cycles)) * _TABLE
    low = place.astype(np.int32) & (_TABLE - 1)
    high = (low + 1) & (_TABLE - 1)
    return as_wave(table[low] + as_wave(place - np.floor(place)) * (table[high] - table[low]))


def cycles_of(freq_hz: NDArray[np.floating] | float, num_samples: int, sample_rate_hz: int) -> NDArray[np.float64]:
    """The phase, in cycles, of an oscillator of this (varying) frequency; 0 at the first sample."""
    curve = np.broadcast_to(np.asarray(freq_hz, dtype=np.float64), (num_samples,))
    total = np.cumsum(curve) / sample_rate_hz
    return np.asarray(total - total[0], dtype=np.float64)


def shaped_noise(
    rng: np.random.Generator, num_samples: int, sample_rate_hz: int, points: Sequence[tuple[float, float]]
) -> Wave:
    """Gaussian noise of RMS 1 with this spectrum: (hz, db) points joined linearly over log frequency."""
    size = scipy.fft.next_fast_len(max(num_samples, 32), real=True)
    freqs_hz = np.arange(size // 2 + 1) * (sample_rate_hz / size)
    hz, db = zip(*points, strict=True)
    gain = 10.0 ** (np.interp(np.log(np.maximum(freqs_hz, 1.0)), np.log(hz), db) / 20.0)
    gain[freqs_hz > TOP_SHARE * sample_rate_hz] = 0.0
    parts = rng.standard_normal(2 * len(gain), dtype=np.float32).view(np.complex64)
    wave = scipy.fft.irfft(parts * gain.astype(np.float32), size)[:num_samples]
    return as_wave((wave / (np.sqrt(np.mean(wave**2)) + 1e-12)).astype(np.float32))


def band_noise(
    rng: np.random.Generator,
    num_samples: int,
    sample_rate_hz: int,
    low_hz: float,
    high_hz: float,
    slope_db: float = 18.0,
) -> Wave:
    """Noise between two frequencies, RMS 1, falling by `slope_db` per octave on both sides."""
    return shaped_noise(
        rng,
        num_samples,
        sample_rate_hz,
        ((low_hz / 16, -4 * slope_db), (low_hz, 0.0), (high_hz, 0.0), (high_hz * 16, -4 * slope_db)),
    )


def swept_noise(
    rng: np.random.Generator, freq_hz: NDArray[np.floating], bandwidth_hz: float, sample_rate_hz: int
) -> Wave:
    """Narrow noise whose centre follows `freq_hz`: slow complex noise on a swept carrier, RMS about 1."""
    num = len(freq_hz)
    slow = wander(rng, num, sample_rate_hz, bandwidth_hz), wander(rng, num, sample_rate_hz, bandwidth_hz)
    angle = _TAU * cycles_of(freq_hz, num, sample_rate_hz)
    return (slow[0] * np.cos(angle) + slow[1] * np.sin(angle)).astype(np.float32)


def wander(rng: np.random.Generator, num_samples: int, sample_rate_hz: int, per_second: float) -> Wave:
    """A slow random curve: normal values `per_second` times a second, joined by straight lines."""
    step = sample_rate_hz / per_second
    knots = rng.standard_normal(int(num_samples / step) + 2)
    return np.interp(np.arange(num_samples) / step, np.arange(len(knots)), knots).astype(np.float32)


def resonate(wave: Wave, peaks: Sequence[tuple[float, float, float]], sample_rate_hz: int) -> Wave:
    """Parallel resonances (hz, q, gain), such as the formants of a throat or the body of a violin."""
    result = np.zeros_like(wave)
    for freq_hz, q, gain in peaks:
        b, a = scipy.signal.iirpeak(freq_hz, q, fs=sample_rate_hz)
        result += np.float32(gain) * scipy.signal.lfilter(b.astype(np.float32), a.astype(np.float32), wave)
    return result


def random_times(rng: np.random.Generator, density_hz: Wave, sample_rate_hz: int) -> NDArray[np.int64]:
    """Sample positions of a Poisson process with this (varying) density per second."""
    total = np.cumsum(density_hz, dtype=np.float64) / sample_rate_hz
    num = int(rng.poisson(total[-1]))
    return np.asarray(np.searchsorted(total, np.sort(rng.random(num)) * total[-1]), dtype=np.int64)


def grains(
    num_samples: int,
    places: NDArray[np.int64],
    freqs_hz: NDArray[np.floating],
    decays_s: NDArray[np.floating],
    gains: NDArray[np.floating],
    *,
    sample_rate_hz: int,
    seconds: float,
    rise: float = 0.0,
) -> Wave:
    """Many short damped sinusoids at these sample positions, all at once; their pitch rises by `rise` per decay."""
    t = time_axis(seconds, sample_rate_hz)[None, :]
    decay = np.asarray(decays_s, dtype=np.float32)[:, None]
    freq = np.minimum(np.asarray(freqs_hz, dtype=np.float32), TOP_SHARE * sample_rate_hz)[:, None]
    sounds = np.sin(_TAU * freq * t * (1.0 + rise * 0.5 * t / decay)) * np.exp(-t / decay)
    sounds *= np.asarray(gains, dtype=np.float32)[:, None]
    index = (places[:, None] + np.arange(t.shape[1])[None, :]).ravel()
    track = np.bincount(np.minimum(index, num_samples), weights=sounds.ravel(), minlength=num_samples + 1)
    return track[:num_samples].astype(np.float32)
