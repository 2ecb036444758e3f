"""A made sound in a given one: outside of the regions nothing moved, at the joins nothing clicks or jumps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from clipsonic.audio.exact import read_exact, write_exact
from clipsonic.audio.loudness import true_peak_db
from clipsonic.audio.splice import FADE_S, mixed, placed
from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng

MADE_HZ = 16000
FORMS = [(".wav", "PCM_16"), (".wav", "PCM_24"), (".wav", "FLOAT"), (".flac", "PCM_16"), (".flac", "PCM_24")]


def noise(rate_hz: int, seconds: float, channels: int = 1, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """(C, T), unlike in its channels."""
    return level * numpy_rng(seed, "test.splice").standard_normal((channels, round(seconds * rate_hz)))


def hum(rate_hz: int, seconds: float, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """(1, T), not at 0 where it ends."""
    return level * np.sin(2.0 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)[None]


def power_db(wave: np.ndarray) -> float:
    return 10.0 * float(np.log10(np.mean(wave**2)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
@pytest.mark.parametrize(("suffix", "depth"), FORMS)
def test_from_file_to_file_all_outside_of_the_regions_is_the_given_sound_bit_for_bit(
    tmp_path: Path, suffix: str, depth: str, rate_hz: int, channels: int
) -> None:
    soundfile.write(tmp_path / f"a{suffix}", noise(rate_hz, 1.5, channels).T, rate_hz, depth)
    sound = read_exact(tmp_path / f"a{suffix}")
    made_T = noise(MADE_HZ, 2.25, seed=1)[0]
    new_CT = placed(
        sound.wave_CT, rate_hz, made_T, MADE_HZ, [(0.3, 0.5), (0.9, 1.1)], before_s=0.5, extend_s=0.25
    )  # fmt: skip
    write_exact(tmp_path / f"b{suffix}", new_CT, rate_hz, sound.depth)
    kind = "int32" if depth != "FLOAT" else "float32"
    before, after = (
        soundfile.read(tmp_path / f"{name}{suffix}", dtype=kind, always_2d=True)[0] for name in "ab"
    )  # fmt: skip
    first = round(0.5 * rate_hz)
    assert len(after) == first + len(before) + round(0.25 * rate_hz)
    is_kept = np.ones(len(before), bool)
    for start, stop in ((0.3, 0.5), (0.9, 1.1)):
        is_kept[round(start * rate_hz) : round(stop * rate_hz)] = False
    inside = after[first : first + len(before)]
    assert np.array_equal(inside[is_kept], before[is_kept])
    assert np.abs(inside[~is_kept] - before[~is_kept]).min(axis=1).max() > 0
    assert soundfile.info(tmp_path / f"b{suffix}").subtype == depth


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([8000, 11025, 16000, 22050]),
    st.lists(st.tuples(st.floats(0.0, 0.9), st.floats(0.001, 0.6)), max_size=4),
    st.floats(0.0, 0.2),
    st.floats(0.0, 0.2),
)
def test_whatever_the_regions_are_the_rest_is_given_and_all_is_finite(
    rate_hz: int, regions: list[tuple[float, float]], before_s: float, extend_s: float
) -> None:
    given_CT = noise(rate_hz, 1.0, 2)
    regions = [(start, min(1.0, start + length)) for start, length in regions]
    made_T = noise(MADE_HZ, 1.0 + before_s + extend_s, seed=1)[0]
    new_CT = placed(given_CT, rate_hz, made_T, MADE_HZ, regions, before_s=before_s, extend_s=extend_s)
    first = round(before_s * rate_hz)
    assert new_CT.shape == (2, first + rate_hz + round(extend_s * rate_hz))
    assert np.isfinite(new_CT).all()
    is_kept = np.ones(rate_hz, bool)
    for start, stop in regions:
        is_kept[round(start * rate_hz) : round(stop * rate_hz)] = False
    assert np.array_equal(new_CT[:, first : first + rate_hz][:, is_kept], given_CT[:, is_kept])


def test_without_a_region_it_is_the_given_sound() -> None:
    given_CT = noise(44100, 0.5, 2)
    assert np.array_equal(placed(given_CT, 44100, noise(MADE_HZ, 0.5)[0], MADE_HZ), given_CT)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
@pytest.mark.parametrize(
    "edit", [{"regions_s": [(0.503, 0.997)]}, {"extend_s": 0.5}, {"before_s": 0.5}, {"regions_s": [(1.003, 1.5)]}]
)
def test_no_join_clicks(rate_hz: int, edit: dict) -> None:
    """Hums that meet out of phase: above 3 kHz the splice has no more than a crossfade of hums has."""
    given_CT = hum(rate_hz, 1.5)
    made_T = hum(MADE_HZ, 2.0, hz=313.0)[0]
    joined_CT = placed(given_CT, rate_hz, made_T, MADE_HZ, **edit)
    high_T = sosfiltfilt(butter(6, 3000.0, "high", fs=rate_hz, output="sos"), joined_CT[0])
    inner_T = high_T[round(0.05 * rate_hz) : -round(0.05 * rate_hz)]
    assert np.abs(inner_T).max() < 1e-3  # 2.3e-4 at most was measured

    cut_CT = placed(given_CT, rate_hz, made_T, MADE_HZ, **edit, fade_s=0.0)
    cut_T = sosfiltfilt(butter(6, 3000.0, "high", fs=rate_hz, output="sos"), cut_CT[0])
    assert np.abs(cut_T[round(0.05 * rate_hz) : -round(0.05 * rate_hz)]).max() > 0.01  # without fades: 0.02 to 0.18


def test_beyond_its_end_a_sound_goes_on_under_the_fade() -> None:
    given_CT = hum(16000, 1.0, hz=455.3)
    joined_CT = placed(given_CT, 16000, np.zeros(32000), 16000, extend_s=1.0)
    wanted_CT = hum(16000, 2.0, hz=455.3)
    fade = round(FADE_S * 16000)
    fading_T = np.cos(0.5 * np.pi * (np.arange(fade) + 0.5) / fade)
    np.testing.assert_allclose(
        joined_CT[0, 16000 : 16000 + fade], wanted_CT[0, 16000 : 16000 + fade] * fading_T, atol=0.05
    )  # fmt: skip  # of 0.3: prediction dies away
    assert not joined_CT[0, 16000 + fade :].any()


@pytest.mark.parametrize("off_db", [-4.0, 4.0])
@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_a_copy_that_is_too_loud_or_too_quiet_is_brought_to_the_given_level(rate_hz: int, off_db: float) -> None:
    given_CT = noise(rate_hz, 3.0, level=0.05)
    made_T = resample(given_CT[0], rate_hz, MADE_HZ) * 10.0 ** (off_db / 20.0)
    new_CT = placed(given_CT, rate_hz, made_T, MADE_HZ, [(1.0, 2.0)])
    made = slice(round(1.05 * rate_hz), round(1.95 * rate_hz))
    assert power_db(new_CT[:, made]) == pytest.approx(power_db(given_CT[:, made]), abs=0.6)


def test_between_two_joins_the_level_goes_from_one_to_the_other() -> None:
    given_CT, made_T = noise(16000, 3.0, level=0.05), noise(16000, 3.0, level=0.05)[0]
    made_T = made_T * np.where(np.arange(48000) < 24000, 2.0, 0.5)
    new_CT = placed(given_CT, 16000, made_T, 16000, [(0.5, 2.5)])
    for at_s, step_db in ((0.6, 0.0), (2.4, 0.0), (1.4, 4.8), (1.6, -4.8)):  # halved and doubled at the joins
        part = slice(round((at_s - 0.05) * 16000), round((at_s + 0.05) * 16000))
        assert power_db(new_CT[:, part]) - power_db(given_CT[:, part]) == pytest.approx(step_db, abs=0.8)


def test_silence_around_a_region_leaves_the_made_level_alone() -> None:
    made_T = noise(16000, 1.0, seed=2)[0]
    new_CT = placed(np.zeros((1, 16000)), 16000, made_T, 16000, [(0.25, 0.75)])
    np.testing.assert_allclose(new_CT[0, 5000:11000], made_T[5000:11000], atol=1e-6)  # float32 in the limiter


def test_what_is_made_too_loud_is_limited_and_what_was_given_is_not() -> None:
    given_CT = noise(44100, 1.0, 2, level=0.02)
    new_CT = placed(given_CT, 44100, 10.0 * noise(MADE_HZ, 2.0)[0], MADE_HZ, extend_s=1.0)
    made_CT = new_CT[:, 44100 + 882 :]
    assert -3.0 < true_peak_db(made_CT) <= -0.95
    assert np.array_equal(new_CT[:, :44100], given_CT)


def test_a_region_shorter_than_two_fades_still_lies_within_itself() -> None:
    given_CT = noise(16000, 1.0)
    new_CT = placed(given_CT, 16000, noise(16000, 1.0, seed=1)[0], 16000, [(0.5, 0.501)])
    assert np.flatnonzero((new_CT != given_CT).any(axis=0)).tolist() == list(range(8000, 8016))


def test_the_mix_that_a_model_hears_is_that_of_every_other_part() -> None:
    given_CT = np.stack([hum(8000, 0.1)[0], np.zeros(800)])
    np.testing.assert_allclose(mixed(given_CT), given_CT[0], atol=1e-7)  # a silent channel takes nothing away


@pytest.mark.parametrize("region_s", [(-0.1, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.2), (1.0, 1.1), (0.5, 0.50001)])
def test_a_region_outside_of_the_sound_is_refused(region_s: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=r"region .* must lie inside of the sound, which lasts from 0 to 1\.000 s"):
        placed(noise(16000, 1.0), 16000, np.zeros(16000), 16000, [region_s])
