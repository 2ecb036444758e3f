"""Many channels become one without losing what was heard, and ordinary stereo stays its mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from clipsonic.audio.wave import loss_db, mix, read_audio, rms_db
from clipsonic.seeding import numpy_rng

FIVE_ONE = ["FL", "FR", "FC", "LFE", "BL", "BR"]
LENGTH = 48000


def noise(seed: int, level_db: float = -20.0) -> np.ndarray:
    wave = numpy_rng(seed, "test.mono").standard_normal(LENGTH)
    return (wave / wave.std() * 10 ** (level_db / 20)).astype(np.float32)


def correlated(with_: np.ndarray, by: float, seed: int = 9) -> np.ndarray:
    return (by * with_ + np.sqrt(1 - by**2) * noise(seed)).astype(np.float32)


@pytest.mark.parametrize("by", [1.0, 0.5, 0.0, -0.4])
@pytest.mark.parametrize("quieter_db", [0.0, 10.0, 25.0])
def test_ordinary_stereo_is_exactly_the_mean_of_its_channels(by: float, quieter_db: float) -> None:
    left = noise(1)
    right = np.float32(10 ** (-quieter_db / 20)) * correlated(left, by)
    assert np.array_equal(mix([left, right]).wave, np.float32(0.5) * (left + right))


@pytest.mark.parametrize(("by", "expected_db"), [(1.0, 0.0), (0.0, 3.0), (-0.4, 5.2)])
def test_what_a_mean_loses_is_told(by: float, expected_db: float) -> None:
    left = noise(1)
    assert loss_db([mix([left, correlated(left, by)])]) == pytest.approx(expected_db, abs=0.1)


@pytest.mark.parametrize("by", [-1.0, -0.95, -0.7])
def test_channels_that_cancel_give_the_loudest_of_them(by: float) -> None:
    left = noise(1)
    for channels in ([1.1 * left, correlated(left, by)], [correlated(left, by), 1.1 * left]):
        mixed = mix([channel.astype(np.float32) for channel in channels])
        assert np.array_equal(mixed.wave, (1.1 * left).astype(np.float32))
        assert loss_db([mixed]) == 0.0


@pytest.mark.parametrize("level_db", [-200.0, -60.0])
def test_a_channel_that_is_silent_beside_the_other_does_not_make_it_quieter(level_db: float) -> None:
    left, right = noise(1), noise(2, level_db)
    assert np.array_equal(mix([left, right]).wave, left)
    assert np.array_equal(mix([right, left]).wave, left)
    assert loss_db([mix([left, right])]) == 0.0


@pytest.mark.parametrize(
    ("sounding", "expected_db"),
    [(["FC"], -20.0), (["FL"], -20.0), (["BL"], -20.0), (["LFE"], -20.0), (["BL", "BR"], -23.0), (["FL", "FR"], -23.0)],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_many_channels_of_which_few_sound_keep_their_level(sounding: list[str], expected_db: float) -> None:
    """Of two unrelated ones 3 dB are lost, as in stereo."""
    channels = [
        noise(place) if name in sounding else np.zeros(LENGTH, np.float32) for place, name in enumerate(FIVE_ONE)
    ]
    assert rms_db(mix(channels, FIVE_ONE).wave) == pytest.approx(expected_db, abs=0.1)


def test_the_front_that_cancels_in_five_channels_is_heard() -> None:
    left, silent = noise(1), np.zeros(LENGTH, np.float32)
    assert np.array_equal(mix([left, -left, silent, silent, silent, silent], FIVE_ONE).wave, left)


def test_of_five_channels_that_all_sound_the_centre_counts_most_and_full_scale_stays_full_scale() -> None:
    counts = {}
    for name in FIVE_ONE:
        channels = [np.full(4, 1.0 if other == name else 0.9, np.float32) for other in FIVE_ONE]
        counts[name] = float(mix(channels, FIVE_ONE).wave[0]) - 0.9
    assert counts["FC"] > counts["FL"] == counts["FR"] > counts["BL"] == counts["BR"] > counts["LFE"]
    assert sum(counts.values()) == pytest.approx(0.1, abs=1e-6)


def test_silence_mixes_to_silence_and_has_lost_nothing() -> None:
    silent = np.zeros(10, np.float32)
    for count in (1, 2, 6):
        mixed = mix([silent] * count)
        assert not mixed.wave.any()
        assert loss_db([mixed]) == 0.0
    assert loss_db([]) == 0.0


def test_a_sound_file_whose_channels_cancel_is_heard(tmp_path: Path) -> None:
    left = np.rint(noise(1) * 32768.0) / 32768.0
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), 16000, subtype="PCM_16")
    wave, rate_hz = read_audio(tmp_path / "a.wav")
    assert rate_hz == 16000
    assert rms_db(wave) == pytest.approx(-20.0, abs=0.1)
