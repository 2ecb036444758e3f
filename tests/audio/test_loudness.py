"""A sound comes out as loud as it was wanted, never over its limit, and silence stays silence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.signal import resample_poly

from clipsonic.audio.loudness import LevelOptions, integrated_lufs, limit, limited, render, true_peak_db
from clipsonic.audio.stereo import pseudo_stereo
from clipsonic.errors import UsageError

RATE_HZ = 16000
PLAIN = LevelOptions(loudness_lufs=None, true_peak_db=None)


def noise(seconds: float = 3.0, level: float = 0.05, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)) * level).astype(np.float32)


def clicks(seconds: float = 3.0) -> np.ndarray:
    """Quiet noise with loud clicks: no limiter makes this loud without harm."""
    wave = noise(seconds, 0.01)
    wave[:: RATE_HZ // 2] = 1.0
    return wave


def peak_by_16(wave: np.ndarray) -> float:
    """True peak by another way of measuring: sixteen times, with scipy's filter."""
    return 20.0 * float(np.log10(np.abs(resample_poly(np.atleast_2d(wave), 16, 1, axis=1)).max()))


def test_a_sine_of_full_scale_at_997_hz_has_minus_3_01_lufs() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(48000 * 2) / 48000)
    assert integrated_lufs(sine, 48000) == pytest.approx(-3.01, abs=0.05)  # ITU-R BS.1770-4, annex 1
    assert integrated_lufs(sine[:9600], 48000) == pytest.approx(-3.01, abs=0.05)  # 0.2 s: by RMS


