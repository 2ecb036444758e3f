"""The pipeline as its users see it, with a tiny untrained model and a tiny real CLIP behind it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import makers_published as makers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchHeunDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from makers_model import CLIP_RECIPE, WIDTH
from PIL import Image
from safetensors.torch import load_file, save_file

from clipsonic.audio.load import load_vocoder
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.open_clip import load_clip, new_clip, published_merges
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.diffusion.objective import make_scheduler
from clipsonic.diffusion.sampling import Guidance
from clipsonic.errors import CheckpointError, ClipsonicError, FingerprintError, SpecError, UsageError
from clipsonic.models.conditioner import Condition
from clipsonic.models.dit import DiT1D
from clipsonic.models.unet import MelUNet
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.pipeline.videos import look_at_video, seconds_left
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec

MEL = MelSpec(n_fft=512, hop_length=256, num_mels=32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipEmbedder:
    """Untrained; saved once, because files hold float16."""
    words = ["a dog barking", "a small bell ringing", "rain"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = new_clip(CLIP_RECIPE, packed(short_merges(words, published_merges(), 200)))
    folder = tmp_path_factory.mktemp("clip")
    made.save(folder)
    return load_clip(folder)


def make_segment(fingerprint: str, num_mel_frames: int = 32) -> SegmentSpec:
    return SegmentSpec(MEL, num_mel_frames, WIDTH, fingerprint)


def make_denoiser(prediction_type: str = "flow", seed: int = 0) -> DiT1D:
    """Untrained, with weights everywhere, so that the prompt has an effect."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = DiT1D(
            num_mels=32, num_mel_frames=32, patch=4, width=32, depth=1, heads=2, embed_width=WIDTH,
            prediction_type=prediction_type, segment_seconds=0.512,
        )  # fmt: skip
        with torch.no_grad():
            for weight in denoiser.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    return denoiser.eval()


