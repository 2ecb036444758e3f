"""Adapters of a pipeline: loaded, scaled, saved, unloaded, and what few steps change and refuse."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers_low_rank import MEL, WIDTH, make_adapter, make_pipeline, mels
from safetensors.torch import load_file

from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.cli import main
from clipsonic.diffusion.sampling import levels
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import FEW_STEPS


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