def test_the_true_peak_of_a_sine_sampled_beside_its_crests_is_that_of_the_sine() -> None:
    sine = np.sin(2 * np.pi * (np.arange(4000) + 0.5) / 4)  # samples at 0.707 of the crest, all of them
    assert 20 * np.log10(np.abs(sine).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_db(sine[1000:3000]) == pytest.approx(0.0, abs=0.3)  # the cut ends ring a little


@pytest.mark.parametrize("target", [-14.0, -23.0, -31.5])
@pytest.mark.parametrize("is_stereo", [False, True])
def test_noise_gets_the_loudness_that_was_asked_for(target: float, is_stereo: bool) -> None:
    made, report = render(noise(), RATE_HZ, LevelOptions(loudness_lufs=target, stereo=is_stereo))
    assert integrated_lufs(made, RATE_HZ) == pytest.approx(target, abs=0.5)
    assert report.lufs == pytest.approx(target, abs=0.5)
    assert report.is_reached
    assert report.note is None


@pytest.mark.parametrize("limit_db", [-1.0, -6.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_true_peak_passes_the_limit(limit_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wave = noise(2.0, 0.2, seed) * np.exp(-np.arange(2 * RATE_HZ) / RATE_HZ * rng.uniform(0, 6)).astype(np.float32)
    made, report = render(wave, RATE_HZ, LevelOptions(loudness_lufs=-10.0, true_peak_db=limit_db))
    assert peak_by_16(made) <= limit_db + 0.15  # eight times finds all but 0.07 dB of what sixteen times finds
    assert true_peak_db(made) <= limit_db
    assert report.true_peak_db <= limit_db


def test_what_would_need_more_than_6_db_of_limiting_is_as_loud_as_that_allows_and_says_so() -> None:
    made, report = render(clicks(), RATE_HZ)
    assert not report.is_reached
    assert report.limited_db == pytest.approx(6.0, abs=0.01)
    assert report.lufs < -14.5
    assert "6 dB of limiting" in str(report.note)
    assert true_peak_db(made) <= -1.0


def test_silence_is_left_silent_and_told() -> None:
    made, report = render(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert not made.any()
    assert report.is_silent
    assert "silent" in str(report.note)
    made, report = render(noise(1.0, 1e-6), RATE_HZ)
    assert report.is_silent
    assert np.abs(made).max() < 1e-5


def test_a_sound_of_a_fifth_of_a_second_is_levelled_by_its_rms() -> None:
    made, report = render(noise(0.2), RATE_HZ, LevelOptions(loudness_lufs=-20.0))
    assert 10 * np.log10(np.mean(made.astype(np.float64) ** 2)) == pytest.approx(-20.0, abs=0.3)
    assert report.lufs == pytest.approx(-20.0, abs=0.3)


def test_off_leaves_the_samples_as_they_are_and_the_given_wave_is_never_changed() -> None:
    wave = clicks()
    before = wave.copy()
    made, _ = render(wave, RATE_HZ, PLAIN)
    np.testing.assert_array_equal(made, before)
    render(wave, RATE_HZ)
    np.testing.assert_array_equal(wave, before)


def test_the_limiter_leaves_alone_what_is_not_too_loud() -> None:
    wave = noise(2.0, 0.02)[None]
    np.testing.assert_array_equal(limit(wave, RATE_HZ, -1.0), wave)
    wave[0, RATE_HZ] = 2.0
    far = np.abs(np.arange(2 * RATE_HZ) - RATE_HZ) > 0.06 * RATE_HZ
    turned = limit(wave, RATE_HZ, -1.0)
    np.testing.assert_allclose(turned[0, far], wave[0, far], atol=1e-7)
    assert true_peak_db(turned) <= -1.0


@pytest.mark.parametrize("size", [100, 777, 20000])
def test_a_stream_is_limited_as_the_whole_is_however_it_is_cut(size: int) -> None:
    wave = np.stack([noise(2.0, 0.5, 1), noise(2.0, 0.5, 2)])
    pieces = limited((wave[:, at : at + size] for at in range(0, wave.shape[1], size)), RATE_HZ, -3.0)
    np.testing.assert_allclose(np.concatenate(list(pieces), axis=1), limit(wave, RATE_HZ, -3.0), atol=1e-6)


def test_left_and_right_add_up_to_the_mono_and_are_not_alike() -> None:
    wave = noise(2.0)
    left, right = pseudo_stereo(wave, RATE_HZ)
    np.testing.assert_allclose(left + right, 2 * wave, atol=1e-7)
    assert 0.4 < np.corrcoef(left, right)[0, 1] < 0.8  # 0.62
    bass = np.sin(2 * np.pi * 20 * np.arange(2 * RATE_HZ) / RATE_HZ)
    left, right = pseudo_stereo(bass, RATE_HZ)
    assert np.corrcoef(left, right)[0, 1] > 0.8  # 0.96: bass stays in the middle


def test_fades_rise_and_fall_and_leave_the_middle() -> None:
    made, _ = render(np.ones(RATE_HZ, np.float32), RATE_HZ, dataclasses.replace(PLAIN, fade_in_s=0.25, fade_out_s=0.5))
    assert made[0] < 1e-3
    assert made[-1] < 1e-3
    assert np.all(np.diff(made[:4000]) > 0)
    assert np.all(np.diff(made[8000:]) < 0)
    np.testing.assert_array_equal(made[4000:8000], 1.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"loudness_lufs": 3.0}, "loudness 3 LUFS must be from -70 to 0"),
        ({"true_peak_db": 1.0}, "true peak 1 dBTP must be from -60 to 0"),
        ({"true_peak_db": None}, "true peak off goes with loudness off only"),
        ({"fade_in_s": -1.0}, "fade in -1 s must be 0 or more"),
        ({"fade_out_s": float("nan")}, "fade out nan s must be 0 or more"),
        ({"loudness_lufs": float("nan")}, "loudness nan LUFS"),
    ],
)
def test_a_level_that_cannot_be_is_refused(values: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LevelOptions(**values)


def test_fades_longer_than_the_sound_are_refused() -> None:
    with pytest.raises(UsageError, match=r"fades of 0\.6 and 0\.6 s are longer than the sound of 1\.00 s"):
        render(noise(1.0), RATE_HZ, LevelOptions(fade_in_s=0.6, fade_out_s=0.6))
