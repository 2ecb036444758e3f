"""Whole sessions that train an adapter on a toy pipeline: what learns, what stays, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers_adapters import WIDTH, adapting, distilling, tones, toy
from safetensors.torch import load_file

from clipsonic.audio.mel import LogMel
from clipsonic.errors import CheckpointError, SpecError, UsageError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.shards.crops import as_float
from clipsonic.shards.loader import SegmentLoader
from clipsonic.train.config import ModelConfig, ObjectiveConfig, UNetConfig
from clipsonic.train.engine.callbacks import Bar
from clipsonic.train.run import train


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows four tones."""
    folder = tmp_path_factory.mktemp("base")
    train(toy(150), tones(folder / "corpus", [150.0, 300.0, 500.0, 700.0]), folder / "P")
    return folder / "P"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tones that it does not know, seen on two pictures that it does not know."""
    return tones(tmp_path_factory.mktemp("others"), [1000.0, 1300.0], first=4)


@pytest.fixture(scope="module")
def adapted(base: Path, others: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "P"
    train(adapting(100, keep=4.0), others, out, init=str(base))
    return out


def mels(pipeline: ClipSonicPipeline, places: range) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    embeds = np.eye(WIDTH, dtype=np.float32)[list(places)]
    made: np.ndarray = pipeline(embeds=embeds, num_inference_steps=8, guidance_scale=1.0, output_type="mel").mels
    return made


def off_the_truth(pipeline: ClipSonicPipeline, corpus: Path) -> float:
    """Mean absolute log-mel difference of what is made for each video to its own sound."""
    loader = SegmentLoader(corpus, pipeline.segment, 2, 0, random_crop=False)
    batch = next(iter(loader.one_pass()))
    truth = LogMel(pipeline.segment.mel)(as_float(batch["wave"])).numpy()
    made = pipeline(embeds=batch["frames"].numpy(), num_inference_steps=8, guidance_scale=1.0, output_type="mel").mels
    return float(np.abs(made - truth).mean())


def test_an_adapter_makes_new_sounds_and_keeps_the_old_ones_while_the_network_stays(
    base: Path, others: Path, adapted: Path
) -> None:
    before, after = ClipSonicPipeline.from_pretrained(base), ClipSonicPipeline.from_pretrained(adapted)
    far = [off_the_truth(pipeline, others) for pipeline in (before, after)]
    moved = float(np.abs(mels(after, range(4)) - mels(before, range(4))).mean())
    print(f"off the new sounds {far[0]:.2f} before, {far[1]:.2f} after; the old ones moved by {moved:.2f}")
    assert far[1] < 0.9 * far[0]  # 3.73 to 2.94 measured
    assert moved < 0.8 * (far[0] - far[1])  # 0.40
    weights = [load_file(next((folder / "denoiser").glob("*.safetensors"))) for folder in (base, adapted)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    after.unload_adapter()
    np.testing.assert_array_equal(mels(after, range(4)), mels(before, range(4)))


def test_without_keeping_the_old_sounds_move_more(base: Path, others: Path, adapted: Path, tmp_path: Path) -> None:
    train(adapting(100), others, tmp_path / "P", init=str(base))
    before = mels(ClipSonicPipeline.from_pretrained(base), range(4))
    moved = [
        float(np.abs(mels(ClipSonicPipeline.from_pretrained(folder), range(4)) - before).mean())
        for folder in (adapted, tmp_path / "P")
    ]
    print(f"the old sounds moved by {moved[0]:.2f} kept, {moved[1]:.2f} not kept")
    assert moved[0] < 0.7 * moved[1]


def test_a_merged_adapter_sounds_like_one_that_lies_beside_the_network(
    base: Path, others: Path, adapted: Path, tmp_path: Path
) -> None:
    train(adapting(100, keep=4.0, merge=True), others, tmp_path / "P", init=str(base))
    assert not (tmp_path / "P" / "adapter").exists()
    merged = mels(ClipSonicPipeline.from_pretrained(tmp_path / "P"), range(6))
    # the one beside it is rounded to float16: 3e-3 measured on log-mels
    np.testing.assert_allclose(merged, mels(ClipSonicPipeline.from_pretrained(adapted), range(6)), atol=3e-2)


def test_the_pipeline_knows_the_pictures_of_both_corpora(base: Path, adapted: Path) -> None:
    before, after = (ClipSonicPipeline.from_pretrained(folder).bank for folder in (base, adapted))
    assert before is not None
    assert after is not None
    assert len(after.images) > len(before.images)
    assert json.loads((adapted / "training.json").read_text())["config"]["adapter"]["rank"] == 4


@pytest.mark.parametrize("kind", ["adapter", "distill"])
def test_a_broken_and_resumed_run_equals_the_unbroken_one_bit_for_bit(
    base: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = adapting(12, keep=1.0) if kind == "adapter" else distilling(12, 4)
    train(config, others, tmp_path / "whole", init=str(base))
    unchanged = Bar.on_step

    def broken(self: Bar, trainer: Any, module: Any, now: int) -> None:
        unchanged(self, trainer, module, now)
        if now == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Bar, "on_step", broken)
        with pytest.raises(KeyboardInterrupt):
            train(config, others, tmp_path / "broken", init=str(base))
    train(config, others, tmp_path / "broken", init=str(base))
    name = "adapter" if kind == "adapter" else "fewstep"
    files = sorted(path.name for path in (tmp_path / "whole" / name).iterdir())
    assert "adapter.safetensors" in files
    for file in files:
        whole, again = (tmp_path / run / name / file for run in ("whole", "broken"))
        assert whole.read_bytes() == again.read_bytes(), file
    with pytest.raises(UsageError, match="name it with --init"):
        train(config, others, tmp_path / "broken")
    other = dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, rank=2, alpha=2.0))
    with pytest.raises(CheckpointError, match=r"adapter\.rank is 4 there and 2 now"):
        train(other, others, tmp_path / "broken", init=str(base))


def test_a_run_may_begin_with_another_runs_adapter(base: Path, others: Path, adapted: Path, tmp_path: Path) -> None:
    train(adapting(1, lr=1e-9, start=str(adapted)), others, tmp_path / "on", init=str(base))
    one, two = (load_file(folder / "adapter" / "adapter.safetensors") for folder in (adapted, tmp_path / "on"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-6, rtol=0)  # float16 there and back
    with pytest.raises(UsageError, match=r"adapter\.start .* is of LowRank\(rank=4"):
        train(adapting(1, 2, start=str(adapted)), others, tmp_path / "other", init=str(base))


def test_an_adapted_pipeline_may_be_trained_on_with_what_its_adapter_says_in_its_network(
    others: Path, adapted: Path, tmp_path: Path
) -> None:
    before = mels(ClipSonicPipeline.from_pretrained(adapted), range(6))
    for name, config in (("whole", toy(1, 1e-9)), ("adapter", adapting(1, lr=1e-9))):
        train(config, others, tmp_path / name, init=str(adapted))
        after = mels(ClipSonicPipeline.from_pretrained(tmp_path / name), range(6))
        np.testing.assert_allclose(after, before, atol=1e-3)  # float32 sums in another order: 4e-5 measured


def test_an_adapter_of_the_unet_trains_too(others: Path, tmp_path: Path) -> None:
    small = UNetConfig(channels=(8, 16), layers=1, attention_levels=1, head_width=8, condition_width=16)
    changes: dict[str, Any] = {"model": ModelConfig("unet", unet=small), "objective": ObjectiveConfig("epsilon")}
    train(toy(3, **changes), others, tmp_path / "base")
    train(dataclasses.replace(adapting(3, keep=1.0), **changes), others, tmp_path / "on", init=str(tmp_path / "base"))
    assert (tmp_path / "on" / "adapter" / "adapter.safetensors").is_file()
    assert np.isfinite(mels(ClipSonicPipeline.from_pretrained(tmp_path / "on"), range(2))).all()


def test_an_adapter_needs_a_pipeline_of_its_own_network(base: Path, others: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"adapter\.rank 4 trains an adapter on a pipeline: name it with --init"):
        train(adapting(1), others, tmp_path / "out")
    larger = dataclasses.replace(adapting(1), model=ModelConfig(dit=dataclasses.replace(toy(1).model.dit, width=64)))
    with pytest.raises(SpecError, match=r"is another model \(width is 32 there and 64 now\)"):
        train(larger, others, tmp_path / "out", init=str(base))
    pipeline = ClipSonicPipeline.from_pretrained(base)
    pipeline._loaded._bank = None
    pipeline.save_pretrained(tmp_path / "no-bank")
    (tmp_path / "no-bank" / "bank" / "bank_config.json").unlink(missing_ok=True)
    for file in (tmp_path / "no-bank" / "bank").glob("*"):
        file.unlink()
    (tmp_path / "no-bank" / "bank").rmdir()
    with pytest.raises(UsageError, match=r"adapter\.keep and distill\.bank_share need a bank"):
        train(adapting(1, keep=1.0), others, tmp_path / "out", init=str(tmp_path / "no-bank"))
