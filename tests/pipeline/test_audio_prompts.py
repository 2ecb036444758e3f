"""Sounds as prompts: what is heard of them, how it becomes pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from makers_ear import RATE_HZ, WIDTH, make_ear, noise

from clipsonic.ear.tower import Ear
from clipsonic.errors import FingerprintError, UsageError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.prior.bank import EmbedBank
from clipsonic.prior.closers import neighbours


@pytest.fixture
def ear(pipeline: ClipSonicPipeline) -> Ear:
    made = make_ear(pipeline.segment.fingerprint)
    pipeline.set_ear(made)
    return made


def own_words(ear: Ear, wave_T: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ear.embed_sounds(wave_T[None], RATE_HZ).embeds[0])


def test_a_sound_is_seen_as_what_the_ear_says_of_its_first_seconds(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    wave_T = noise(3.0)
    made = pipeline(audio=(wave_T, RATE_HZ), closer="zero-shot", num_inference_steps=1)
    torch.testing.assert_close(made.embeds[0], own_words(ear, wave_T[:RATE_HZ]))  # a segment is shorter than 1 s
    assert made.closer == "zero-shot"
    later = pipeline(audio=(wave_T, RATE_HZ), start_s=1.5, closer="zero-shot", num_inference_steps=1)
    torch.testing.assert_close(later.embeds[0], own_words(ear, wave_T[round(1.5 * RATE_HZ) :][:RATE_HZ]))
    assert np.abs(made.audios - later.audios).max() > 1e-4


def test_a_file_a_pair_two_equal_channels_and_another_level_are_heard_alike(
    pipeline: ClipSonicPipeline, ear: Ear, tmp_path: Path
) -> None:
    wave_T = noise(1.2)
    soundfile.write(tmp_path / "a.wav", wave_T, RATE_HZ, "FLOAT")
    ways = [str(tmp_path / "a.wav"), (np.stack([wave_T, wave_T]), RATE_HZ), (0.01 * wave_T, RATE_HZ)]
    first = pipeline(audio=(wave_T, RATE_HZ), num_inference_steps=1).embeds[0]
    for embeds_SE in pipeline(audio=ways, num_inference_steps=1).embeds:
        torch.testing.assert_close(embeds_SE, first, atol=1e-4, rtol=0.0)


def test_a_sound_at_another_rate_is_resampled(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    times_s = np.arange(3 * RATE_HZ) / (2 * RATE_HZ)
    slow, fast = (np.sin(2 * np.pi * 440 * times) for times in (times_s[::2], times_s))
    low, high = (
        pipeline(audio=(wave.astype(np.float32), rate_hz), closer="zero-shot", num_inference_steps=1).embeds[0]
        for wave, rate_hz in ((slow, RATE_HZ), (fast, 2 * RATE_HZ))
    )
    assert float((low * high).sum()) > 0.99


def test_the_gap_is_closed_by_the_corpus_s_pictures_where_there_are_any(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    wave_T = noise(1.0)
    assert pipeline(audio=(wave_T, RATE_HZ), num_inference_steps=1).closer == "zero-shot"
    rows = torch.nn.functional.normalize(torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
    pipeline.set_bank(EmbedBank(rows, pipeline.segment.fingerprint))
    made = pipeline(audio=(wave_T, RATE_HZ), num_inference_steps=1)
    assert made.closer == "neighbours"
    torch.testing.assert_close(made.embeds[0], neighbours(rows)(own_words(ear, wave_T), ()))


def test_a_long_sound_is_heard_window_by_window_at_their_times(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    wave_T = noise(4.0)
    made = pipeline(audio=(wave_T, RATE_HZ), duration_s=4.0, closer="zero-shot", num_inference_steps=1)
    windows_WE = own_words(ear, wave_T)
    assert len(windows_WE) == 4
    seen_SE = made.embeds[0]
    assert len(seen_SE) > 4  # a row for each of the sound's own, overlapping windows
    nearest = (seen_SE @ windows_WE.T).argmax(dim=1)
    assert float((seen_SE - windows_WE[nearest]).abs().max()) < 1e-5
    assert nearest.tolist() == sorted(nearest.tolist())
    assert set(nearest.tolist()) == {0, 1, 2, 3}


def test_a_batch_gives_what_its_sounds_give_alone(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    sounds = [(noise(1.0 + 0.3 * place, place), RATE_HZ) for place in range(3)]
    drawn = [torch.Generator().manual_seed(place) for place in range(3)]
    together = pipeline(audio=sounds, generator=drawn, num_inference_steps=2).mels
    for place, sound in enumerate(sounds):
        alone = pipeline(audio=sound, generator=torch.Generator().manual_seed(place), num_inference_steps=2).mels
        np.testing.assert_allclose(together[place], alone[0], atol=1e-3)


def test_a_negative_text_has_its_own_closer_beside_a_sound(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    away = {"negative_text": "rain", "guidance_scale": 2.0, "num_inference_steps": 2}
    plain = pipeline(audio=(noise(1.0), RATE_HZ), guidance_scale=2.0, num_inference_steps=2)
    other = pipeline(audio=(noise(1.0), RATE_HZ), **away)
    assert np.abs(plain.audios - other.audios).max() > 1e-4
    torch.testing.assert_close(plain.embeds[0], other.embeds[0])


@pytest.mark.parametrize("closer", ["prior", "mean-shift"])
def test_a_closer_of_texts_is_refused_for_a_sound(pipeline: ClipSonicPipeline, ear: Ear, closer: str) -> None:
    with pytest.raises(UsageError, match=f"closer {closer} is for texts: a sound takes zero-shot or neighbours"):
        pipeline(audio=(noise(1.0), RATE_HZ), closer=closer)


def test_neighbours_without_a_bank_are_refused(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    with pytest.raises(UsageError, match="needs the bank"):
        pipeline(audio=(noise(1.0), RATE_HZ), closer="neighbours")


@pytest.mark.parametrize(
    ("sound", "start_s", "said"),
    [
        ((noise(0.5), RATE_HZ), 0.0, r"has 0\.50 s after 0 s, below the 1 s that an ear needs"),
        ((noise(2.0), RATE_HZ), 1.5, r"has 0\.50 s after 1\.5 s"),
        ((noise(2.0), RATE_HZ), -1.0, "start_s -1.0 must be 0 or more"),
        ((np.zeros(2 * RATE_HZ, np.float32), RATE_HZ), 0.0, "is silent from 0 s on"),
        ((np.full(2 * RATE_HZ, np.nan, np.float32), RATE_HZ), 0.0, "infinite or no numbers"),
        ((noise(2.0), 0), 0.0, "a rate of 0 Hz must be a whole number above 0"),
    ],
)
def test_what_cannot_be_heard_is_refused(
    pipeline: ClipSonicPipeline, ear: Ear, sound: tuple[np.ndarray, int], start_s: float, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        pipeline(audio=sound, start_s=start_s)


def test_without_an_ear_it_is_said_how_to_get_one(pipeline: ClipSonicPipeline) -> None:
    with pytest.raises(UsageError, match=r"has no ear for the CLIP space brightness/1.*clipsonic train --config ear"):
        pipeline(audio=(noise(1.0), RATE_HZ))


def test_an_ear_of_another_space_is_refused(pipeline: ClipSonicPipeline) -> None:
    with pytest.raises(FingerprintError, match=r"the ear is of the space other/1, .* brightness/1"):
        pipeline.set_ear(make_ear("other/1"))


def test_the_ear_lies_in_the_pipeline_s_folder(pipeline: ClipSonicPipeline, ear: Ear, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "P")
    again = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert again.ear is not None
    assert again.ear.fingerprint == ear.fingerprint
    heard = [one(audio=(noise(1.0), RATE_HZ), num_inference_steps=1).embeds[0] for one in (pipeline, again)]
    torch.testing.assert_close(*heard)


def test_a_sound_can_lead_an_edit_of_another(pipeline: ClipSonicPipeline, ear: Ear) -> None:
    rate_hz = pipeline.segment.mel.sample_rate_hz
    given = np.random.default_rng(2).normal(0.0, 0.1, round(0.5 * rate_hz)).astype(np.float32)
    how = {"remake": [(0.1, 0.3)], "num_inference_steps": 2, "guidance_scale": 2.0}
    made = [pipeline.edit(given, rate_hz, audio=(noise(1.0, seed), RATE_HZ), **how) for seed in (0, 1)]
    assert made[0].closer == "zero-shot"
    assert np.abs(made[0].audios - made[1].audios).max() > 0.0
    torch.testing.assert_close(made[0].embeds[0], own_words(ear, noise(1.0)))
