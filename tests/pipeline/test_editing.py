"""Edits of a sound as a user of the pipeline sees them: what stays, what is made, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchHeunDiscreteScheduler
from PIL import Image

from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline import given as given_parts
from clipsonic.pipeline.given import Edit, Sound, log_mel_of, work_of
from clipsonic.seeding import numpy_rng, torch_generator
from clipsonic.specs import MelSpec

WIDTH, RATE_HZ, SEGMENT_S = 16, 16000, 0.512
PROMPT = {"embeds": np.eye(WIDTH)[0]}


@pytest.fixture(autouse=True)
def quick(pipeline: ClipSonicPipeline) -> None:
    """The quickest Griffin-Lim: what it sounds like is not looked at."""
    pipeline.vocoder = GriffinLim(pipeline.segment.mel, num_iterations=1)


def sound(seconds: float = SEGMENT_S, rate_hz: int = RATE_HZ, channels: int = 1) -> np.ndarray:
    """Noise with a tone that comes and goes, on the grid of 16 bits, (C, T)."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = numpy_rng(0, "sound").normal(size=(channels, len(time))) * 0.05
    wave = noise + 0.2 * np.sin(2 * np.pi * 440 * time) * np.sin(2 * np.pi * 3 * time)
    return np.rint(wave * 32768) / 32768


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_outside_of_regions_the_given_samples_come_back_bit_for_bit(
    pipeline: ClipSonicPipeline, rate_hz: int, channels: int
) -> None:
    given = sound(0.6, rate_hz, channels)
    regions = [(0.1, 0.2), (0.4, 0.45)]
    edited = pipeline.edit(given, rate_hz, **PROMPT, remake=regions)
    assert edited.audios.shape == (1, *given.shape)
    assert edited.audios.dtype == np.float64
    assert edited.sample_rate_hz == rate_hz
    inside = np.zeros(given.shape[1], bool)
    for start_s, end_s in regions:
        inside[round(start_s * rate_hz) : round(end_s * rate_hz)] = True
    assert np.array_equal(edited.audios[0][:, ~inside], given[:, ~inside])
    assert (edited.audios[0][:, inside] != given[:, inside]).mean() > 0.9
    assert 0.0 < edited.kept < 1.0


@pytest.mark.parametrize(("before_s", "extend_s"), [(0.0, 0.3), (0.25, 0.0), (0.2, 2.0)])
def test_a_sound_grows_by_as_much_as_asked_and_stands_in_it_untouched(
    pipeline: ClipSonicPipeline, before_s: float, extend_s: float
) -> None:
    given = sound(0.7, 44100, 2)
    edited = pipeline.edit(given, 44100, **PROMPT, before_s=before_s, extend_s=extend_s)
    before, after = round(before_s * 44100), round(extend_s * 44100)
    assert edited.audios.shape == (1, 2, before + given.shape[1] + after)
    assert edited.seconds == edited.audios.shape[2] / 44100
    assert np.array_equal(edited.audios[0][:, before : before + given.shape[1]], given)
    for made in (edited.audios[0][:, :before], edited.audios[0][:, before + given.shape[1] :]):
        assert not made.size or np.abs(made).max() > 1e-4


def test_where_everything_is_kept_the_sound_is_the_given_one(pipeline: ClipSonicPipeline) -> None:
    given = sound(0.6, 48000, 2)
    edited = pipeline.edit(given, 48000, **PROMPT, mask=np.zeros((20, 30), bool), num_sounds=2)
    assert np.array_equal(edited.audios, np.stack([given, given]))
    assert edited.kept == 1.0
    assert "given one" in edited.notes[0]


@pytest.mark.parametrize("edit", [{"strength": 1.0}, {"remake": [(0.0, SEGMENT_S)]}])
@pytest.mark.parametrize("prompt", [PROMPT, {"text": "rain", "closer": "zero-shot"}])
def test_where_nothing_is_kept_it_is_a_generation_of_the_model(
    pipeline: ClipSonicPipeline, edit: dict[str, Any], prompt: dict[str, Any]
) -> None:
    edited = pipeline.edit(sound(), RATE_HZ, **prompt, **edit, seed=3, num_sounds=2)
    made = pipeline(**prompt, seed=3, num_sounds=2)
    np.testing.assert_allclose(edited.mels, made.mels, atol=1e-4)  # 1e-5 measured
    assert edited.kept == 0.0
    assert edited.closer == made.closer


