"""The building blocks of synthesis against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.synth.primitives import (
    band_noise,
    cycles_of,
    grains,
    harmonic_tone,
    modes,
    random_times,
    shaped_noise,
    swept_noise,
)

RATE_HZ = 16000


def test_a_wavetable_tone_is_the_sum_of_its_partials() -> None:
    cycles = cycles_of(440.0, 8000, RATE_HZ)
    tone = harmonic_tone(cycles, (1.0, 0.5, 0.25), 440.0, RATE_HZ)
    direct = sum(gain * np.sin(2.0 * np.pi * (k + 1) * cycles) for k, gain in enumerate((1.0, 0.5, 0.25)))
    np.testing.assert_allclose(tone, direct, atol=2e-5)  # linear interpolation in 4096 points: 3e-6 measured


def test_partials_above_the_band_are_left_out() -> None:
    cycles = cycles_of(3000.0, 8000, RATE_HZ)
    tone = harmonic_tone(cycles, (1.0, 1.0, 1.0, 1.0), 3000.0, RATE_HZ)
    np.testing.assert_allclose(tone, np.sin(2 * np.pi * cycles) + np.sin(4 * np.pi * cycles), atol=1e-4)


def test_a_mode_decays_by_e_in_its_time_constant() -> None:
    wave = modes((1000.0,), (0.1,), (1.0,), 0.4, RATE_HZ)
    first, later = (np.max(np.abs(wave[start : start + 160])) for start in (0, 1600))
    assert first / later == pytest.approx(np.e, rel=0.01)


def test_one_grain_is_one_mode() -> None:
    track = grains(
        4000,
        np.array([100]),
        np.array([900.0]),
        np.array([0.01]),
        np.array([0.7]),
        sample_rate_hz=RATE_HZ,
        seconds=0.05,
    )
    alone = modes((900.0,), (0.01,), (0.7,), 0.05, RATE_HZ)
    np.testing.assert_allclose(track[100 : 100 + 600], alone[:600], atol=1e-5)  # float32 angles
    assert not track[:100].any()
    assert not track[100 + 800 :].any()


def test_grains_at_the_end_are_cut_there_and_nowhere_else() -> None:
    track = grains(
        500, np.array([480]), np.array([900.0]), np.array([0.01]), np.array([1.0]), sample_rate_hz=RATE_HZ, seconds=0.05
    )
    assert track.shape == (500,)
    assert not track[:480].any()


def test_noise_has_unit_rms_and_lies_in_its_band() -> None:
    noise = band_noise(numpy_rng(0, "test"), 64000, RATE_HZ, 1000.0, 2000.0, 60.0)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0, abs=1e-3)
    freqs_hz, power = scipy.signal.welch(noise, RATE_HZ)
    inside = power[(freqs_hz > 900.0) & (freqs_hz < 2200.0)].sum()
    assert inside / power.sum() > 0.98


def test_swept_noise_follows_its_curve() -> None:
    curve_hz = np.linspace(500.0, 3000.0, 64000)
    noise = swept_noise(numpy_rng(0, "test"), curve_hz, 40.0, RATE_HZ)
    freqs_hz, times_s, picture = scipy.signal.stft(noise, RATE_HZ, nperseg=1024)
    track_hz = freqs_hz[np.argmax(np.abs(picture), axis=0)][3:-3]
    np.testing.assert_allclose(track_hz, np.interp(times_s[3:-3] * RATE_HZ, np.arange(64000), curve_hz), atol=120.0)


def test_random_times_have_the_density_they_were_given() -> None:
    density_hz = np.where(np.arange(160000) < 80000, 100.0, 0.0).astype(np.float32)
    places = random_times(numpy_rng(0, "test"), density_hz, RATE_HZ)
    assert abs(len(places) - 500) < 4 * np.sqrt(500)  # four standard deviations of a Poisson count
    assert places.max() < 80000
    assert np.all(np.diff(places) >= 0)


def test_shaped_noise_is_the_same_for_the_same_generator_seed() -> None:
    first, again = (shaped_noise(numpy_rng(3, "test"), 777, RATE_HZ, ((100.0, 0.0), (4000.0, -20.0))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
