"""What is written holds the level, whatever the codec did to it, and says how it was made."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.signal import resample_poly

from clipsonic import __version__
from clipsonic.audio.formats import decode_sound, read_tags
from clipsonic.audio.loudness import LevelOptions, LevelReport, integrated_lufs
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.generate.write import SUFFIXES, Made, sound_bytes, tags_for, until_level_holds, write_sound
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.soundstage.kinds import KINDS

RATE_HZ = 16000


def peak_by_4(wave: np.ndarray) -> float:
    """True peak in dBTP as ITU-R BS.1770-4 asks for."""
    return 20.0 * float(np.log10(np.abs(resample_poly(wave, 4, 1, axis=1)).max()))


def bursts(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Noise that decays twice, as loud as a codec finds hard."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (rng.standard_normal(len(time_s)) * np.exp(-3.0 * (time_s % 1.0))).astype(np.float32) * 0.2


@pytest.mark.parametrize("is_stereo", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_heard_of_a_file_has_the_loudness_and_no_peak_over_the_limit(suffix: str, is_stereo: bool) -> None:
    options = LevelOptions(stereo=is_stereo)
    data, report = sound_bytes(suffix, bursts(1), RATE_HZ, options)
    heard, rate_hz = decode_sound(data)
    assert peak_by_4(heard) <= -1.0
    assert integrated_lufs(heard, rate_hz) == pytest.approx(-14.0, abs=0.5)
    assert report.lufs == pytest.approx(integrated_lufs(heard, rate_hz), abs=0.05)
    assert report.true_peak_db == pytest.approx(peak_by_4(heard), abs=0.1)


def test_a_codec_that_pushes_peaks_is_met_with_a_lower_level_until_it_holds() -> None:
    tried = []

    def pushing(level: LevelOptions) -> Made:
        tried.append(level.true_peak_db)
        report = LevelReport(-14.0, float(level.true_peak_db or 0.0))
        return Made("file", report, report.true_peak_db + 1.5, -13.0)

    _, report = until_level_holds(pushing, LevelOptions())
    assert tried[0] == -1.0
    assert report.true_peak_db <= -1.0
    assert len(tried) > 1


def test_a_codec_that_never_holds_the_limit_is_given_up_with_a_sentence() -> None:
    def hopeless(level: LevelOptions) -> Made:
        return Made("file", LevelReport(-14.0, -1.0), 3.0, -14.0)

    with pytest.raises(ClipsonicError, match="true peak of -1 dBTP cannot be held in this format"):
        until_level_holds(hopeless, LevelOptions())


def test_silence_is_written_as_silence(tmp_path) -> None:
    for suffix in SUFFIXES:
        report = write_sound(tmp_path / f"a{suffix}", np.zeros(RATE_HZ, np.float32), RATE_HZ, LevelOptions())
        assert report.is_silent
        assert np.abs(decode_sound((tmp_path / f"a{suffix}").read_bytes())[0]).max() < 1e-4


def test_a_file_names_its_maker_model_prompt_and_seed_and_that_it_is_ai_generated(tmp_path) -> None:
    for suffix in SUFFIXES:
        write_sound(tmp_path / f"a{suffix}", bursts(1, 0.5), RATE_HZ, LevelOptions(), tags_for("tiny", "a bell, é", 4))
        assert read_tags(tmp_path / f"a{suffix}") == {
            "software": f"clipsonic {__version__}",
            "title": "a bell, é",
            "comment": "AI-generated sound",
            "model": "tiny",
            "prompt": "a bell, é",
            "seed": "4",
        }


def test_a_sound_that_cannot_be_written_leaves_nothing(tmp_path) -> None:
    with pytest.raises(UsageError, match="finite"):
        write_sound(tmp_path / "a.wav", np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, LevelOptions(None, None))
    with pytest.raises(UsageError, match="fades"):
        write_sound(tmp_path / "a.wav", bursts(1), RATE_HZ, LevelOptions(fade_in_s=9.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_of_forty_sounds_of_the_bundled_model_none_is_silent_or_over_the_limit() -> None:
    tiny = ClipSonicPipeline.from_pretrained("tiny")
    tiny.set_progress_bar_config(disable=True)
    texts = [f"a {kind.nouns[0]} {kind.verb}" for kind in KINDS.values()][:20]
    sounds = np.concatenate([tiny(text=texts[at : at + 10], num_sounds=2, seed=at).audios for at in (0, 10)])
    assert len(sounds) == 40
    for index, wave in enumerate(sounds):
        suffix = SUFFIXES[index % len(SUFFIXES)]
        data, report = sound_bytes(suffix, wave, RATE_HZ, dataclasses.replace(LevelOptions(), stereo=index % 2 == 1))
        heard, rate_hz = decode_sound(data)
        assert peak_by_4(heard) <= -1.0, (suffix, index)
        lufs = integrated_lufs(heard, rate_hz)
        assert not report.is_silent, index
        assert lufs > -40.0, index
        assert abs(lufs + 14.0) <= 0.5 or (lufs < -14.0 and not report.is_reached), (suffix, index)
