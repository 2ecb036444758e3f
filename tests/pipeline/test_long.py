"""Sounds longer than a segment: exact, made in windows that see their own seconds, vocoded without a seam."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import av
import makers_spaces as makers
import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import SpecError, UsageError
from clipsonic.models.conditioner import Condition
from clipsonic.models.dit import DiT1D
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline import vocoding as pieces
from clipsonic.pipeline.denoising import Timeline
from clipsonic.pipeline.videos import look_at_video, look_through_video
from clipsonic.seeding import torch_generator
from clipsonic.specs import GLOBAL_TIME_S, MelSpec, SegmentSpec

WIDTH, SEGMENT_S = 16, 0.512


def make_video(path: Path, seconds: float, fps: int = 10) -> Path:
    """Frame k is the grey 8 k: a picture tells its time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def conditions_seen(pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch) -> list[Condition]:
    """The conditions of every call of the network, as they come."""
    seen: list[Condition] = []
    forward = pipeline.denoiser.forward

    def watched(x: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        seen.append(condition)
        return forward(x, timestep, condition)

    monkeypatch.setattr(pipeline.denoiser, "forward", watched)
    return seen


@pytest.mark.parametrize("duration_s", [0.5121, 1.0, 2.3333, 7.0])
def test_a_long_sound_is_as_long_as_asked_to_the_sample(pipeline: ClipSonicPipeline, duration_s: float) -> None:
    made = pipeline(embeds=np.ones(WIDTH), duration_s=duration_s, num_inference_steps=1)
    num_samples = round(duration_s * 16000)
    assert made.audios.shape == (1, num_samples)
    assert made.mels.shape == (1, 32, -(-num_samples // 256))
    assert made.seconds == num_samples / 16000
    assert np.isfinite(made.audios).all()
    assert 0.0 < np.abs(made.audios).max() <= 1.0


def pipeline_of(mel: MelSpec) -> ClipSonicPipeline:
    """Untrained, of 16 columns, with the quickest Griffin-Lim."""
    segment = SegmentSpec(mel, 16, WIDTH, "toy/1")
    denoiser = DiT1D(
        num_mels=mel.num_mels, num_mel_frames=16, patch=4, width=32, depth=1, heads=2, embed_width=WIDTH,
        segment_seconds=segment.seconds,
    )  # fmt: skip
    mean = [mel.from_db(-30.0)] * mel.num_mels
    made = ClipSonicPipeline(denoiser.eval(), make_scheduler("flow"), segment, mean, [0.1] * mel.num_mels)
    made.set_progress_bar_config(disable=True)
    made.vocoder = GriffinLim(mel, num_iterations=1)
    return made


@pytest.mark.parametrize("name", makers.EVERY_SPACE)
def test_in_every_space_a_sound_is_as_long_as_asked_to_the_sample_and_sounds_to_its_end(name: str) -> None:
    pipeline = pipeline_of(makers.EVERY_SPACE[name])
    segment, hop = pipeline.segment, pipeline.segment.mel.hop_length
    awkward = [round(share * segment.num_samples) for share in (0.1, 1 / 3, 0.9, 1.5, 2.0)]
    at_borders = [segment.num_samples + more for more in (-1, 0, 1, hop - 1, hop, hop + 1)]
    for num_samples in (1, *awkward, *at_borders):
        duration_s = num_samples / segment.mel.sample_rate_hz
        made = pipeline(embeds=np.ones(WIDTH), duration_s=duration_s, num_inference_steps=1, guidance_scale=1.0)
        assert made.audios.shape == (1, num_samples)
        assert made.seconds == duration_s
        if num_samples > hop:
            assert np.abs(made.audios[0, -hop // 4 :]).max() > 1e-4


@pytest.mark.parametrize("name", makers.SEGMENTS)
@pytest.mark.parametrize("duration_s", [0.1, 3.33333, 9.99, 10.0, 20.0, 3600.0])
def test_the_columns_of_a_bundled_config_suffice_for_every_duration_and_none_is_spare(
    name: str, duration_s: float
) -> None:
    segment = makers.SEGMENTS[name]
    timeline = Timeline.of(duration_s, segment)
    assert timeline.num_samples == round(duration_s * segment.mel.sample_rate_hz)
    spare = segment.mel.num_samples(timeline.num_columns) - timeline.num_samples
    assert spare >= 0
    assert spare < segment.mel.hop_length or timeline.num_columns == segment.num_mel_frames


def test_a_segment_asked_for_by_its_length_is_the_segment(pipeline: ClipSonicPipeline) -> None:
    plain, asked = (pipeline(embeds=np.ones(WIDTH), duration_s=seconds).audios for seconds in (None, SEGMENT_S))
    np.testing.assert_array_equal(plain, asked)


def test_long_sounds_of_a_batch_are_what_each_is_alone(pipeline: ClipSonicPipeline) -> None:
    prompts = np.random.default_rng(0).normal(size=(3, WIDTH))
    batch = pipeline(embeds=prompts, duration_s=2.0, generator=[torch_generator(1, "t", item) for item in range(3)])
    for item, prompt in enumerate(prompts):
        alone = pipeline(embeds=prompt, duration_s=2.0, generator=torch_generator(1, "t", item))
        np.testing.assert_allclose(batch.mels[item], alone.mels[0], atol=1e-3)


def test_the_network_never_sees_more_than_eight_windows_at_once(
    pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = conditions_seen(pipeline, monkeypatch)
    pipeline(embeds=np.eye(WIDTH)[:3], duration_s=5.0, num_inference_steps=1, guidance_scale=1.0)
    windows = 3 * len(Timeline.of(5.0, pipeline.segment).starts)
    assert [len(condition) for condition in seen] == [8] * (windows // 8) + [windows % 8] * (windows % 8 > 0)


def test_a_text_holds_for_every_window(pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = conditions_seen(pipeline, monkeypatch)
    pipeline(text="rain", duration_s=1.0, num_inference_steps=1, guidance_scale=1.0)
    (condition,) = seen
    assert len(condition) == len(Timeline.of(1.0, pipeline.segment).starts) > 1
    assert torch.equal(condition.tokens, condition.tokens[:1].expand_as(condition.tokens))
    assert bool((condition.times_s == GLOBAL_TIME_S).all())


def test_each_window_of_a_video_sees_the_frames_of_its_own_seconds_as_a_video_from_there_would(
    pipeline: ClipSonicPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "v.mp4", seconds=3.0)
    seen = conditions_seen(pipeline, monkeypatch)
    pipeline(video=path, start_s=0.4, duration_s=2.0, num_inference_steps=1, guidance_scale=1.0)
    (whole,) = seen
    starts_s = Timeline.of(2.0, pipeline.segment).starts_s
    assert len(whole) == len(starts_s) == 7
    for window, start_s in enumerate(starts_s):
        seen.clear()
        pipeline(video=path, start_s=0.4 + start_s, num_inference_steps=1, guidance_scale=1.0)
        assert torch.equal(seen[0].tokens[0], whole.tokens[window])
        assert torch.equal(seen[0].times_s[0], whole.times_s[window])


def test_windows_that_a_video_does_not_fill_see_what_there_is_of_it(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", seconds=2.0)
    looks = list(look_through_video(path, 0.0, (0.0, 0.8, 1.6, 2.4), 0.8))
    assert looks[0][1] == looks[1][1] == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert looks[2][1] == pytest.approx([0.05, 0.15, 0.25, 0.35], abs=0.002)  # 1.6 to 2.0 s
    assert looks[3][1] == [GLOBAL_TIME_S]
    shown = [[round(float(picture.mean()) / 8) for picture in pictures] for pictures, _ in looks]
    assert shown == [[1, 3, 5, 7], [9, 11, 13, 15], [16, 17, 18, 19], [19]]
    single = look_at_video(path, 0.8, 0.8)
    assert all(np.array_equal(one, other) for one, other in zip(single[0], looks[1][0], strict=True))


def test_frames_of_a_long_sound_go_to_the_windows_they_lie_in(
    pipeline: ClipSonicPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = conditions_seen(pipeline, monkeypatch)
    embeds = np.eye(WIDTH)[None, :3]
    times_s = [0.1, 0.9, 0.95]
    pipeline(embeds=embeds, frame_times_s=times_s, duration_s=1.5, num_inference_steps=1, guidance_scale=1.0)
    (condition,) = seen
    starts_s = Timeline.of(1.5, pipeline.segment).starts_s
    for window, start_s in enumerate(starts_s):
        inside = [place for place, time_s in enumerate(times_s) if start_s <= time_s < start_s + SEGMENT_S]
        found = condition.mask[window]
        tokens, times = condition.tokens[window][found], condition.times_s[window][found]
        if inside:
            assert tokens.argmax(dim=1).tolist() == inside
            assert times.tolist() == pytest.approx([times_s[place] - start_s for place in inside], abs=1e-6)
        else:
            assert times.tolist() == [GLOBAL_TIME_S]
    with pytest.raises(UsageError, match=r"times between 0 and 1\.5 s"):
        pipeline(embeds=embeds, frame_times_s=[0.1, 0.2, 1.6], duration_s=1.5)


def test_a_negative_text_is_moved_away_from_in_every_window(pipeline: ClipSonicPipeline) -> None:
    options: dict[str, Any] = {"duration_s": 1.5, "output_type": "mel"}
    same = pipeline(text="rain", negative_text="rain", guidance_scale=3.0, **options)
    alone = pipeline(text="rain", guidance_scale=1.0, **options)
    np.testing.assert_allclose(same.mels, alone.mels, atol=1e-3)
    other = pipeline(text="rain", negative_text="a dog", guidance_scale=3.0, **options)
    assert np.abs(other.mels - alone.mels).max() > 1e-2


# --------------------------------------------------------------- the vocoder, in pieces


def loud_mel(spec: MelSpec, num_columns: int) -> torch.Tensor:
    """Log-mels (1, M, F) of something like sound, loud enough that the wave leaves [-1, 1]."""
    generator = torch_generator(0, "mel")
    level = 3.0 * torch.sin(torch.arange(num_columns) / 40.0)
    noise = torch.randn(1, spec.num_mels, num_columns, generator=generator)
    return level - torch.linspace(0.0, 4.0, spec.num_mels)[:, None] + noise


@pytest.mark.parametrize("name", ["audioldm", "vocos-24khz", "speecht5"])
@pytest.mark.parametrize("rounds", [0, 2])
def test_pieces_of_a_vocoder_equal_the_whole(rounds: int, name: str) -> None:
    spec = MEL_SPACES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vocoder = Vocos(**spec.to_dict(), width=16, hidden=32, depth=6, rounds=rounds).eval()
    mel = spec.shift_db(spec.from_nepers(loud_mel(spec, 2 * pieces.PIECE + 300)), 12.0)
    with torch.no_grad():
        whole = vocoder(mel)
        made = pieces.vocode(vocoder, mel)
    assert vocoder.wave(mel).abs().max() > 1.5  # so one gain serves all the pieces
    torch.testing.assert_close(made, whole, atol=1e-5, rtol=0)  # 1e-6 measured; 1e-3 promised


@pytest.mark.parametrize("beyond", [1, pieces.FADE - 1, pieces.FADE, pieces.FADE + 1, pieces.PIECE])
@pytest.mark.parametrize("padding", ["same", "center"])
def test_the_weights_of_pieces_make_one_at_every_sample(padding: str, beyond: int) -> None:
    mel = torch.zeros(2, 4, pieces.PIECE + beyond)
    spec = MelSpec(n_fft=40, hop_length=10, num_mels=4, padding=padding)
    made = pieces.in_pieces(lambda part: torch.ones(2, spec.num_samples(part.shape[2])), mel, spec)
    torch.testing.assert_close(made, torch.ones(2, spec.num_samples(mel.shape[2])), atol=1e-6, rtol=0)


def test_griffin_lims_pieces_have_one_gain_and_no_step_in_level() -> None:
    spec = MelSpec(n_fft=512, hop_length=256, num_mels=32)
    vocoder = GriffinLim(spec, num_iterations=4)
    mel = torch.full((1, 32, pieces.PIECE + 200), 1.0)
    made = pieces.vocode(vocoder, mel)[0]
    assert made.abs().max() <= 1.0
    border = pieces.PIECE * spec.hop_length
    level_db = [20.0 * math.log10(float(part.square().mean().sqrt())) for part in made[: border + 40000].split(4096)]
    inside, at_border = level_db[8 : border // 4096 - 1], level_db[border // 4096 :][:3]
    assert abs(np.mean(at_border) - np.mean(inside)) < 1.5


def band_of_noise(spec: MelSpec, num_samples: int) -> torch.Tensor:
    """Noise from 300 to 5,000 Hz, bands that every space has: (1, T), about -24 dB."""
    spectrum = torch.fft.rfft(0.1 * torch.randn(num_samples, generator=torch_generator(0, "noise")))
    hz = torch.fft.rfftfreq(num_samples, 1.0 / spec.sample_rate_hz)
    return torch.fft.irfft(spectrum * ((hz > 300.0) & (hz < 5000.0)), num_samples)[None]


def level_db(wave: torch.Tensor) -> float:
    return 10.0 * math.log10(float(wave.double().square().mean()))


@pytest.mark.parametrize("name", makers.EVERY_SPACE)
def test_griffin_lim_keeps_the_level_of_a_sound_beyond_one_piece_in_every_space(name: str) -> None:
    spec = makers.EVERY_SPACE[name]
    wave = band_of_noise(spec, spec.num_samples(pieces.PIECE + 100))
    vocoder, log_mel = GriffinLim(spec, num_iterations=4), LogMel(spec)(wave)
    made = pieces.vocode(vocoder, log_mel)
    assert made.shape == wave.shape
    # guessed phases cost 0.5 to 1.1 dB of noise; what is beyond a tenth of a decibel would be the pieces' fault
    assert level_db(made) == pytest.approx(level_db(vocoder(log_mel)), abs=0.1)
    border = pieces.PIECE * spec.hop_length
    for part in (slice(0, border), slice(border, None)):
        assert level_db(made[:, part]) == pytest.approx(level_db(wave[:, part]), abs=1.3)
    hop = spec.hop_length
    assert level_db(made[:, -hop:]) == pytest.approx(level_db(wave[:, -hop:]), abs=4.0)  # one hop of noise varies


def test_a_vocoder_that_gives_too_few_samples_is_refused_with_both_numbers() -> None:
    class Short:
        spec = MEL_SPACES["vocos-24khz"]

        def __call__(self, log_mel: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(log_mel), (log_mel.shape[2] - 2) * 256)

    for num_columns in (30, pieces.PIECE + 30):
        with pytest.raises(SpecError, match=r"made \d+ samples of \d+ columns, its mel space has \d+: take a vocoder"):
            pieces.vocode(Short(), torch.zeros(1, 100, num_columns))
