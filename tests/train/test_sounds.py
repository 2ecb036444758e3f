"""What is heard of a run on its way is what the pipeline will make that it leaves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers_adapters import SECONDS, WIDTH, adapting, distilling, toy
from makers_train import new_lesson

from clipsonic.models.conditioner import global_condition
from clipsonic.models.lowrank import adapter_weights
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import ADAPTER
from clipsonic.prior.bank import EmbedBank
from clipsonic.seeding import torch_generator
from clipsonic.shards.crops import pad_frames
from clipsonic.specs import CorpusSpec
from clipsonic.train.config import ObjectiveConfig, TrainConfig, UNetConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.health import Health
from clipsonic.train.engine.lesson import Held
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.lessons import figures_of_sound
from clipsonic.train.lessons.adapted import Adapted
from clipsonic.train.lessons.adapter import AdapterLesson
from clipsonic.train.lessons.fewstep import FewstepLesson

SAMPLED = {"num_inference_steps": 5, "guidance_scale": 3.0, "guidance_interval": (0.5, 1.0)}
BANK = EmbedBank(torch.eye(WIDTH), "toy/1")
COUNTS = [4, 1, 3]
"""Frames of each prompt."""


def shaken(weights: list[torch.Tensor]) -> None:
    """Weights everywhere, so that every prompt and every time has an effect."""
    generator = torch_generator(0, "test.shaken")
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)


def new_module(config: TrainConfig) -> LessonModule:
    mean_M, std_M = torch.linspace(-3.0, -6.0, 16), torch.linspace(1.0, 2.0, 16)
    lesson = new_lesson(config, mean_M, std_M)
    object.__setattr__(lesson._data, "bank", lambda size: BANK)  # it has no records
    shaken(list(lesson.learner.parameters()))
    return LessonModule(config, lesson, Clock(config.run))


def prompts() -> dict[str, torch.Tensor]:
    """Frames of three videos, unit vectors that float32 holds exactly."""
    frames = [np.eye(WIDTH, dtype=np.float32)[place : place + count] for place, count in enumerate(COUNTS)]
    times_s = [np.float32(CorpusSpec.frame_times_s(SECONDS, count)) for count in COUNTS]
    return pad_frames(frames, times_s)


def heard(module: LessonModule, out: Path) -> tuple[np.ndarray, ClipSonicPipeline]:
    """A preview of the averaged weights, and the pipeline that is saved after it."""
    held = Held(1, [{**prompts(), "wave": torch.zeros(len(COUNTS), 2048)}], torch.zeros(0), lambda *_: None, Health())  # type: ignore[arg-type, return-value]
    with module.averaged():
        sampled: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(figures_of_sound, "shown", lambda name, mels, spec: sampled.append(mels.numpy()) or ())
            list(module.lesson.show(held))
    module.on_fit_end()
    told = {"steps": 1, "minutes": 0.0, "samples_per_s": 0.0}
    module.lesson.leave(module.result_weights, out, told)
    pipeline = ClipSonicPipeline.from_pretrained(out)
    pipeline.set_progress_bar_config(disable=True)
    return sampled[0], pipeline


def pipeline_of(module: LessonModule, folder: Path) -> ClipSonicPipeline:
    """The pipeline that a module leaves."""
    return heard(module, folder)[1]


def made(pipeline: ClipSonicPipeline, seed: int = 0) -> np.ndarray:
    """What the pipeline makes of the same prompts and noise, one after the other."""
    mels = []
    for item, count in enumerate(COUNTS):
        frames = prompts()["frames"][item : item + 1, :count].numpy()
        generator = torch_generator(seed, "train.preview", item)
        mels.append(pipeline(embeds=frames, generator=generator, output_type="mel").mels[0])
    return np.stack(mels)


@pytest.mark.parametrize(("kind", "prediction_type"), [("dit", "flow"), ("dit", "v_prediction"), ("unet", "epsilon")])
def test_a_preview_is_what_the_saved_pipeline_makes_of_the_same_noise_and_frames(
    tmp_path: Path, kind: str, prediction_type: str
) -> None:
    small = UNetConfig(channels=(8, 16), layers=1, attention_levels=1, head_width=8, condition_width=16)
    model = dataclasses.replace(toy(1).model, kind=kind, unet=small)  # type: ignore[arg-type]
    objective = ObjectiveConfig(prediction_type, **SAMPLED)  # type: ignore[arg-type]
    preview, pipeline = heard(new_module(toy(1, model=model, objective=objective)), tmp_path / "P")
    scale = np.abs(preview).max()
    np.testing.assert_allclose(made(pipeline), preview, atol=2e-5 * scale)  # sums of float32 in other batches
    pipeline.register_to_config(guidance_interval=[0.0, 1.0])  # type: ignore[no-untyped-call]
    assert np.abs(made(pipeline) - preview).max() > 1e-3 * scale


def test_where_the_config_says_nothing_a_preview_is_sampled_by_the_pipelines_defaults(tmp_path: Path) -> None:
    preview, pipeline = heard(new_module(toy(1)), tmp_path / "P")
    np.testing.assert_allclose(made(pipeline), preview, atol=1e-4)


@pytest.mark.parametrize("kind", ["adapter", "fewstep"])
def test_a_preview_of_an_adapter_is_sampled_as_the_pipeline_that_it_is_taught_on(tmp_path: Path, kind: str) -> None:
    pipeline = pipeline_of(new_module(toy(1, objective=ObjectiveConfig(flow_shift=2.0))), tmp_path / "first")
    pipeline.register_to_config(**{**SAMPLED, "guidance_rescale": 0.7})  # type: ignore[no-untyped-call]
    pipeline.set_bank(BANK)
    pipeline.save_pretrained(tmp_path / "base")
    config = adapting(1) if kind == "adapter" else distilling(1, 4, flow_shift=5.0)
    adapted = Adapted(config, ClipSonicPipeline.from_pretrained(tmp_path / "base"))
    shaken(list(adapter_weights(adapted.denoiser, ADAPTER).values()))
    data = new_module(toy(1)).lesson._data
    lesson: Any = AdapterLesson(adapted, data) if kind == "adapter" else FewstepLesson(adapted)
    module = LessonModule(config, lesson, Clock(config.run))
    preview, saved = heard(module, tmp_path / "P")
    if kind == "fewstep":
        saved.set_few_steps(4)
    np.testing.assert_allclose(made(saved), preview, atol=0.01)  # the adapter is saved in float16: 1e-3 measured
    plain = ClipSonicPipeline.from_pretrained(tmp_path / "base")
    plain.set_progress_bar_config(disable=True)
    assert np.abs(made(plain) - preview).max() > 0.1


def test_the_teacher_of_few_steps_is_guided_as_its_pipeline_is(tmp_path: Path) -> None:
    pipeline = pipeline_of(new_module(toy(1)), tmp_path / "first")
    pipeline.register_to_config(**{**SAMPLED, "guidance_rescale": 0.7, "num_inference_steps": 8})  # type: ignore[no-untyped-call]
    pipeline.set_bank(BANK)
    pipeline.save_pretrained(tmp_path / "base")
    config = distilling(1, 4, teacher_guidance=None)
    lesson = FewstepLesson(Adapted(config, ClipSonicPipeline.from_pretrained(tmp_path / "base")))
    noise = torch.randn(1, 16, 32, generator=torch_generator(0, "test.teacher"))
    condition = global_condition(torch.eye(WIDTH)[:1])
    ends = lesson.adapted.sound.from_model_space(lesson.teacher_path(noise, condition)[-1])
    again = ClipSonicPipeline.from_pretrained(tmp_path / "base")
    again.set_progress_bar_config(disable=True)
    generator = torch_generator(0, "test.teacher")
    mel = again(embeds=np.eye(WIDTH, dtype=np.float32)[0], generator=generator, output_type="mel").mels[0]
    np.testing.assert_allclose(ends[0].numpy(), mel, atol=1e-4)
