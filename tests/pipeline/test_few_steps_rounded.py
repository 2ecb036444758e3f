"""Few steps of a pipeline whose weights are in another type: they are those of the weights, however they came there."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from makers_low_rank import make_adapter, make_pipeline, mels
from safetensors.torch import save_file

from clipsonic.errors import CheckpointError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import FEW_STEPS
from clipsonic.pipeline.adapters import ROUNDED_FILE


@pytest.fixture
def pipeline() -> ClipSonicPipeline:
    return make_pipeline()


@pytest.fixture
def few(pipeline: ClipSonicPipeline, tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "quick", pipeline, seed=2, steps=4)


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
