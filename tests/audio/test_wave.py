"""Sound files and measures: exact round trips, whole files, plain refusals."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clipsonic.audio import wave as audio
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.seeding import numpy_rng

RATE = 16000
GRID = 1 / 32768


def noise(length=4000, seed=0, level=0.1):
    return (numpy_rng(seed, "test.wave").standard_normal(length) * level).astype(np.float32)


def tone(hz, rate, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_a_written_sound_comes_back_within_half_a_16_bit_step(tmp_path):
    path = tmp_path / "sound.flac"
    path.write_bytes(audio.encode_flac(noise(), RATE))
    back, rate = audio.read_audio(path)
    assert rate == RATE
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, noise(), atol=GRID / 2)  # rounding to the nearest step
    assert soundfile.info(path).subtype == "PCM_16"


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int16, st.integers(1, 3000)))
def test_sound_on_the_16_bit_grid_survives_flac_exactly(samples):
    exact = samples.astype(np.float32) / 32768
    back, rate = soundfile.read(io.BytesIO(audio.encode_flac(exact, 22050)), dtype="float32")
    assert rate == 22050
    assert np.array_equal(back, exact)


def test_equal_sound_gives_equal_bytes():
    assert audio.encode_flac(noise(), RATE) == audio.encode_flac(noise(), RATE)


def test_what_is_too_loud_is_clipped_not_wrapped(tmp_path):
    (tmp_path / "x.flac").write_bytes(audio.encode_flac(np.array([2.0, -2.0, 1.0, -1.0]), RATE))
    back, _ = audio.read_audio(tmp_path / "x.flac")
    assert np.array_equal(back, np.array([1 - GRID, -1.0, 1 - GRID, -1.0], dtype=np.float32))


def test_several_channels_are_averaged(tmp_path):
    left, right = noise(seed=1), noise(seed=2)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    back, _ = audio.read_audio(tmp_path / "x.wav")
    np.testing.assert_allclose(back, (left + right) / 2, atol=1e-7)  # one float32 addition


@pytest.mark.parametrize("wave", [np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((2, 4))])
def test_what_is_not_a_finite_mono_sound_is_refused(wave):
    with pytest.raises(UsageError, match="one-dimensional and finite"):
        audio.encode_flac(wave, RATE)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"no\.wav"):
        audio.read_audio(tmp_path / "no.wav")
    (tmp_path / "bad.wav").write_bytes(b"not a sound")
    with pytest.raises(ClipsonicError, match=r"bad\.wav"):
        audio.read_audio(tmp_path / "bad.wav")


def test_resampling_keeps_1_khz_and_suppresses_9_khz():
    kept = audio.resample(tone(1000, 44100), 44100, 16000)
    gone = audio.resample(tone(9000, 44100), 44100, 16000)
    middle = slice(2000, -2000)  # away from the abrupt ends
    assert abs(audio.rms_db(kept[middle]) - audio.rms_db(tone(1000, 16000)[middle])) < 0.01
    assert audio.rms_db(gone[middle]) < -100.0  # soxr HQ promises 120 dB of 20 bits; 16-bit files need 96


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 22050), (48000, 16000), (8000, 16000)])
def test_resampling_keeps_the_length_in_seconds(rates):
    length = len(audio.resample(np.zeros(rates[0] * 2), *rates))
    assert abs(length - rates[1] * 2) <= 1


def test_equal_rates_pass_unchanged():
    assert np.array_equal(audio.resample(noise(), RATE, RATE), noise())


def test_levels_of_known_sounds():
    assert audio.rms_db(np.ones(100)) == 0.0
    assert audio.rms_db(tone(100, RATE)) == pytest.approx(20 * np.log10(0.5) - 10 * np.log10(2), abs=1e-4)
    assert audio.rms_db(np.zeros(100)) == audio.rms_db(np.zeros(0)) == -120.0
    assert audio.peak(np.array([0.25, -0.75])) == 0.75
    assert audio.peak(np.zeros(0)) == 0.0


def test_silence_share_counts_windows():
    half = np.concatenate([np.zeros(RATE), noise(RATE)])
    assert audio.silence_share(half, RATE) == 0.5
    assert audio.silence_share(np.zeros(10), RATE) == audio.silence_share(np.zeros(0), RATE) == 1.0
    assert audio.silence_share(noise(RATE + 7), RATE) == 0.0
    assert audio.silence_share(half, RATE, threshold_db=0.0) == 1.0


def test_clipped_share_counts_samples_at_full_scale():
    assert audio.clipped_share(np.array([1.0, -1.0, 0.5, 0.0])) == 0.5
    assert audio.clipped_share(np.zeros(0)) == 0.0