def test_a_batch_gives_what_its_items_give_alone(pipeline: ClipSonicPipeline) -> None:
    edit: dict[str, Any] = {"remake": [(0.1, 0.3)], **PROMPT}
    generators = [torch_generator(seed, "item") for seed in (1, 2)]
    together = pipeline.edit(sound(), RATE_HZ, **edit, num_sounds=2, generator=generators)
    for item, seed in enumerate((1, 2)):
        alone = pipeline.edit(sound(), RATE_HZ, **edit, generator=torch_generator(seed, "item"))
        np.testing.assert_allclose(together.mels[item], alone.mels[0], atol=1e-4)
    assert np.abs(together.mels[0] - together.mels[1]).max() > 0.1


def test_one_seed_is_one_sound_and_another_one_another(pipeline: ClipSonicPipeline) -> None:
    first, again, other = (
        pipeline.edit(sound(), RATE_HZ, **PROMPT, remake=[(0.1, 0.3)], seed=seed).audios for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_was_in_a_region_has_no_say_in_what_is_made_there_nor_in_its_level(pipeline: ClipSonicPipeline) -> None:
    given = sound()
    coughed = given.copy()
    coughed[:, 3000:4000] = 0.9 * np.sign(coughed[:, 3000:4000])
    region = [(3000 / RATE_HZ, 4000 / RATE_HZ)]
    plain, cleaned = (pipeline.edit(wave, RATE_HZ, **PROMPT, remake=region) for wave in (given, coughed))
    assert np.array_equal(plain.mels, cleaned.mels)
    assert plain.gain_db == cleaned.gain_db


def test_known_cells_of_a_mask_and_of_bands_are_the_given_ones(pipeline: ClipSonicPipeline) -> None:
    log_mel, given = LogMel(pipeline.segment.mel), sound()
    drawn = np.zeros((32, 32), bool)
    drawn[5:12, 8:20] = True
    for edit in ({"mask": drawn}, {"above_hz": 2000.0}, {"below_hz": 300.0}, {"mask": drawn, "strength": 0.5}):
        edited = pipeline.edit(given, RATE_HZ, **PROMPT, **edit)
        gained = torch.from_numpy(given * 10 ** (edited.gain_db / 20)).float()
        kept = ~edited.made
        np.testing.assert_allclose(edited.mels[0][kept], log_mel(gained)[0].numpy()[kept], atol=1e-4)
        assert edited.audios.shape == (1, *given.shape)
        if edit.get("mask") is not None:
            assert np.array_equal(edited.made, drawn)


def test_a_drawn_mask_covers_the_given_sound_from_its_begin_to_its_end_the_top_is_high(
    pipeline: ClipSonicPipeline,
) -> None:
    grey = np.zeros((100, 200), np.uint8)
    grey[:25, 100:] = 255
    rgb = np.stack([grey] * 3, axis=2)
    rgb[60:, :, 0] = 255  # red is not white
    rgba = np.dstack([np.maximum(rgb, 250), grey])  # white, seen where it is painted
    expected = np.zeros((32, 32), bool)
    expected[24:, 16:] = True
    for picture in (grey, rgb, rgba, Image.fromarray(grey)):
        edited = pipeline.edit(sound(), RATE_HZ, **PROMPT, mask=picture, num_inference_steps=1)
        assert np.array_equal(edited.made, expected)


def test_the_less_the_strength_the_nearer_a_variation_stays(pipeline: ClipSonicPipeline) -> None:
    given = sound()
    mel = LogMel(pipeline.segment.mel)(torch.from_numpy(given).float())[0].numpy()
    away = []
    for strength in (0.01, 0.1, 0.4, 0.9):
        edited = pipeline.edit(given, RATE_HZ, strength=strength)
        away.append(np.abs(edited.mels[0] - edited.gain_db * np.log(10) / 20 - mel).mean())
    assert away == sorted(away)
    assert away[0] < 0.1 * away[-1]


def test_from_a_prompt_to_itself_the_source_comes_back_exactly(pipeline: ClipSonicPipeline) -> None:
    given = sound(0.6, 44100, 2)
    same = pipeline.edit(given, 44100, text="rain", from_text="rain", strength=0.8, closer="zero-shot")
    assert np.array_equal(same.audios[0], given)
    other = pipeline.edit(given, 44100, text="a dog", from_text="rain", strength=0.8, closer="zero-shot")
    assert not np.array_equal(other.audios[0], given)


def windows_asked(pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """The conditions of every call of the network, as they come."""
    asked: list[Condition] = []
    forward = pipeline.denoiser.forward

    def watched(x: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        asked.append(condition)
        return forward(x, timestep, condition)

    monkeypatch.setattr(pipeline.denoiser, "forward", watched)
    return asked


def test_a_short_region_of_a_long_sound_costs_one_window_which_has_it_in_its_middle(
    pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = windows_asked(pipeline, monkeypatch)
    given = sound(20.0)
    edited = pipeline.edit(given, RATE_HZ, **PROMPT, remake=[(10.0, 10.05)])
    assert [len(condition) for condition in asked] == [1, 1]  # of three levels the last has too little noise
    assert edited.start_s < 10.0 - 0.2
    assert edited.start_s + SEGMENT_S > 10.05 + 0.2
    alone = given[:, round(edited.start_s * RATE_HZ) :][:, : round(SEGMENT_S * RATE_HZ)]
    by_itself = pipeline.edit(alone, RATE_HZ, **PROMPT, remake=[(10.0 - edited.start_s, 10.05 - edited.start_s)])
    inside = edited.made[0]
    assert np.array_equal(by_itself.made[0], inside)
    assert np.array_equal(edited.audios[0][:, : 10 * RATE_HZ], given[:, : 10 * RATE_HZ])


def test_windows_that_hold_nothing_to_make_are_not_asked(
    pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = windows_asked(pipeline, monkeypatch)
    pipeline.edit(sound(20.0), RATE_HZ, **PROMPT, remake=[(1.0, 1.1), (19.0, 19.1)], num_inference_steps=1)
    assert 2 <= sum(len(condition) for condition in asked) <= 8  # of 78


def test_a_window_sees_the_frames_of_its_own_seconds(
    pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = windows_asked(pipeline, monkeypatch)
    embeds = np.eye(WIDTH)[:8]
    times_s = [0.1 + index for index in range(8)]
    edited = pipeline.edit(
        sound(8.0), RATE_HZ, embeds=embeds[None], frame_times_s=times_s, remake=[(5.0, 5.2)], num_inference_steps=1
    )
    assert asked[0].tokens[0].argmax(-1).tolist() == [5]
    assert float(asked[0].times_s[0, 0]) == pytest.approx(5.1 - edited.start_s, abs=1e-5)


@pytest.mark.parametrize("padding", ["same", "center"])
def test_the_mel_of_a_long_sound_is_the_same_in_pieces(padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log_mel = LogMel(MelSpec(n_fft=512, num_mels=32, padding=padding))
    wave = sound(3.0)[0].astype(np.float32)
    whole = log_mel(torch.from_numpy(wave)[None])[0]
    monkeypatch.setattr(given_parts, "_PIECE", 50)
    torch.testing.assert_close(log_mel_of(log_mel, wave, whole.shape[1]), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("edit", "are_made"),
    [
        (Edit(remake=[(0.2, 0.3)]), (False, False)),
        (Edit(extend_s=0.1), (False, True)),
        (Edit(before_s=0.1), (True, False)),
    ],
)
def test_the_ends_of_a_sound_are_known_unless_it_goes_on(
    pipeline: ClipSonicPipeline, edit: Edit, are_made: tuple[bool, bool]
) -> None:
    log_mel = LogMel(pipeline.segment.mel)
    given = sound(1.024 - edit.before_s - edit.extend_s)  # whole columns in all
    heard = Sound.of(given, RATE_HZ, edit, log_mel, *pipeline.mel_statistics)
    work = work_of(edit, heard, log_mel, pipeline.segment)
    assert work is not None
    made_F = work.made_MF.all(0)
    beyond = work.first > 0, work.first + len(made_F) < 64
    assert [bool(made_F[0]) and not beyond[0], bool(made_F[-1]) and not beyond[1]] == list(are_made)


def test_a_quiet_sound_is_brought_to_the_models_level_and_back(pipeline: ClipSonicPipeline) -> None:
    loud = sound()
    quiet = loud / 1000.0
    edits = [pipeline.edit(wave, RATE_HZ, **PROMPT, above_hz=2000.0) for wave in (loud, quiet)]
    assert edits[1].gain_db > edits[0].gain_db + 50.0
    ratio = np.sqrt((edits[0].audios ** 2).mean() / (edits[1].audios ** 2).mean())
    assert 20.0 * np.log10(ratio) == pytest.approx(60.0, abs=1.0)


@pytest.mark.parametrize("pull", [0.0, 3.0])
@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
def test_every_kind_of_denoiser_can_edit(pipeline: ClipSonicPipeline, name: str, pull: float) -> None:
    pipeline.denoiser.register_to_config(prediction_type=name)
    other = ClipSonicPipeline(
        pipeline.denoiser, make_scheduler(name), pipeline.segment, [-4.0] * 32, [2.0] * 32, num_inference_steps=3
    )
    other.set_progress_bar_config(disable=True)
    other.vocoder = pipeline.vocoder
    given = sound()
    edited = other.edit(given, RATE_HZ, **PROMPT, remake=[(0.2, 0.3)], pull=pull)
    assert np.isfinite(edited.audios).all()
    assert np.array_equal(edited.audios[0][:, : RATE_HZ // 5], given[:, : RATE_HZ // 5])


def test_a_scheduler_of_higher_order_is_refused_in_a_sentence(pipeline: ClipSonicPipeline) -> None:
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    with pytest.raises(UsageError, match="higher order"):
        pipeline.edit(sound(), RATE_HZ, **PROMPT, remake=[(0.1, 0.2)])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "nothing is to be made"),
    "a region outside": ({"remake": [(0.3, 0.6)]}, "inside of the sound"),
    "a region that falls": ({"remake": [(0.3, 0.2)]}, "inside of the sound"),
    "a region and a band": ({"remake": [(0.1, 0.2)], "above_hz": 2000.0}, "together"),
    "a mask and a band": ({"mask": np.ones((4, 4), bool), "above_hz": 2000.0}, "together"),
    "a band outside": ({"above_hz": 9000.0}, "nothing of the model's bands"),
    "all bands": ({"above_hz": 400.0, "below_hz": 4000.0}, "all of the model's bands"),
    "strength beyond the sound": ({"extend_s": 0.2, "strength": 0.5}, "leave it out"),
    "strength 0": ({"strength": 0.0}, "strength 0 must be above 0"),
    "less than nothing": ({"extend_s": -1.0}, "extend_s -1 must be 0 or more"),
    "too much": ({"extend_s": 4000.0}, "at most 3600"),
    "words of the given without a strength": ({"remake": [(0.1, 0.2)], "from_text": "rain"}, "give a strength too"),
    "pull of nothing": ({"strength": 0.5, "pull": 3.0}, "pull 3 has no effect"),
    "pull below 0": ({"remake": [(0.1, 0.2)], "pull": -1.0}, "pull -1 must be 0 or more"),
    "two prompts": ({"remake": [(0.1, 0.2)], "text": ["a", "b"], "embeds": None}, "give one"),
    "a video that begins later": ({"before_s": 0.2, "embeds": None, "video": "some.mp4"}, "before the video does"),
    "no prompt and guidance": ({"strength": 0.5, "embeds": None, "guidance_scale": 3.0}, "without a prompt"),
    "no prompt and words": ({"strength": 0.5, "embeds": None, "from_text": "rain"}, "give a prompt too"),
    "no prompt and nothing seen": ({"extend_s": 2.0, "embeds": None}, "more is to be made than the model can see"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(pipeline: ClipSonicPipeline, name: str) -> None:
    options, reason = REFUSED[name]
    with pytest.raises(UsageError, match=reason) as refusal:
        pipeline.edit(sound(), RATE_HZ, **{**PROMPT, **options})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: np.zeros(8000), "silent"),
        (lambda: sound()[:, :500], "lasts 0.031 s and must last at least 0.032 s, one window"),
        (lambda: np.full(8000, np.nan), "finite samples"),
        (lambda: np.zeros((2, 2, 2)), "must be"),
        (lambda: np.zeros((0, 8000)), "must be"),
        (lambda: np.zeros(0), "lasts 0.000 s and must last"),
    ],
)
def test_a_sound_that_gives_nothing_to_go_by_is_refused(
    pipeline: ClipSonicPipeline, make: Callable[[], np.ndarray], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        pipeline.edit(make(), RATE_HZ, **PROMPT, strength=0.5)


def test_a_negative_text_is_moved_away_from(pipeline: ClipSonicPipeline) -> None:
    edit: dict[str, Any] = {"remake": [(0.1, 0.4)], "closer": "zero-shot"}
    plain = pipeline.edit(sound(), RATE_HZ, **PROMPT, **edit, guidance_scale=1.5)
    away = pipeline.edit(sound(), RATE_HZ, **PROMPT, **edit, negative_text="rain")
    assert np.abs(away.mels - plain.mels).max() > 0.01


def test_without_a_prompt_what_is_seen_beside_it_is_enough_and_a_note_says_so(pipeline: ClipSonicPipeline) -> None:
    edited = pipeline.edit(sound(), RATE_HZ, remake=[(0.2, 0.3)])
    assert edited.embeds is None
    assert any("without a prompt" in note for note in edited.notes)


def test_of_a_sound_of_a_higher_rate_a_note_says_what_became_of_its_upper_band(pipeline: ClipSonicPipeline) -> None:
    filled, empty = (
        pipeline.edit(sound(0.6, 48000), 48000, **PROMPT, remake=[(0.2, 0.3)], fill=fill) for fill in (True, False)
    )
    assert "8000 Hz" in filled.notes[0]
    assert "left empty" in empty.notes[0]
