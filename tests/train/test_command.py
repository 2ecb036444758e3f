"""The command's options: presets, overlays, overrides, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from clipsonic.diffusion.sampling import Guidance, num_evaluations
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import UsageError
from clipsonic.resources import bundled_root
from clipsonic.train.command import build_parser, config_of, load_config
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.lessons.denoiser import make_denoiser

CONFIGS = sorted((bundled_root() / "configs").glob("*.yaml"))
NEEDED = ["--corpus", "C", "--out", "O"]


def parse(*words: str) -> TrainConfig:
    return config_of(build_parser("clipsonic train").parse_args([*NEEDED, *words]))


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def num_parameters(config: TrainConfig) -> float:
    segment = config.segment.spec(768, "toy/1")
    with torch.device("meta"):
        network = make_denoiser(config.model, config.objective.prediction_type, segment, 0)
    return sum(weight.numel() for weight in network.parameters()) / 1e6


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_opens_with_its_question_and_builds_its_model(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "?" in first
    assert num_parameters(load_config(path)) > 0


@pytest.mark.parametrize(("name", "low", "high", "seconds"), [
    ("tiny", 4, 10, 4.096), ("base", 120, 160, 9.92), ("clipsonic", 135, 150, 9.728),
])  # fmt: skip
def test_a_preset_has_the_size_and_length_it_promises(name: str, low: float, high: float, seconds: float) -> None:
    config = load_config(name)
    assert low <= num_parameters(config) <= high
    assert config.segment.spec(768, "toy/1").seconds == pytest.approx(seconds)


def test_nine_of_the_sixteen_steps_of_base_are_guided() -> None:
    sampling = load_config("base").objective.sampling
    assert sampling == {"num_inference_steps": 16, "guidance_scale": 2.0, "guidance_interval": (0.5, 1.0)}
    assert load_config("tiny").objective.sampling == {}
    scheduler = make_scheduler("flow", flow_shift=load_config("base").objective.flow_shift)
    guidance = Guidance(sampling["guidance_scale"], sampling["guidance_interval"])
    assert num_evaluations(scheduler, 16, guidance) == 7 + 2 * 9


@pytest.mark.parametrize("interval", ["[0.6, 0.5]", "[0.5, 1.5]"])
def test_a_guidance_interval_that_is_none_is_refused(interval: str) -> None:
    with pytest.raises(UsageError, match=r"guidance_interval .* two rising times from 0 to 1"):
        parse("--objective.guidance_interval", interval)


def test_the_defaults_are_those_of_tiny() -> None:
    assert parse() == load_config("tiny")


def test_overlays_merge_key_by_key_and_the_later_one_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "optim: {lr: 0.5, batch_size: 3}\nmodel: {dit: {width: 64}}\n")
    second = write(tmp_path / "b.yaml", "optim: {lr: 0.25}\nmodel: {kind: unet}\n")
    config = load_config("tiny", first, second)
    assert (config.optim.lr, config.optim.batch_size, config.model.kind) == (0.25, 3, "unet")
    assert config.model.dit.width == 64
    assert config.segment == load_config("tiny").segment
    assert load_config("tiny", "short").segment.num_mel_frames == 160


@pytest.mark.parametrize("lesson", ["tiny", "clip", "prior", "vocoder", "judge"])
@pytest.mark.parametrize("overlay", ["memory", "several_gpus", "several_nodes", "fsdp", "smoke"])
def test_an_overlay_goes_with_a_lesson_or_is_refused_in_a_sentence(lesson: str, overlay: str) -> None:
    if overlay == "fsdp" and lesson not in ("tiny", "prior"):
        with pytest.raises(UsageError, match=rf"run\.strategy fsdp must be auto or ddp: {lesson} is small enough"):
            load_config(lesson, overlay)
    else:
        assert load_config(lesson, overlay).learn == ("sound" if lesson == "tiny" else lesson)


def test_an_option_wins_over_files_wherever_it_stands(tmp_path: Path) -> None:
    overlay = write(tmp_path / "a.yaml", "optim: {lr: 0.5}\n")
    for words in (["--optim.lr", "1e-4", "--config", overlay], ["--config=" + overlay, "--optim.lr=1e-4"]):
        assert parse(*words).optim.lr == 1e-4
    assert parse("--max-steps", "7", "--max-minutes", "0.5").run.max_steps == 7


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--optim.lrr", "1"], "--optim.lrr"),
        (["--segment.sample_rat", "1"], "--segment.sample_rat"),
        (["--max-step", "3"], "--max-step"),
        (["--optim.lr", "fast"], "optim.lr"),
        (["--optim.lr", "-1"], "optim.lr -1.0 must be above 0"),
        (["--model.kind", "gan"], "model.kind"),
        (["--model.dit.width", "30", "--model.dit.heads", "4"], "model.dit.width 30"),
        (["--max-minutes", "0"], "run.max_minutes 0.0 must be above 0"),
        (["--config", "tinyy"], "'tinyy'"),
        (["--config"], "--config needs a value"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence_that_names_it(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(*words)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("lesson", "words", "sentence"), [
    ("sound", {"pairs": ("P",)}, "--pairs is not read by sound, which learns from --corpus"),
    ("prior", {"corpora": ("C",)}, "--corpus is not read by prior, which learns from --pairs and --val-pairs"),
    ("judge", {"recordings": "R"}, "--recordings is not read by judge, which learns from what it renders itself"),
])  # fmt: skip
def test_data_that_a_lesson_does_not_read_is_refused(lesson: str, words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Sources(**words).check(lesson)
    Sources(**words).check("my_lessons:mine")


def test_an_unknown_key_in_a_file_is_refused_by_name(tmp_path: Path) -> None:
    for text, key in (("optim: {lrr: 1}\n", "lrr"), ("optimizer: {lr: 1}\n", "optimizer")):
        with pytest.raises(UsageError, match=key):
            parse("--config", write(tmp_path / "x.yaml", text))


def test_a_config_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        parse("--config", write(tmp_path / "x.yaml", "optim: [1\n"))


def test_the_parser_needs_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from clipsonic.train.command import load_config; load_config('tiny', 'short')\n"
        "print([name for name in ('torch', 'lightning', 'numpy', 'diffusers') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
