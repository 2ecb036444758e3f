"""A pipeline folder of a stranger names classes and settings of our lists or is refused; no code in it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import makers_hostile as hostile
import pytest
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from clipsonic.cli import main
from clipsonic.errors import CheckpointError, ClipsonicError, UsageError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.folder import SCHEDULERS

INDEX, DENOISER, SCHEDULER = "model_index.json", "denoiser/config.json", "scheduler/scheduler_config.json"


@pytest.fixture
def folder(pipeline: ClipSonicPipeline, tmp_path: Path) -> Path:
    """A saved pipeline with code of a stranger in it, wherever some version of a library may look for it."""
    pipeline.save_pretrained(tmp_path / "P")
    for place in ("", "denoiser", "scheduler"):
        code = "import diffusers\nclass Strange(diffusers.DiffusionPipeline): pass"
        hostile.put_code(tmp_path / "P" / place, hostile.mark_of(tmp_path), code)
        shutil.copy(tmp_path / "P" / place / "strange.py", tmp_path / "P" / place / "pipeline.py")
    return tmp_path / "P"


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def assert_refused(folder: Path, words: str, error: type[ClipsonicError] = CheckpointError, **options: Any) -> None:
    with pytest.raises(error, match=words) as refusal:
        ClipSonicPipeline.from_pretrained(folder, **options)
    assert "\n" not in str(refusal.value)
    assert not hostile.mark_of(folder.parent).exists(), "its author's code ran"


CHANGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a pipeline of diffusers": (INDEX, {"_class_name": "AudioLDM2Pipeline"}, "names the pipeline 'AudioLDM2Pipeline'"),
    "a pipeline in a file": (INDEX, {"_class_name": ["strange", "Strange"]}, "names the pipeline .*must be ClipSonic"),
    "no pipeline": (INDEX, {"_class_name": None}, "names the pipeline None"),
    "a denoiser in a file": (INDEX, {"denoiser": ["strange", "Strange"]}, "names the classes strange.Strange"),
    "a denoiser of diffusers": (INDEX, {"denoiser": ["diffusers", "UNet2DModel"]}, "names the classes diffusers.UNet"),
    "a scheduler in a file": (INDEX, {"scheduler": ["strange", "StrangeScheduler"]}, "names the classes"),
    "a scheduler of another kind": (INDEX, {"scheduler": ["diffusers", "VQDiffusionScheduler"]}, "names the classes"),
    "a scheduler that is none": (INDEX, {"scheduler": ["diffusers", ["os", "Scheduler"]]}, "names the classes"),
    "another component": (INDEX, {"text_encoder": ["transformers", "AutoModel"]}, r"not known \(text_encoder = "),
    "a setting of another kind": (INDEX, {"clip_name": ["a", "b"]}, r"clip_name = \['a', 'b'\], it must be text"),
    "another class inside the denoiser": (DENOISER, {"_class_name": "UNet2DModel"}, "names the class 'UNet2DModel'"),
    "a map to code": (DENOISER, {"auto_map": {"AutoModel": "strange.Strange"}}, r"not known \(auto_map = "),
    "a quantiser": (DENOISER, {"quantization_config": {"quant_method": "gptq"}}, r"not known \(quantization_config"),
    "a value that is no number": (DENOISER, {"width": {"a": 1}}, "width = .*, it must be a number, a word"),
    "another class inside the scheduler": (SCHEDULER, {"_class_name": "DDIMScheduler"}, "names the class 'DDIMSch"),
    "a setting of no scheduler": (SCHEDULER, {"module": "strange"}, r"not known \(module = 'strange'\)"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_names_what_is_not_listed_is_refused_and_nothing_in_it_runs(folder: Path, change: str) -> None:
    file, values, words = CHANGES[change]
    edit(folder / file, **values)
    assert_refused(folder, words)


@pytest.mark.parametrize("file", ["../../secret.safetensors", "/secret.safetensors", "weights.bin", 3])
def test_a_list_of_weight_files_that_leads_out_or_to_a_pickle_is_refused(folder: Path, file: Any) -> None:
    listed = {"metadata": {}, "weight_map": {"encoder.project.weight": file}}
    (folder / "denoiser" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listed))
    assert_refused(folder, "lists the weight file .*it must be a .safetensors of the same folder")


def test_weights_in_several_files_still_load(pipeline: ClipSonicPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "P", max_shard_size="20KB")
    assert list((tmp_path / "P" / "denoiser").glob("*.index.json"))
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P")
    assert all(
        (value == other).all()
        for value, other in zip(loaded.denoiser.parameters(), pipeline.denoiser.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["trust_remote_code", "custom_pipeline"])
def test_code_of_a_folder_is_not_run_even_where_it_is_asked_for(folder: Path, name: str) -> None:
    value = str(folder) if name == "custom_pipeline" else True
    assert_refused(folder, f"{name} is not possible", UsageError, **{name: value})


def test_a_pipeline_whose_clip_brings_code_is_refused_when_the_clip_is_needed(folder: Path) -> None:
    mark = hostile.mark_of(folder.parent)
    tokenizer = hostile.put_tokenizer(folder.parent / "tokenizer", mark)
    trusting = {"tokenizer_kwargs": {"trust_remote_code": True}}
    hostile.put_clip(folder / "clip", hf_tokenizer_name=str(tokenizer), **trusting)
    with pytest.raises(CheckpointError, match="hf_tokenizer_name = "):
        ClipSonicPipeline.from_pretrained(folder).load_parts("text")
    assert not mark.exists()


def test_the_command_line_says_so_in_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = hostile.mark_of(folder.parent)
    tokenizer = hostile.put_tokenizer(folder.parent / "tokenizer", mark)
    trusting = {"tokenizer_kwargs": {"trust_remote_code": True}}
    hostile.put_clip(folder / "clip", hf_tokenizer_name=str(tokenizer), **trusting)
    out = folder.parent / "sound.wav"
    assert main(["generate", "--model", str(folder), "--text", "a bell", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "hf_tokenizer_name" in said
    assert "Traceback" not in said
    assert not mark.exists()
    assert not out.exists()


def test_every_listed_scheduler_is_one_of_diffusers() -> None:
    for name in SCHEDULERS:
        found = getattr(diffusers, name)
        assert issubclass(found, SchedulerMixin) or "dummy" in found.__module__, name  # an extra that is not installed


@pytest.mark.parametrize("make", [
    lambda own: diffusers.FlowMatchHeunDiscreteScheduler(shift=own["shift"]),
    lambda own: diffusers.FlowMatchHeunDiscreteScheduler.from_config(own),
    lambda own: diffusers.UniPCMultistepScheduler.from_config(
        own, use_flow_sigmas=True, prediction_type="flow_prediction"),
])  # fmt: skip
def test_a_scheduler_that_was_made_of_anothers_config_is_saved_and_loaded(
    pipeline: ClipSonicPipeline, tmp_path: Path, make: Callable[[Any], Any]
) -> None:
    pipeline.scheduler = make(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path / "P")
    loaded = ClipSonicPipeline.from_pretrained(tmp_path / "P").scheduler
    assert type(loaded) is type(pipeline.scheduler)
    assert loaded.config["num_train_timesteps"] == 1000