def make_pipeline(fingerprint: str, denoiser: Any = None) -> ClipSonicPipeline:
    pipeline = ClipSonicPipeline(
        make_denoiser() if denoiser is None else denoiser,
        make_scheduler("flow"),
        segment=make_segment(fingerprint),
        mel_mean=np.linspace(-3.0, -6.0, 32),
        mel_std=[2.0] * 32,
        num_inference_steps=3,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline(clip: ClipEmbedder) -> ClipSonicPipeline:
    made = make_pipeline(clip.fingerprint)
    made.set_clip(clip)
    return made


class ToyPrior:
    """A prior that needs no package: the text plus noise from the item's own generator."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def __call__(self, texts: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
        noise = torch.stack([torch.randn(texts.shape[1], generator=generator) for generator in generators])
        return torch.nn.functional.normalize(texts + noise, dim=-1)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 56, 3), np.uint8)


def make_video(path: Path, seconds: float = 2.0, fps: int = 10) -> Path:
    """Frame k is the grey 8 k: a picture tells its time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def prompts_of_each_kind(folder: Path) -> dict[str, Any]:
    return {
        "text": "a dog barking",
        "image": picture(),
        "video": make_video(folder / "v.mp4"),
        "frames": [picture(seed) for seed in range(3)],
        "embeds": np.eye(WIDTH, dtype=np.float32)[0],
    }


# --------------------------------------------------------------- what comes out


@pytest.mark.parametrize("kind", ["text", "image", "video", "frames", "embeds"])
def test_every_kind_of_prompt_gives_a_finite_sound_of_the_exact_length(
    pipeline: ClipSonicPipeline, tmp_path: Path, kind: str
) -> None:
    made = pipeline(**{kind: prompts_of_each_kind(tmp_path)[kind]})
    assert made.audios.shape == (1, 32 * 256)
    assert made.seconds == pipeline.segment.seconds == 0.512
    assert np.isfinite(made.audios).all()
    assert 0.0 < np.abs(made.audios).max() <= 1.0


def test_the_prompt_changes_the_sound(pipeline: ClipSonicPipeline) -> None:
    eye = np.eye(WIDTH, dtype=np.float32)
    one, other = pipeline(embeds=eye[:2], generator=[torch_generator(0, "t"), torch_generator(0, "t")]).mels
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("duration_s", [0.1, 0.3333, 1 / 16000, 0.512])
def test_the_sound_is_as_long_as_asked_to_the_sample(pipeline: ClipSonicPipeline, duration_s: float) -> None:
    made = pipeline(embeds=np.ones(WIDTH), duration_s=duration_s)
    assert made.audios.shape == (1, round(duration_s * 16000))
    assert made.seconds == made.audios.shape[1] / 16000


def test_a_shorter_sound_is_the_beginning_of_the_whole_one(pipeline: ClipSonicPipeline) -> None:
    whole, part = (pipeline(embeds=np.ones(WIDTH), duration_s=seconds).audios[0] for seconds in (None, 0.2))
    np.testing.assert_array_equal(part, whole[:3200])


@pytest.mark.parametrize("duration_s", [3601.0, 0.0, -1.0, float("nan")])
def test_a_duration_that_the_model_cannot_make_is_refused(pipeline: ClipSonicPipeline, duration_s: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and at most 3600"):
        pipeline(embeds=np.ones(WIDTH), duration_s=duration_s)


def test_output_types_hold_the_same_numbers(pipeline: ClipSonicPipeline) -> None:
    arrays = pipeline(embeds=np.ones(WIDTH))
    tensors = pipeline(embeds=np.ones(WIDTH), output_type="pt")
    mels = pipeline(embeds=np.ones(WIDTH), output_type="mel")
    np.testing.assert_array_equal(arrays.audios, tensors.audios.numpy())
    np.testing.assert_array_equal(arrays.mels, mels.mels)
    assert mels.audios is None


class Oracle(ModelMixin, ConfigMixin):
    """A denoiser that knows the clean mel: its velocity is that of the straight line to it."""

    @register_to_config
    def __init__(self, num_mels: int = 32, num_mel_frames: int = 32, embed_width: int = WIDTH) -> None:
        super().__init__()
        self.register_to_config(prediction_type="flow")
        self.clean = torch.nn.Parameter(torch.linspace(-1.0, 1.0, num_mels * num_mel_frames).view(num_mels, -1))

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        return (x - self.clean) / (timestep / 1000.0)[:, None, None]


@pytest.mark.parametrize("steps", [1, 4])
def test_a_denoiser_without_error_gives_its_mel_back_in_the_units_of_the_statistics(steps: int) -> None:
    oracle = Oracle()
    pipeline = make_pipeline("toy/1", oracle)
    made = pipeline(embeds=np.ones(WIDTH), num_inference_steps=steps, output_type="mel").mels[0]
    wanted = oracle.clean.detach().numpy() * 2.0 + np.linspace(-3.0, -6.0, 32)[:, None]
    np.testing.assert_allclose(made, wanted, atol=1e-4)  # float32: 2e-6 measured


# --------------------------------------------------------------- identities between prompts


def test_a_picture_is_a_pooled_video_of_equal_frames(pipeline: ClipSonicPipeline) -> None:
    one = pipeline(image=picture())
    pooled = pipeline(frames=[picture()] * 4, video_tokens="pooled")
    np.testing.assert_allclose(pooled.mels, one.mels, atol=1e-3)  # log-mel: the mean of four equal vectors, rounded
    timed = pipeline(frames=[picture()] * 4)
    assert np.abs(timed.mels - one.mels).max() > 1e-2


def test_a_text_left_as_it_is_equals_its_own_embedding(pipeline: ClipSonicPipeline, clip: ClipEmbedder) -> None:
    text = pipeline(text="a dog barking", closer="zero-shot")
    embeds = pipeline(embeds=clip.embed_texts(["a dog barking"])[0])
    np.testing.assert_allclose(text.mels, embeds.mels, atol=1e-4)  # normalised once more
    assert (text.closer, embeds.closer) == ("zero-shot", None)


def test_only_the_direction_of_an_embedding_counts(pipeline: ClipSonicPipeline) -> None:
    embeds = np.random.default_rng(0).normal(size=WIDTH)
    np.testing.assert_allclose(pipeline(embeds=embeds).mels, pipeline(embeds=9 * embeds).mels, atol=1e-4)


def test_a_video_is_its_four_frames_at_the_bin_centres_of_the_segment(
    pipeline: ClipSonicPipeline, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "v.mp4")
    pictures, times_s = look_at_video(path, 0.7, 0.8)
    assert times_s == pytest.approx([0.1, 0.3, 0.5, 0.7])
    shown = [round(float(shot.mean()) / 8) for shot in pictures]  # frames 8, 10, 12, 14 stand at 0.8, 1.0, 1.2, 1.4 s
    assert shown == [8, 10, 12, 14]
    pictures, times_s = look_at_video(path, 0.3, pipeline.segment.seconds)
    from_video = pipeline(video=path, start_s=0.3)
    from_frames = pipeline(frames=pictures, frame_times_s=times_s)
    np.testing.assert_array_equal(from_video.audios, from_frames.audios)


def test_of_a_video_shorter_than_the_segment_all_is_looked_at(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", seconds=0.4)
    assert seconds_left(path, 0.1) == pytest.approx(0.3, abs=0.002)
    assert look_at_video(path, 0.0, 4.096)[1] == pytest.approx([0.05, 0.15, 0.25, 0.35], abs=0.002)


def test_a_start_beyond_the_end_of_the_video_is_refused(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"start_s 2 lies beyond the end .* lasts 2.00 s"):
        pipeline(video=make_video(tmp_path / "v.mp4"), start_s=2.0)


@pytest.mark.parametrize("content", [None, b"", b"not a video at all"])
def test_what_is_no_video_is_refused(pipeline: ClipSonicPipeline, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"v\.mp4"):
        pipeline(video=path)


# --------------------------------------------------------------- batches and randomness


def test_a_batch_gives_what_its_items_give_alone(pipeline: ClipSonicPipeline, clip: ClipEmbedder) -> None:
    pipeline.set_prior(ToyPrior(clip.fingerprint))  # type: ignore[arg-type]
    texts = ["a dog barking", "rain", "a small bell ringing"]
    batch = pipeline(text=texts, generator=[torch_generator(5, "test", item) for item in range(3)])
    for item, text in enumerate(texts):
        alone = pipeline(text=text, generator=torch_generator(5, "test", item))
        np.testing.assert_allclose(batch.mels[item], alone.mels[0], atol=1e-3)
        np.testing.assert_allclose(batch.audios[item], alone.audios[0], atol=2e-2)  # Griffin-Lim amplifies it


def test_prompts_of_different_lengths_share_a_batch(pipeline: ClipSonicPipeline) -> None:
    prompts = [[picture(seed) for seed in range(count)] for count in (2, 5)]
    batch = pipeline(frames=prompts, generator=[torch_generator(1, "test", item) for item in range(2)])
    for item, prompt in enumerate(prompts):
        alone = pipeline(frames=prompt, generator=torch_generator(1, "test", item))
        np.testing.assert_allclose(batch.mels[item], alone.mels[0], atol=1e-3)


def test_a_seed_gives_one_sound_and_another_seed_another(pipeline: ClipSonicPipeline) -> None:
    torch.manual_seed(1)
    first = pipeline(embeds=np.ones(WIDTH), seed=7)
    torch.manual_seed(2)
    again, other = pipeline(embeds=np.ones(WIDTH), seed=7), pipeline(embeds=np.ones(WIDTH), seed=8)
    np.testing.assert_array_equal(first.audios, again.audios)
    assert np.abs(first.mels - other.mels).max() > 0.1


def test_sound_k_does_not_depend_on_how_many_are_made(pipeline: ClipSonicPipeline) -> None:
    three, two = (pipeline(embeds=np.ones(WIDTH), num_sounds=count) for count in (3, 2))
    np.testing.assert_allclose(three.mels[:2], two.mels, atol=1e-3)
    assert np.abs(three.mels[0] - three.mels[1]).max() > 0.1


def test_nothing_global_is_drawn_from(pipeline: ClipSonicPipeline) -> None:
    before = torch.get_rng_state()
    pipeline(text="rain", num_sounds=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_generators_must_be_that_of_the_sounds(pipeline: ClipSonicPipeline) -> None:
    with pytest.raises(UsageError, match="3 generators for 2 prompts of 1 sounds"):
        pipeline(embeds=np.eye(WIDTH)[:2], generator=[torch.Generator() for _ in range(3)])


# --------------------------------------------------------------- guidance


class Counting(torch.nn.Module):
    """Predicts the number of unmasked tokens, and notes the batch of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        self.batches.append(len(x))
        return torch.ones_like(x) * condition.mask.sum(dim=1)[:, None, None]


@pytest.mark.parametrize(("scale", "batches", "value"), [(1.0, [2], 3.0), (0.0, [2], 0.0), (2.5, [4], 7.5)])
def test_guidance_calls_the_network_once_with_both_branches_or_the_one_it_needs(
    scale: float, batches: list[int], value: float
) -> None:
    condition = Condition(torch.ones(2, 3, WIDTH), torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))
    network = Counting()
    denoise = guided_in_one_batch(network, condition, condition.null_like(), Guidance(scale))
    made = denoise(torch.zeros(2, 4, 4), torch.zeros(2))
    assert network.batches == batches
    assert torch.equal(made, torch.full_like(made, value))


def test_outside_of_its_interval_guidance_costs_one_prediction_with_the_prompt() -> None:
    condition = Condition(torch.ones(2, 3, WIDTH), torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))
    network = Counting()
    denoise = guided_in_one_batch(network, condition, condition.null_like(), Guidance(2.5, (0.5, 1.0)))
    made = [denoise(torch.zeros(2, 4, 4), torch.full((2,), timestep)) for timestep in (1000.0, 500.0, 499.0)]
    assert network.batches == [4, 4, 2]
    assert [value.mean().item() for value in made] == [7.5, 7.5, 3.0]


def test_guidance_is_saved_with_the_pipeline_and_a_call_may_say_otherwise(tmp_path: Path) -> None:
    settings = {
        "num_inference_steps": 4,
        "guidance_scale": 3.0,
        "guidance_interval": (0.5, 1.0),
        "guidance_rescale": 0.7,
    }
    made = ClipSonicPipeline(
        make_denoiser(), make_scheduler("flow"), make_segment("toy/1"), [0.0] * 32, [1.0] * 32, **settings
    )
    made.save_pretrained(tmp_path / "P")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert {name: loaded.config[name] for name in settings} == {**settings, "guidance_interval": [0.5, 1.0]}
    embeds = np.ones(WIDTH)
    own = loaded(embeds=embeds).mels
    np.testing.assert_array_equal(own, loaded(embeds=embeds, **settings).mels)
    others: list[dict[str, Any]] = [
        {"guidance_interval": (0.0, 1.0)},
        {"guidance_rescale": 0.0},
        {"guidance_scale": 1.0},
    ]
    for other in others:
        assert np.abs(loaded(embeds=embeds, **other).mels - own).max() > 1e-3
    with pytest.raises(UsageError, match="guidance_rescale 2"):
        loaded(embeds=embeds, guidance_rescale=2.0)


def test_a_folder_from_before_the_interval_is_guided_everywhere(tmp_path: Path) -> None:
    make_pipeline("toy/1").save_pretrained(tmp_path / "P")
    index = json.loads((tmp_path / "P" / "model_index.json").read_text())
    old = {name: value for name, value in index.items() if name not in ("guidance_interval", "guidance_rescale")}
    (tmp_path / "P" / "model_index.json").write_text(json.dumps(old))
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert list(loaded.config["guidance_interval"]) == [0.0, 1.0]
    assert loaded.config["guidance_rescale"] == 0.0


def test_a_negative_text_takes_the_place_of_nothing(pipeline: ClipSonicPipeline) -> None:
    plain, negative = (
        pipeline(text="rain", negative_text=text, guidance_scale=3.0) for text in (None, "a dog barking")
    )
    assert np.abs(plain.mels - negative.mels).max() > 1e-2
    same = pipeline(text="rain", negative_text="rain", guidance_scale=3.0)
    alone = pipeline(text="rain", guidance_scale=1.0)
    np.testing.assert_allclose(same.mels, alone.mels, atol=1e-3)  # away from itself: no guidance at all
    with pytest.raises(UsageError, match="no effect at guidance_scale 1"):
        pipeline(text="rain", negative_text="a dog barking", guidance_scale=1.0)


# --------------------------------------------------------------- refusals


@pytest.mark.parametrize("given", [{}, {"text": "a", "image": picture()}, {"text": []}, {"text": ""}, {"frames": []}])
def test_a_call_takes_exactly_one_kind_of_prompt_that_is_not_empty(
    pipeline: ClipSonicPipeline, given: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="give"):
        pipeline(**given)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"closer": "best"}, "best is unknown"),
        ({"closer": "prior"}, "needs a prior"),
        ({"output_type": "wav"}, "output_type 'wav'"),
        ({"video_tokens": "all"}, "video_tokens 'all'"),
        ({"num_inference_steps": 0}, "num_inference_steps 0"),
        ({"guidance_scale": float("inf")}, "guidance_scale inf"),
        ({"num_sounds": 0}, "num_sounds 0"),
    ],
)
def test_an_impossible_option_is_refused_by_its_value(
    pipeline: ClipSonicPipeline, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        pipeline(text="rain", **options)


@pytest.mark.parametrize(
    "embeds", [np.ones(WIDTH + 1), np.zeros(WIDTH), np.full(WIDTH, np.nan), np.ones((1, 1, 1, WIDTH))]
)
def test_embeddings_that_are_none_are_refused(pipeline: ClipSonicPipeline, embeds: np.ndarray) -> None:
    with pytest.raises(UsageError, match="embedding"):
        pipeline(embeds=embeds)


def test_parts_of_another_clip_space_are_refused_with_both_names(clip: ClipEmbedder) -> None:
    pipeline = make_pipeline("other-clip/0123456789ab")
    for refused in (lambda: pipeline.set_clip(clip), lambda: pipeline.set_prior(ToyPrior(clip.fingerprint))):  # type: ignore[arg-type]
        with pytest.raises(FingerprintError) as error:
            refused()
        assert clip.fingerprint in str(error.value)
        assert "other-clip/0123456789ab" in str(error.value)


def test_a_scheduler_of_another_prediction_type_is_refused_and_one_of_the_same_is_used(
    pipeline: ClipSonicPipeline,
) -> None:
    euler = pipeline(embeds=np.ones(WIDTH))
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    assert np.abs(pipeline(embeds=np.ones(WIDTH)).mels - euler.mels).max() > 1e-4
    pipeline.scheduler = DDIMScheduler()
    with pytest.raises(SpecError, match=r"DDIMScheduler is for epsilon, the model predicts flow"):
        pipeline(embeds=np.ones(WIDTH))
    with pytest.raises(SpecError, match="the model predicts flow"):
        ClipSonicPipeline(make_denoiser(), DDIMScheduler(), make_segment("toy/1"), [0.0] * 32, [1.0] * 32)


def test_a_vocoder_of_another_mel_space_is_refused_and_one_of_the_same_is_used(pipeline: ClipSonicPipeline) -> None:
    class Silent:
        spec = MEL

        def __call__(self, log_mel: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(log_mel), log_mel.shape[2] * 256)

    with pytest.raises(SpecError, match=r"hop_length=128.*hop_length=256"):
        pipeline.vocoder = GriffinLim(MelSpec(n_fft=512, hop_length=128, num_mels=32))
    pipeline.vocoder = Silent()
    assert not pipeline(embeds=np.ones(WIDTH)).audios.any()


def make_vocoder(**change: Any) -> Vocos:
    torch.manual_seed(5)
    vocoder: Vocos = Vocos(**{**MEL.to_dict(), "width": 8, "hidden": 16, "depth": 1, **change})
    return vocoder.eval()


def test_a_neural_vocoder_goes_along_and_is_found_again(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    assert isinstance(pipeline.vocoder, GriffinLim)  # the bundled vocoder is of another mel space
    make_vocoder().save_pretrained(tmp_path / "vocoder")
    pipeline.set_vocoder(tmp_path / "vocoder")
    wave = pipeline(embeds=np.ones(WIDTH)).audios
    pipeline.save_pretrained(tmp_path / "pipeline")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "pipeline")
    assert np.array_equal(loaded(embeds=np.ones(WIDTH)).audios, wave)
    loaded.save_pretrained(tmp_path / "again")  # copied as it lies, for it may not have been loaded
    assert (tmp_path / "again" / "vocoder" / "config.json").is_file()
    loaded.set_vocoder("griffin-lim")
    assert not np.array_equal(loaded(embeds=np.ones(WIDTH)).audios, wave)


def test_a_published_vocoder_goes_along_as_safetensors_and_is_found_again(
    pipeline: ClipSonicPipeline, tmp_path: Path
) -> None:
    makers.make_hifigan(tmp_path / "hifigan", {**makers.AUDIOLDM, "model_in_dim": 32, "upsample_rates": [4, 4, 4, 4],
                                               "upsample_kernel_sizes": [8, 8, 8, 8]})  # fmt: skip
    makers.edit_config(tmp_path / "hifigan", mel=MEL.to_dict())
    torch.save(load_file(tmp_path / "hifigan" / "model.safetensors"), tmp_path / "hifigan" / "pytorch_model.bin")
    (tmp_path / "hifigan" / "model.safetensors").unlink()
    pipeline.set_vocoder(tmp_path / "hifigan")
    output = pipeline(embeds=np.ones(WIDTH))
    expected = load_vocoder(tmp_path / "hifigan")(torch.from_numpy(output.mels))
    assert np.array_equal(output.audios, expected.numpy())
    pipeline.save_pretrained(tmp_path / "pipeline")
    assert sorted(path.name for path in (tmp_path / "pipeline" / "vocoder").iterdir()) == [
        "card.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "pipeline")
    assert np.array_equal(loaded(embeds=np.ones(WIDTH)).audios, output.audios)
    loaded.save_pretrained(tmp_path / "again")  # loaded, and saved once more
    assert np.array_equal(
        ClipSonicPipeline.from_pretrained(tmp_path / "again")(embeds=np.ones(WIDTH)).audios, output.audios
    )


def test_a_published_vocoder_of_another_mel_space_is_refused_with_both(
    pipeline: ClipSonicPipeline, tmp_path: Path
) -> None:
    makers.make_hifigan(tmp_path / "hifigan")
    with pytest.raises(
        SpecError, match=r"is for mels with .*num_mels=64.*, the pipeline makes mels with .*num_mels=32"
    ):
        pipeline.set_vocoder(tmp_path / "hifigan")


def test_a_pipeline_with_centred_columns_makes_one_hop_less_than_columns() -> None:
    mel = MelSpec(n_fft=512, hop_length=256, num_mels=32, padding="center", logarithm="log10")
    segment = SegmentSpec(mel, 32, WIDTH, "toy/1")
    pipeline = ClipSonicPipeline(make_denoiser(), make_scheduler("flow"), segment, [-2.0] * 32, [1.0] * 32)
    output = pipeline(embeds=np.ones(WIDTH), num_inference_steps=2)
    assert output.audios.shape == (1, 31 * 256)
    assert output.mels.shape == (1, 32, 32)
    assert output.seconds == segment.seconds == 31 * 256 / 16000


def test_a_vocoder_folder_that_is_none_or_broken_or_of_another_space_is_refused(
    pipeline: ClipSonicPipeline, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="give griffin-lim or what"):
        pipeline.set_vocoder(tmp_path)
    make_vocoder(hop_length=128).save_pretrained(tmp_path / "other")
    with pytest.raises(SpecError, match=r"hop_length=128.*hop_length=256"):
        pipeline.set_vocoder(tmp_path / "other")
    make_vocoder().save_pretrained(tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "diffusion_pytorch_model.safetensors")
    del weights["bins_out.bias"]
    save_file(weights, tmp_path / "broken" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"bins_out\.bias"):
        pipeline.set_vocoder(tmp_path / "broken")


def test_a_model_and_a_segment_of_different_geometry_do_not_construct() -> None:
    with pytest.raises(SpecError, match="num_mel_frames 32, the segment 64"):
        ClipSonicPipeline(make_denoiser(), make_scheduler("flow"), make_segment("toy/1", 64), [0.0] * 32, [1.0] * 32)
    with pytest.raises(SpecError, match="31 mel means"):
        ClipSonicPipeline(make_denoiser(), make_scheduler("flow"), make_segment("toy/1"), [0.0] * 31, [1.0] * 32)
    with pytest.raises(SpecError, match="above 0"):
        ClipSonicPipeline(make_denoiser(), make_scheduler("flow"), make_segment("toy/1"), [0.0] * 32, [0.0] * 32)


# --------------------------------------------------------------- on disk


def test_saved_moved_and_loaded_it_gives_the_identical_wave(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    before = pipeline(text=["rain", "a dog barking"])
    pipeline.save_pretrained(tmp_path / "made" / "P")
    shutil.move(tmp_path / "made" / "P", tmp_path / "moved")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "moved")
    np.testing.assert_array_equal(loaded(text=["rain", "a dog barking"]).audios, before.audios)
    assert loaded.config["num_inference_steps"] == 3
    assert loaded.segment == pipeline.segment


def test_a_folder_says_what_it_is_and_keeps_the_card_of_its_maker(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "P")
    assert "0.512 s of mono sound" in (tmp_path / "P" / "card.md").read_text()
    (tmp_path / "P" / "card.md").write_text("mine")
    ClipSonicPipeline.from_pretrained(tmp_path / "P").save_pretrained(tmp_path / "Q")
    assert (tmp_path / "Q" / "card.md").read_text() == "mine"
    assert sorted(entry.name for entry in (tmp_path / "Q" / "clip").iterdir()) == sorted(
        entry.name for entry in (tmp_path / "P" / "clip").iterdir()
    )


def test_a_published_clip_is_kept_by_name_and_not_copied(clip: ClipEmbedder, tmp_path: Path) -> None:
    pipeline = ClipSonicPipeline(
        make_denoiser(),
        make_scheduler("flow"),
        make_segment(clip.fingerprint),
        [0.0] * 32,
        [1.0] * 32,
        "ViT-L-14:openai",
    )
    pipeline.set_clip(clip)
    pipeline.save_pretrained(tmp_path / "P")
    assert not (tmp_path / "P" / "clip").exists()
    assert ClipSonicPipeline.from_pretrained(tmp_path / "P").config["clip_name"] == "ViT-L-14:openai"


def test_a_bundled_clip_goes_along_where_it_is_the_models_own(
    clip: ClipEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip.save(tmp_path / "priors" / "tiny" / "clip")
    monkeypatch.setattr("clipsonic.pipeline.folder.bundled_root", lambda: tmp_path)
    make_pipeline(clip.fingerprint).save_pretrained(tmp_path / "P")
    make_pipeline("other/1").save_pretrained(tmp_path / "Q")
    assert (tmp_path / "P" / "clip").is_dir()
    assert not (tmp_path / "Q" / "clip").exists()


def test_a_unet_is_saved_and_loaded_alike(tmp_path: Path) -> None:
    unet = MelUNet(
        num_mels=32, num_mel_frames=32, channels=(8, 16), layers=1, attention_levels=1, head_width=8,
        condition_width=16, embed_width=WIDTH, prediction_type="flow", segment_seconds=0.512,
    )  # fmt: skip
    made = make_pipeline("toy/1", unet.eval())
    made.save_pretrained(tmp_path / "P")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    np.testing.assert_array_equal(loaded(embeds=np.ones(WIDTH)).mels, made(embeds=np.ones(WIDTH)).mels)


def test_saving_into_a_used_folder_replaces_the_pipeline_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "P" / "logs").mkdir(parents=True)
    (tmp_path / "P" / "logs" / "run").write_text("kept")
    for seed in (1, 2):
        make_pipeline("toy/1", make_denoiser(seed=seed)).save_pretrained(tmp_path / "P")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert torch.equal(loaded.denoiser.level.patch_in.weight, make_denoiser(seed=2).level.patch_in.weight)
    assert (tmp_path / "P" / "logs" / "run").read_text() == "kept"
    assert [entry.name for entry in tmp_path.iterdir()] == ["P"]


def test_a_save_that_fails_leaves_the_folder_as_it_was(
    tmp_path: Path, clip: ClipEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline(clip.fingerprint)
    pipeline.save_pretrained(tmp_path / "P")
    pipeline.set_clip(clip)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clip, "save", full)
    with pytest.raises(OSError, match="No space"):
        pipeline.save_pretrained(tmp_path / "P")
    ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert [entry.name for entry in tmp_path.iterdir()] == ["P"]


def _edit_weights(folder: Path, change: str) -> None:
    path = folder / "denoiser" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    if change == "missing":
        del weights["level.patch_in.weight"]
    elif change == "unknown":
        weights["stranger"] = torch.zeros(2)
    else:
        weights["level.patch_in.weight"] = weights["level.patch_in.weight"][:, :-1].contiguous()
    save_file(weights, path, metadata={"format": "pt"})


def _edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


BREAKS = {
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "model_index.json is missing"),
    "damaged index": (lambda folder: (folder / "model_index.json").write_text("{"), "is damaged"),
    "foreign class": (
        lambda folder: _edit_json(folder / "model_index.json", denoiser=["os", "system"]),
        "names the classes os.system",
    ),
    "no weights": (lambda folder: next((folder / "denoiser").glob("*.safetensors")).unlink(), "no .safetensors"),
    "no denoiser config": (lambda folder: (folder / "denoiser" / "config.json").unlink(), "cannot be loaded"),
    "no scheduler": (lambda folder: shutil.rmtree(folder / "scheduler"), "cannot be loaded"),
    "no segment": (lambda folder: _edit_json(folder / "model_index.json", segment=None), "SegmentSpec"),
    "missing key": (lambda folder: _edit_weights(folder, "missing"), "missing: level.patch_in.weight"),
    "unknown key": (lambda folder: _edit_weights(folder, "unknown"), "unknown: stranger"),
    "wrong shape": (lambda folder: _edit_weights(folder, "shape"), "level.patch_in.weight"),
    "cut weights": (
        lambda folder: (folder / "denoiser" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x10" * 40),
        "cannot be",
    ),
    "unknown model option": (
        lambda folder: _edit_json(folder / "denoiser" / "config.json", patch=5),
        "multiple of patch",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_folder_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "P"
    make_pipeline("toy/1").save_pretrained(folder)
    breaking, words = BREAKS[name]
    breaking(folder)
    with pytest.raises((CheckpointError, SpecError)) as error:
        ClipSonicPipeline.from_pretrained(folder)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/P", "owner/unreachable"])
def test_a_model_that_is_not_there_is_refused_with_what_to_give(name: str) -> None:
    with pytest.raises(ClipsonicError, match=r"'tiny', a pipeline folder, or a hub id"):
        ClipSonicPipeline.from_pretrained(name)


def test_pictures_may_be_pil_images(pipeline: ClipSonicPipeline) -> None:
    as_image = pipeline(image=Image.fromarray(picture())).mels
    np.testing.assert_array_equal(as_image, pipeline(image=picture()).mels)


# --------------------------------------------------------------- with the real prior, and on a GPU


@pytest.mark.slow
def test_a_real_prior_is_saved_with_the_pipeline_found_again_and_used_by_itself(
    pipeline: ClipSonicPipeline, clip: ClipEmbedder, tmp_path: Path
) -> None:
    from clipsonic.prior.adapter import PriorShape, TextPrior

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = TextPrior(PriorShape(width=WIDTH, depth=1, heads=2, head_width=8, num_timesteps=4), clip.fingerprint)
    plain = pipeline(text="rain")
    prior.save(tmp_path / "prior")
    pipeline.set_prior(tmp_path / "prior")
    closed = pipeline(text="rain")
    assert (plain.closer, closed.closer) == ("zero-shot", "prior")
    assert np.abs(plain.mels - closed.mels).max() > 1e-3
    pipeline.save_pretrained(tmp_path / "P")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    np.testing.assert_array_equal(loaded(text="rain").audios, closed.audios)
    np.testing.assert_array_equal(loaded(text="rain", closer="zero-shot").audios, plain.audios)


@pytest.mark.gpu
def test_on_a_gpu_moved_or_offloaded_it_makes_the_same_mel(pipeline: ClipSonicPipeline) -> None:
    on_cpu = pipeline(text="rain", num_sounds=2).mels
    pipeline.to("cuda")
    np.testing.assert_allclose(pipeline(text="rain", num_sounds=2).mels, on_cpu, atol=5e-2)  # TF32 is off by default
    pipeline.to("cpu")
    pipeline.enable_model_cpu_offload()
    np.testing.assert_allclose(pipeline(text="rain", num_sounds=2).mels, on_cpu, atol=5e-2)
    assert pipeline.denoiser.device.type == "cpu"
