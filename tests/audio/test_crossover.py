"""Cells of a spectrogram made anew: the others are the given sound, the made ones are the made one's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from scipy.signal import welch

from clipsonic.audio.crossover import crossed
from clipsonic.audio.mel import LogMel
from clipsonic.seeding import numpy_rng
from clipsonic.specs import MelSpec, mel_band_edges_hz

SPEC = MelSpec(n_fft=1024, hop_length=256, num_mels=64)
CENTRES_HZ = np.array(mel_band_edges_hz(SPEC)[1:-1])


def noise(rate_hz: int, seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.1 * numpy_rng(seed, "test.crossover").standard_normal((channels, round(seconds * rate_hz)))


def mask(seconds: float) -> np.ndarray:
    """(M, F), nothing made."""
    return np.zeros((64, SPEC.num_mel_frames(round(seconds * 16000))), bool)


def levels_db(wave_T: np.ndarray, rate_hz: int, *edges_hz: float) -> list[float]:
    hz_K, power_K = welch(wave_T, rate_hz, nperseg=4096)
    return [
        10.0 * float(np.log10(power_K[(hz_K > low) & (hz_K < high)].mean() + 1e-30)) for low, high in pairwise(edges_hz)
    ]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_nothing_made_is_the_given_sound_bit_for_bit(rate_hz: int) -> None:
    given_CT = noise(rate_hz, 1.0, 2)
    assert np.array_equal(crossed(given_CT, rate_hz, noise(16000, 1.0)[0], 16000, mask(1.0), SPEC), given_CT)


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_windows_of_which_nothing_is_made_are_the_given_ones_bit_for_bit(rate_hz: int) -> None:
    made_MF = mask(2.0)
    made_MF[20:30, 60:70] = True  # 0.96 to 1.12 s
    given_CT = noise(rate_hz, 2.0, 2)
    new_CT = crossed(given_CT, rate_hz, noise(16000, 2.0, seed=1)[0], 16000, made_MF, SPEC)
    changed = np.flatnonzero((new_CT != given_CT).any(axis=0)) / rate_hz
    assert 0.96 - 0.09 < changed.min() < 0.96 < 1.12 < changed.max() < 1.12 + 0.09  # a window and a column


@pytest.mark.parametrize("made_cells", [np.s_[30:], np.s_[:, 40:80], np.s_[20:40, 40:80]])
def test_cells_three_away_from_made_ones_stay_as_they_were(made_cells: tuple[slice, ...]) -> None:
    made_MF = mask(2.0)
    made_MF[made_cells] = True
    given_CT = noise(16000, 2.0)
    new_CT = crossed(given_CT, 16000, noise(16000, 2.0, seed=1)[0], 16000, made_MF, SPEC)
    before_MF, after_MF = (
        SPEC.db(LogMel(SPEC)(torch.from_numpy(wave_CT))[0].numpy()) for wave_CT in (given_CT, new_CT)
    )
    far_MF = ~binary_dilation(made_MF, np.ones((3, 3)), iterations=3)
    moved_db = np.abs(after_MF - before_MF)
    assert moved_db[:, 2:-2][far_MF[:, 2:-2]].max() < 0.1  # 0.01 was measured of noise, 0.7 of birds against noise
    assert moved_db[far_MF].mean() < 0.01
    assert moved_db[made_MF].mean() > 1.0


def test_above_a_frequency_the_made_sound_is_heard_and_below_it_the_given_one() -> None:
    made_MF = mask(2.0)
    made_MF[CENTRES_HZ > 2400.0] = True
    times_T = np.arange(32000) / 16000
    given_CT = 0.1 * (np.sin(2 * np.pi * 800.0 * times_T) + np.sin(2 * np.pi * 5000.0 * times_T))[None]
    made_T = 0.1 * (np.sin(2 * np.pi * 800.0 * times_T + 1.0) + np.sin(2 * np.pi * 6000.0 * times_T))
    new_T = crossed(given_CT, 16000, made_T, 16000, made_MF, SPEC)[0]
    wanted_T = 0.1 * (np.sin(2 * np.pi * 800.0 * times_T) + np.sin(2 * np.pi * 6000.0 * times_T))
    np.testing.assert_allclose(new_T[2000:-2000], wanted_T[2000:-2000], atol=2e-3)  # leakage of the window: 5e-4


@pytest.mark.parametrize("fill", [True, False])
def test_above_the_mel_range_it_goes_with_the_highest_band(fill: bool) -> None:
    made_MF = mask(2.0)
    made_MF[CENTRES_HZ > 2400.0] = True
    given_CT = noise(48000, 2.0)
    new_CT = crossed(given_CT, 48000, noise(16000, 2.0, seed=1)[0] * 3**-0.5, 16000, made_MF, SPEC, fill=fill)
    given_db, new_db = (
        levels_db(wave_CT[0], 48000, 0.0, 2000.0, 7000.0, 9000.0, 23000.0) for wave_CT in (given_CT, new_CT)
    )
    np.testing.assert_allclose(new_db[:2], given_db[:2], atol=1.0)
    if fill:
        assert new_db[3] == pytest.approx(given_db[3], abs=1.5)
    else:
        assert new_db[3] < given_db[3] - 60.0


def test_all_made_is_the_made_sound() -> None:
    made_T = noise(16000, 2.0, seed=1)[0]
    new_T = crossed(noise(16000, 2.0), 16000, made_T, 16000, ~mask(2.0), SPEC)[0]
    np.testing.assert_allclose(new_T, made_T, atol=1e-7)  # the resampler's float32


@pytest.mark.parametrize("off_db", [-4.0, 4.0])
def test_the_made_sound_is_brought_to_the_level_that_the_known_cells_have(off_db: float) -> None:
    made_MF = mask(2.0)
    made_MF[:, 40:80] = True
    given_CT = noise(16000, 2.0)
    new_T = crossed(given_CT, 16000, given_CT[0] * 10.0 ** (off_db / 20.0), 16000, made_MF, SPEC)[0]
    made = slice(44 * 256, 76 * 256)
    assert 20.0 * np.log10(new_T[made].std() / given_CT[0][made].std()) == pytest.approx(0.0, abs=0.1)


def test_a_long_sound_is_crossed_in_groups_of_windows_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made_MF = numpy_rng(0, "test.crossover").random((64, 125)) > 0.5
    given_CT, made_T = noise(16000, 2.0, 2), noise(16000, 2.0, seed=1)[0]
    whole_CT = crossed(given_CT, 16000, made_T, 16000, made_MF, SPEC)
    monkeypatch.setattr("clipsonic.audio.crossover._WINDOWS_AT_ONCE", 7)
    np.testing.assert_allclose(crossed(given_CT, 16000, made_T, 16000, made_MF, SPEC), whole_CT, atol=1e-14)
