"""Adapters of a pipeline: loaded, scaled, saved, unloaded, and what few steps change and refuse."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.cli import main
from clipsonic.diffusion.sampling import levels
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.models.dit import DiT1D
from clipsonic.models.lowrank import LowRank, adapter_weights, add_adapter, remove_adapter
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import FEW_STEPS, Adapter
from clipsonic.pipeline.adapters import ROUNDED_FILE
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec

WIDTH = 8
MEL = MelSpec(n_fft=512, hop_length=256, num_mels=32)


def make_pipeline(width: int = 16, seed: int = 0) -> ClipSonicPipeline:
    """Untrained, with weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = DiT1D(num_mels=32, num_mel_frames=32, patch=4, width=width, depth=1, heads=2, embed_width=WIDTH,
                         segment_seconds=0.512)  # fmt: skip
        with torch.no_grad():
            for weight in denoiser.parameters():
                weight.add_(torch.randn(weight.shape) * 0.1)
    pipeline = ClipSonicPipeline(
        denoiser.eval(), make_scheduler("flow", flow_shift=3.0), SegmentSpec(MEL, 32, WIDTH, "toy/1"),
        [-4.0] * 32, [2.0] * 32, num_inference_steps=3, guidance_scale=1.5,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_adapter(folder: Path, pipeline: ClipSonicPipeline, seed: int = 0, steps: int = 0) -> Path:
    """An adapter of that pipeline with weights everywhere."""
    shape = LowRank(2, 4.0, ("block",))
    add_adapter(pipeline.denoiser, shape, "made", seed)
    generator = torch_generator(seed, "test.adapter")
    for value in adapter_weights(pipeline.denoiser, "made").values():
        value.data.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    found = Adapter.taken_from(pipeline.denoiser, "made", shape)
    remove_adapter(pipeline.denoiser, "made")
    Adapter(found.shape, found.network, found.base, found.weights, steps=steps, flow_shift=6.0).save(folder)
    return folder


def mels(pipeline: ClipSonicPipeline, **options: Any) -> np.ndarray:
    made: np.ndarray = pipeline(embeds=np.eye(2, WIDTH, dtype=np.float32), output_type="mel", **options).mels
    return made


@pytest.fixture
def pipeline() -> ClipSonicPipeline:
    return make_pipeline()


@pytest.fixture
def adapter(pipeline: ClipSonicPipeline, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "style", pipeline, seed=1)


@pytest.fixture
def few(pipeline: ClipSonicPipeline, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "quick", pipeline, seed=2, steps=4)


# --------------------------------------------------------------- an adapter


def test_an_adapter_acts_by_its_weight_and_unloaded_leaves_what_was_bit_for_bit(
    pipeline: ClipSonicPipeline, adapter: Path
) -> None:
    before = mels(pipeline)
    far = []
    for weight in (0.0, 0.5, 1.0):
        pipeline.load_adapter(adapter, weight)
        far.append(float(np.abs(mels(pipeline) - before).mean()))
    assert far[0] == 0.0
    assert 0.0 < far[1] < far[2]
    pipeline.unload_adapter()
    np.testing.assert_array_equal(mels(pipeline), before)
    pipeline.unload_adapter()
    assert not any("lora" in name for name, _ in pipeline.denoiser.named_parameters())


def test_a_pipeline_is_saved_with_its_adapter_and_makes_the_same_again(
    pipeline: ClipSonicPipeline, adapter: Path, tmp_path: Path
) -> None:
    pipeline.load_adapter(adapter, 0.5)
    made = mels(pipeline)
    pipeline.save_pretrained(tmp_path / "P")
    np.testing.assert_array_equal(mels(pipeline), made)
    assert not any("lora" in key for key in load_file(next((tmp_path / "P" / "denoiser").glob("*.safetensors"))))
    again = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    np.testing.assert_array_equal(mels(again), made)
    assert (tmp_path / "P" / "card.md").read_text() == make_card(again)
    other = make_pipeline()
    other.load_adapter(tmp_path / "P", 0.5)  # of the pipeline in the folder
    np.testing.assert_array_equal(mels(other), made)
    again.unload_adapter()
    again.save_pretrained(tmp_path / "P")
    np.testing.assert_array_equal(mels(ClipSonicPipeline.from_pretrained(tmp_path / "P")), mels(make_pipeline()))


def make_card(pipeline: ClipSonicPipeline) -> str:
    """The card of the same pipeline without its adapter: it counts the network's own weights."""
    from clipsonic.pipeline.card import default_card

    pipeline.unload_adapter()
    card = default_card(pipeline)
    pipeline.load_adapter(str(pipeline._folder), 0.5)
    return card


def test_an_adapter_of_another_network_or_a_damaged_one_is_refused_and_leaves_the_pipeline(
    pipeline: ClipSonicPipeline, adapter: Path, tmp_path: Path
) -> None:
    before = mels(pipeline)
    stranger = make_adapter(tmp_path / "stranger", make_pipeline(width=32))
    with pytest.raises(CheckpointError, match="is for another network \\(width is 32 there and 16 here\\)") as refused:
        pipeline.load_adapter(stranger)
    assert str(refused.value).count(". ") == 0
    with pytest.raises(UsageError, match="nothing does not exist: give what clipsonic train --config adapter wrote"):
        pipeline.load_adapter(tmp_path / "nothing")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "rank": 3}))
    with pytest.raises(CheckpointError, match="do not fit their config"):
        pipeline.load_adapter(adapter)
    (adapter / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        pipeline.load_adapter(adapter)
    np.testing.assert_array_equal(mels(pipeline), before)
    assert not any("lora" in name for name, _ in pipeline.denoiser.named_parameters())


# --------------------------------------------------------------- few steps


def test_few_steps_use_their_own_levels_no_guidance_and_as_many_calls(pipeline: ClipSonicPipeline, few: Path) -> None:
    before, calls = mels(pipeline), []
    pipeline.denoiser.register_forward_hook(lambda _, given, out: calls.append((len(given[0]), given[1][0].item())))
    pipeline.load_few_steps(few)
    for steps in (4, 1):
        calls.clear()
        pipeline.set_few_steps(steps)
        assert (pipeline.few_steps, pipeline.default_steps, pipeline.default_guidance) == (steps, steps, 1.0)
        assert np.abs(mels(pipeline) - before).mean() > 0.01
        times = 1000.0 * levels(make_scheduler("flow", flow_shift=6.0), steps)[:-1]
        assert [count for count, _ in calls] == [2] * steps  # two sounds, and no second half for guidance
        np.testing.assert_allclose([time for _, time in calls], times, rtol=1e-5)
    pipeline.set_few_steps(None)
    assert (pipeline.default_steps, pipeline.default_guidance) == (3, 1.5)
    np.testing.assert_array_equal(mels(pipeline), before)


def test_few_steps_are_saved_with_the_pipeline_and_not_with_other_weights(
    pipeline: ClipSonicPipeline, few: Path, tmp_path: Path
) -> None:
    pipeline.load_few_steps(few)
    pipeline.save_pretrained(tmp_path / "P")
    again = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert again.few_steps is None
    for one in (pipeline, again):
        one.set_few_steps(2)
    np.testing.assert_array_equal(mels(pipeline), mels(again))
    ClipSonicPipeline.from_pretrained(tmp_path / "P").save_pretrained(tmp_path / "copy")  # never asked for
    assert sorted(path.name for path in (tmp_path / "copy" / FEW_STEPS).iterdir()) == sorted(
        path.name for path in (tmp_path / "P" / FEW_STEPS).iterdir()
    )
    other = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    with torch.no_grad():
        next(other.denoiser.parameters()).add_(0.1)
    with pytest.warns(UserWarning, match="few-step adapter is not saved, the denoiser's weights are no longer those"):
        other.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other" / FEW_STEPS).exists()
    with pytest.raises(CheckpointError, match="was not trained on this denoiser's weights"):
        other.set_few_steps(2)


def test_few_steps_and_an_adapter_act_together(pipeline: ClipSonicPipeline, adapter: Path, few: Path) -> None:
    pipeline.load_few_steps(few)
    pipeline.set_few_steps(4)
    alone = mels(pipeline)
    pipeline.load_adapter(adapter)
    both = mels(pipeline)
    assert np.abs(both - alone).mean() > 0.01
    pipeline.unload_adapter()
    np.testing.assert_array_equal(mels(pipeline), alone)


def test_few_steps_that_cannot_be_are_refused(
    pipeline: ClipSonicPipeline, adapter: Path, few: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has no few-step adapter: train one with --config adapter --config fewstep"):
        pipeline.set_few_steps(4)
    with pytest.raises(UsageError, match="is not for few steps: load it with load_adapter"):
        pipeline.load_few_steps(adapter)
    with pytest.raises(UsageError, match="is for few steps: load it with load_few_steps"):
        pipeline.load_adapter(few)
    with pytest.raises(CheckpointError, match="was not trained on this denoiser's weights"):
        make_pipeline(seed=1).load_few_steps(few)
    pipeline.load_few_steps(few)
    for steps in (0, 5):
        with pytest.raises(UsageError, match=f"few steps {steps} must be a whole number from 1 to 4"):
            pipeline.set_few_steps(steps)


# --------------------------------------------------------------- few steps of weights in another type


def rounded(folder: Path, how: str, type_: torch.dtype) -> ClipSonicPipeline:
    """The pipeline of a folder with its weights in this type, by one of the ways there are."""
    if how == "loaded so":
        return quiet(ClipSonicPipeline.from_pretrained(folder, torch_dtype=type_))
    if how == "by plain diffusers":
        return quiet(DiffusionPipeline.from_pretrained(str(folder)).to(type_))
    pipeline = quiet(ClipSonicPipeline.from_pretrained(folder))
    if how == "with few steps on":
        pipeline.set_few_steps(1)
    if how == "network alone":
        pipeline.denoiser.to(type_)
        return pipeline
    if how == "there and back":
        return pipeline.to(type_).to(torch.float32)
    if how == "by way of another":
        return pipeline.to(torch.float16 if type_ == torch.bfloat16 else torch.bfloat16).to(type_)
    return pipeline.to("cpu", type_)


def quiet(pipeline: ClipSonicPipeline) -> ClipSonicPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def folder(pipeline: ClipSonicPipeline, few: Path, tmp_path: Path) -> Path:
    """A pipeline with few steps of its own."""
    pipeline.load_few_steps(few)
    pipeline.save_pretrained(tmp_path / "P")
    return tmp_path / "P"


WAYS = ["moved", "loaded so", "by plain diffusers", "with few steps on", "network alone", "there and back",
        "by way of another"]  # fmt: skip


@pytest.mark.parametrize("type_", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", WAYS)
def test_few_steps_are_those_of_the_weights_in_whatever_type_and_saved_loaded_and_copied(
    pipeline: ClipSonicPipeline, folder: Path, few: Path, tmp_path: Path, how: str, type_: torch.dtype
) -> None:
    pipeline.set_few_steps(4)
    exact = mels(pipeline)
    one = rounded(folder, how, type_)
    one.set_few_steps(4)
    np.testing.assert_allclose(mels(one), exact, atol=0.3)  # bfloat16: 0.04 measured, float16: 0.004
    one.load_few_steps(few)  # the same, from where it was trained
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        one.save_pretrained(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "copy")
    shutil.rmtree(tmp_path / "saved")
    for again in (ClipSonicPipeline.from_pretrained(tmp_path / "copy"), rounded(tmp_path / "copy", "loaded so", type_)):
        quiet(again).set_few_steps(4)
        np.testing.assert_allclose(mels(again), exact, atol=0.3)
        again.load_few_steps(few)
    whole = ClipSonicPipeline.from_pretrained(folder)
    whole.load_few_steps(tmp_path / "copy")  # what the rounded ones were saved with is that of the exact ones too


def test_few_steps_fit_a_pipeline_that_was_made_in_memory_and_moved_to_bfloat16(
    pipeline: ClipSonicPipeline, few: Path, tmp_path: Path
) -> None:
    pipeline.to(torch.bfloat16)
    pipeline.load_few_steps(few)
    pipeline.save_pretrained(tmp_path / "P")
    again = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    again.set_few_steps(2)
    assert again.default_steps == 2


@pytest.mark.parametrize("how", ["moved", "loaded so", "network alone"])
def test_weights_that_were_changed_are_others_in_whatever_type(
    pipeline: ClipSonicPipeline, folder: Path, few: Path, tmp_path: Path, how: str
) -> None:
    one = rounded(folder, how, torch.bfloat16)
    with torch.no_grad():
        next(one.denoiser.parameters())[0].add_(0.1)
    with pytest.raises(CheckpointError, match="was not trained on this denoiser's weights"):
        one.set_few_steps(2)
    with pytest.warns(UserWarning, match="the few-step adapter is not saved"):
        one.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other" / FEW_STEPS).exists()
    again = ClipSonicPipeline.from_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="was not trained on this denoiser's weights"):
        again.load_few_steps(few)
    swapped = next((folder / "denoiser").glob("*.safetensors"))  # other weights in a folder that was saved rounded
    rounded(folder, how, torch.bfloat16).save_pretrained(tmp_path / "saved")
    save_file(make_pipeline(seed=1).denoiser.state_dict(), tmp_path / "saved" / "denoiser" / swapped.name)
    with pytest.raises(CheckpointError, match="was not trained on this denoiser's weights"):
        ClipSonicPipeline.from_pretrained(tmp_path / "saved").set_few_steps(2)


def test_few_steps_work_on_a_compiled_network(folder: Path, pipeline: ClipSonicPipeline) -> None:
    one = quiet(ClipSonicPipeline.from_pretrained(folder))
    one.denoiser = torch.compile(one.denoiser, backend="eager")
    one.set_few_steps(4)
    pipeline.set_few_steps(4)
    np.testing.assert_allclose(mels(one), mels(pipeline), atol=1e-5)


def test_a_folder_saved_into_again_keeps_no_few_steps_of_other_weights(
    folder: Path, pipeline: ClipSonicPipeline
) -> None:
    make_pipeline().save_pretrained(folder)  # the same weights: what lies there still fits
    assert (folder / FEW_STEPS).is_dir()
    make_pipeline(seed=1).save_pretrained(folder)
    assert not (folder / FEW_STEPS).exists()
    rounded_file = folder / ROUNDED_FILE
    pipeline.to(torch.bfloat16)
    pipeline.save_pretrained(folder)
    assert rounded_file.is_file()
    make_pipeline().save_pretrained(folder)
    assert not rounded_file.exists()
    rounded_file.write_text("[]")
    with pytest.raises(CheckpointError, match=r"is damaged .*: bring the file again, or remove it"):
        ClipSonicPipeline.from_pretrained(folder).load_few_steps(folder)


def test_a_part_that_cannot_be_saved_is_said(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    pipeline.vocoder = GriffinLim(pipeline.segment.mel)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pipeline.save_pretrained(tmp_path / "same")  # without a folder it is what is used anyway
    Vocos(n_fft=512, num_mels=32, width=8, hidden=8, depth=1).save_pretrained(tmp_path / "same" / "vocoder")
    again = ClipSonicPipeline.from_pretrained(tmp_path / "same")
    again.set_vocoder("griffin-lim")
    with pytest.warns(UserWarning, match="vocoder is not saved, a GriffinLim has no folder of its own: give it again"):
        again.save_pretrained(tmp_path / "again")


# --------------------------------------------------------------- the command line


def test_the_commands_make_sounds_in_few_steps_and_refuse_what_has_no_meaning(
    pipeline: ClipSonicPipeline, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.save_pretrained(tmp_path / "plain")
    pipeline.load_few_steps(few)
    pipeline.save_pretrained(tmp_path / "P")
    np.save(tmp_path / "e.npy", np.eye(WIDTH, dtype=np.float32)[0])
    made = ["generate", "--embeds", str(tmp_path / "e.npy"), "--out", str(tmp_path / "a.wav"), "--few-steps"]
    assert main([*made, "--model", str(tmp_path / "P")]) == 0
    four = (tmp_path / "a.wav").read_bytes()
    assert main([*made, "1", "--model", str(tmp_path / "P")]) == 0
    assert (tmp_path / "a.wav").read_bytes() != four
    assert main([*made, "4", "--model", str(tmp_path / "P")]) == 0
    assert (tmp_path / "a.wav").read_bytes() == four
    capsys.readouterr()
    judged = ["evaluate", "--corpus", str(tmp_path), "--out", str(tmp_path / "r"), "--model", "tiny", "--few-steps"]
    for words, sentence in (
        ([*made, "5"], "--few-steps 5 must be a whole number from 1 to 4"),
        ([*made, "2", "--steps", "9"], "--few-steps and --steps 9 both say how many steps: leave one of them out"),
        ([*judged, "0"], "--few-steps 0 must be a whole number from 1 to 4"),
        ([*judged, "--steps", "3"], "--few-steps and --steps 3 both say how many steps"),
        ([*made, "--model", str(tmp_path / "plain")], "the pipeline has no few-step adapter"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


def test_an_edit_is_made_with_the_adapter_and_in_as_many_calls_as_few_steps_are(tmp_path: Path) -> None:
    pipeline = make_pipeline()
    pipeline.vocoder = GriffinLim(MEL, num_iterations=1)
    folders = [make_adapter(tmp_path / name, pipeline, steps=steps) for name, steps in (("own", 0), ("few", 2))]
    given = np.sin(np.arange(8192) * 0.2) * 0.3
    calls: list[int] = []
    pipeline.denoiser.register_forward_hook(lambda *_: calls.append(1))

    def edited() -> Any:
        calls.clear()
        return pipeline.edit(given, 16000, embeds=np.eye(WIDTH)[0], remake=[(0.2, 0.3)]).mels

    plain = edited()
    assert len(calls) == 3
    pipeline.load_adapter(folders[0])
    assert np.abs(edited() - plain).max() > 0.01
    pipeline.unload_adapter()
    pipeline.load_few_steps(folders[1])
    pipeline.set_few_steps(2)
    few = edited()
    assert len(calls) == 2
    assert np.abs(few - plain).max() > 0.01
    pipeline.set_few_steps(None)
    assert np.array_equal(edited(), plain)
