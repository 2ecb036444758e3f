"""A mono sound dressed like a given one: its channels as unlike as the given ones, its top band as strong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, csd, sosfiltfilt, welch

from clipsonic.audio.likeness import Likeness, filtered, window_length
from clipsonic.audio.splice import mixed
from clipsonic.audio.wave import resample
from clipsonic.seeding import numpy_rng


def noise(length: int, seed: int) -> np.ndarray:
    return 0.1 * numpy_rng(seed, "test.likeness").standard_normal(length)


def likeness(given_CT: np.ndarray, rate_hz: int) -> Likeness:
    return Likeness.of(given_CT, mixed(given_CT), rate_hz)


def correlation(first_T: np.ndarray, second_T: np.ndarray) -> float:
    return float(np.corrcoef(first_T, second_T)[0, 1])


def level_db(wave_T: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    hz_K, power_K = welch(wave_T, rate_hz, nperseg=2048)
    return 10.0 * float(np.log10(power_K[(hz_K > low_hz) & (hz_K < high_hz)].mean()))


@pytest.mark.parametrize(
    ("left", "right", "shared"), [(1.0, 1.0, 1.0), (1.0, 0.4, 1.0), (1.0, 1.0, 0.6), (0.3, 1.0, 0.8), (1.0, 1.0, 0.0)]
)
@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_channels_are_as_loud_and_as_much_alike_as_the_given_ones(
    rate_hz: int, left: float, right: float, shared: float
) -> None:
    middle, beside = noise(4 * rate_hz, 0), noise(4 * rate_hz, 1)
    own = np.sqrt(1.0 - shared**2)
    given_CT = np.stack([left * middle, right * (shared * middle + own * beside)])
    made_T = noise(2 * rate_hz, 2)
    made_T *= np.sqrt(np.mean(mixed(given_CT) ** 2) / np.mean(made_T**2))
    made_CT = likeness(given_CT, rate_hz).spread(made_T)
    for given_T, new_T in zip(given_CT, made_CT, strict=True):
        assert 10.0 * np.log10(np.mean(new_T**2) / np.mean(given_T**2)) == pytest.approx(0.0, abs=0.8)
    assert correlation(*made_CT) == pytest.approx(correlation(*given_CT), abs=0.1)


def test_what_is_on_the_left_below_and_on_the_right_above_stays_there() -> None:
    low = butter(6, 2000.0, "low", fs=16000, output="sos")
    left_T = sosfiltfilt(low, noise(64000, 0))
    right_T = noise(64000, 1)
    right_T = right_T - sosfiltfilt(low, right_T)
    made_CT = likeness(np.stack([left_T, right_T]), 16000).spread(noise(32000, 2))
    for low_hz, high_hz, louder in ((200.0, 1600.0, 0), (2600.0, 7000.0, 1)):
        levels_db = [level_db(wave_T, 16000, low_hz, high_hz) for wave_T in made_CT]
        assert levels_db[louder] - levels_db[1 - louder] > 15.0


def test_equal_channels_give_equal_bits_and_a_silent_one_silence() -> None:
    given_T = noise(16000, 0)
    equal_CT = likeness(np.stack([given_T, given_T]), 16000).spread(noise(8000, 1))
    assert np.array_equal(*equal_CT)
    silent_CT = likeness(np.stack([given_T, np.zeros(16000)]), 16000).spread(noise(8000, 1))
    assert not silent_CT[1].any()
    np.testing.assert_allclose(silent_CT[0], noise(8000, 1), atol=1e-6)  # the mix is float32


def test_the_mean_of_two_channels_is_what_was_spread() -> None:
    given_CT = np.stack([noise(32000, 0), 0.7 * noise(32000, 0) + 0.5 * noise(32000, 1)])
    made_T = noise(16000, 2)
    rest_T = likeness(given_CT, 16000).spread(made_T).mean(axis=0) - made_T
    assert 10.0 * np.log10(np.mean(rest_T**2) / np.mean(made_T**2)) < -50.0


def test_like_silence_or_mono_is_as_it_is() -> None:
    made_T = noise(8000, 1)
    np.testing.assert_allclose(likeness(np.zeros((2, 16000)), 16000).spread(made_T)[1], made_T, atol=1e-12)
    assert np.array_equal(likeness(noise(16000, 0)[None], 16000).spread(made_T), made_T[None])


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000])
def test_the_top_band_is_as_strong_as_the_given_one_and_the_rest_stays(rate_hz: int) -> None:
    """Pink-like noise: a slope of some 12 dB from octave to octave above 4 kHz."""
    given_T = sosfiltfilt(butter(1, 3000.0, "low", fs=rate_hz, output="sos"), noise(4 * rate_hz, 0))
    made_T = resample(resample(given_T, rate_hz, 16000), 16000, rate_hz).astype(np.float64)[: 2 * rate_hz]
    filled_T = likeness(given_T[None], rate_hz).filled(made_T, 16000)
    top_hz = rate_hz / 2
    for low_hz, high_hz in ((100, 6500), (6500, 8000), (8000, 10500), (10500, 14000), (14000, 0.95 * top_hz)):
        if high_hz < top_hz and low_hz < high_hz:
            wanted_db = level_db(given_T, rate_hz, low_hz, high_hz)
            assert level_db(filled_T, rate_hz, low_hz, high_hz) == pytest.approx(wanted_db, abs=1.5)
    below_T = filtered(filled_T - made_T, (np.arange(window_length(rate_hz) // 2 + 1) * rate_hz
                                           / window_length(rate_hz) < 6000.0).astype(float))  # fmt: skip
    assert 10.0 * np.log10(np.mean(below_T**2) / np.mean(made_T**2)) < -40.0


def test_the_top_band_of_a_given_sound_without_one_stays_empty() -> None:
    given_T = sosfiltfilt(butter(10, 6000.0, "low", fs=48000, output="sos"), noise(96000, 0))
    made_T = resample(noise(16000, 1), 16000, 48000).astype(np.float64)
    filled_T = likeness(given_T[None], 48000).filled(made_T, 16000)
    assert level_db(filled_T, 48000, 9000, 22000) < level_db(filled_T, 48000, 1000, 6000) - 50.0


def test_the_top_band_follows_the_made_sound_in_time() -> None:
    made_T = resample(noise(16000, 1) * (np.arange(16000) > 8000), 16000, 48000).astype(np.float64)
    filled_T = likeness(noise(96000, 0)[None], 48000).filled(made_T, 16000)
    assert level_db(filled_T[:22000], 48000, 9000, 22000) < level_db(filled_T[26000:], 48000, 9000, 22000) - 60.0


def test_a_sound_that_was_made_at_a_rate_as_high_needs_no_fill() -> None:
    made_T = noise(8000, 1)
    assert likeness(noise(16000, 0)[None], 16000).filled(made_T, 16000) is made_T


def test_a_filter_of_ones_changes_nothing_and_a_filter_delays_nothing() -> None:
    wave_T = noise(5000, 0)
    ones_K = np.ones(window_length(16000) // 2 + 1)
    np.testing.assert_allclose(filtered(wave_T, ones_K), wave_T, atol=1e-14)
    softened_T = filtered(wave_T, np.linspace(1.0, 0.0, ones_K.size))
    phase_K = np.angle(csd(wave_T, softened_T, nperseg=512)[1][2:200])
    assert np.abs(phase_K).max() < 0.05
