"""What makes few steps do: the teacher's path, the grid, and that the pupil ends nearer to where the teacher ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from makers_adapters import WIDTH, distilling, tones, toy

from clipsonic.diffusion.sampling import Guidance, initial_noise, levels, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import global_condition
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.seeding import torch_generator
from clipsonic.train.config import ObjectiveConfig, TrainConfig
from clipsonic.train.lessons.adapted import Adapted
from clipsonic.train.lessons.configs import AdapterConfig, DistillConfig
from clipsonic.train.lessons.fewstep import FewstepLesson, velocity
from clipsonic.train.run import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("corpus"), [150.0, 300.0, 500.0, 700.0, 900.0, 1100.0, 1300.0, 1500.0])


@pytest.fixture(scope="module")
def base(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base") / "P"
    train(toy(300), corpus, out)
    return out


@pytest.fixture(scope="module")
def taught(corpus: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "P"
    train(distilling(150), corpus, out, init=str(base))
    return out


def test_the_levels_of_the_few_steps_are_among_those_of_the_teacher() -> None:
    scheduler = make_scheduler("flow", flow_shift=3.0)
    few, many = levels(scheduler, 4), levels(scheduler, 12)
    assert few[0] == 1.0
    assert few[-1] == 0.0
    torch.testing.assert_close(few, many[::3], atol=1e-6, rtol=0)  # float32


def test_the_teachers_path_ends_where_the_pipeline_ends_and_its_first_jump_is_the_velocity(base: Path) -> None:
    pipeline = ClipSonicPipeline.from_pretrained(base)
    config = distilling(1, flow_shift=2.0)
    module = FewstepLesson(Adapted(config, pipeline))
    condition = global_condition(torch.eye(WIDTH)[:3])
    noise_BMF = initial_noise((16, 32), [torch_generator(item, "test") for item in range(3)])
    path_KBMF = module.teacher_path(noise_BMF, condition)
    alone = ClipSonicPipeline.from_pretrained(base).denoiser
    ends_BMF = sample(
        guided_in_one_batch(alone, condition, condition.null_like(), Guidance(1.5)),
        make_scheduler("flow", flow_shift=2.0),
        noise_BMF, 8,
    )  # fmt: skip
    assert path_KBMF.shape == (5, 3, 16, 32)
    assert torch.equal(path_KBMF[0], noise_BMF)
    assert torch.equal(path_KBMF[-1], ends_BMF)
    t_K = levels(make_scheduler("flow", flow_shift=2.0), 4)
    v_BMF = velocity(path_KBMF[0], path_KBMF[-1], t_K[:1].expand(3), t_K[-1:].expand(3))
    torch.testing.assert_close(noise_BMF - v_BMF, ends_BMF, atol=1e-5, rtol=0)  # x1 - v = x0; float32


def test_a_taught_pupil_ends_nearer_to_the_teacher_than_the_network_in_four_calls_and_in_one(
    base: Path, taught: Path
) -> None:
    before, after = ClipSonicPipeline.from_pretrained(base), ClipSonicPipeline.from_pretrained(taught)
    embeds = np.eye(WIDTH, dtype=np.float32)

    def made(pipeline: ClipSonicPipeline, steps: int | None, scale: float | None) -> np.ndarray:
        pipeline.set_progress_bar_config(disable=True)
        mels: np.ndarray = pipeline(
            embeds=embeds, num_inference_steps=steps, guidance_scale=scale, seed=7, output_type="mel"
        ).mels
        return mels

    teacher = made(before, 8, 1.5)
    for calls in (1, 4):
        after.set_few_steps(calls)
        without, pupil = made(before, calls, 1.0), made(after, None, None)
        far = [float(np.abs(mels - teacher).mean()) for mels in (without, pupil)]
        print(f"{calls} calls: {far[0]:.3f} off the teacher before, {far[1]:.3f} after")
        assert far[1] < 0.8 * far[0]
    after.set_few_steps(None)
    np.testing.assert_array_equal(made(after, 8, 1.5), teacher)


def test_what_is_saved_says_its_steps_and_leaves_the_pipelines_parts(base: Path, taught: Path) -> None:
    assert sorted(path.name for path in (taught / "fewstep").iterdir()) == [
        "adapter.safetensors", "adapter_config.json", "sampling.json",
    ]  # fmt: skip
    assert '"num_inference_steps": 4' in (taught / "fewstep" / "sampling.json").read_text()
    bank = Path("bank") / "bank.safetensors"
    assert (taught / bank).read_bytes() == (base / bank).read_bytes()


@pytest.mark.parametrize(("words", "sentence"), [
    ({"distill": DistillConfig(steps=4)}, r"adapter\.rank 0 must be above 0 for distill\.steps"),
    ({"distill": DistillConfig(steps=4), "adapter": AdapterConfig(4, keep=1.0)}, r"adapter\.keep 1\.0 must be 0"),
    ({"distill": DistillConfig(steps=4), "adapter": AdapterConfig(4, merge=True)}, r"adapter\.merge True must be"),
    ({"distill": DistillConfig(steps=4), "adapter": AdapterConfig(4), "objective": ObjectiveConfig("epsilon")},
     r"objective\.prediction_type epsilon must be flow"),
])  # fmt: skip
def test_what_has_no_meaning_together_is_refused(words: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        TrainConfig(**words)  # type: ignore[arg-type]


@pytest.mark.parametrize(("words", "sentence"), [
    ({"steps": 3}, r"distill\.teacher_steps 8 must be a multiple of the 3 steps"),
    ({"steps": 2, "whole_share": 1.5}, r"distill\.whole_share 1\.5 must be from 0 to 1"),
    ({"steps": 2, "flow_shift": 0.0}, r"distill\.flow_shift 0\.0 must be above 0"),
])  # fmt: skip
def test_a_number_out_of_its_range_is_refused(words: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DistillConfig(**words)  # type: ignore[arg-type]
