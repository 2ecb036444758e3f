"""Whole training sessions of a toy network: resuming, refusals, small corpora, and what is left at the end."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers_train import (
    RATE_HZ,
    SEGMENT,
    WIDTH,
    assert_same,
    assert_same_run,
    make_corpus,
    make_record,
    newest,
    tone,
    tones,
    toy,
)  # fmt: skip
from safetensors.torch import load_file

from clipsonic.audio.mel import LogMel
from clipsonic.errors import CheckpointError, SpecError, TrainingError, UsageError
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.shards.crops import as_float
from clipsonic.shards.loader import SegmentLoader
from clipsonic.train.config import (
    ConditionConfig,
    DataConfig,
    EmaConfig,
    ModelConfig,
    ObjectiveConfig,
    UNetConfig,
)
from clipsonic.train.engine.callbacks import Bar
from clipsonic.train.engine.checkpoint_files import CheckpointFiles
from clipsonic.train.engine.logbook import read_history
from clipsonic.train.engine.module import STATE_KEY, LessonModule
from clipsonic.train.lessons.denoiser import make_denoiser
from clipsonic.train.run import train
from clipsonic.train.streams.records import open_data


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("corpus"), 43)


@pytest.fixture(scope="module")
def unbroken(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of 20 steps without a break, by accumulation: 43 records in batches of 4 cross an epoch border."""
    outs = {accumulate: tmp_path_factory.mktemp(f"unbroken{accumulate}") for accumulate in (1, 2)}
    for accumulate, out in outs.items():
        train(toy(accumulate=accumulate), corpus, out)
    return outs


LOSSES = {3: 1.638183, 6: 1.573104, 9: 1.531913, 12: 1.599015, 15: 1.489549, 18: 1.488569, 20: 1.392607}
VAL_LOSSES = {10: 1.359412, 20: 1.294038}
"""What the training that was only for sounds said of this run, before all lessons had one engine (commit 22ab821)."""


def test_the_losses_are_those_of_the_training_before_the_engine(unbroken: dict[int, Path]) -> None:
    history = read_history(unbroken[1] / "logs")
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    val_losses = {entry["step"]: entry["val_loss"] for entry in history if "val_loss" in entry}
    assert losses == pytest.approx(LOSSES, abs=1e-5)
    assert val_losses == pytest.approx(VAL_LOSSES, abs=1e-5)


def break_at(monkeypatch: pytest.MonkeyPatch, step: int, how: str) -> None:
    """At this step, press Ctrl-C or crash."""
    unchanged = Bar.on_step

    def broken(self: Bar, trainer: Any, module: LessonModule, now: int) -> None:
        unchanged(self, trainer, module, now)
        if now == step and how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        elif now == step:
            raise RuntimeError("crash")

    monkeypatch.setattr(Bar, "on_step", broken)


@pytest.mark.parametrize(
    ("how", "step", "accumulate"), [("signal", 7, 1), ("crash", 13, 1), ("signal", 13, 2), ("crash", 12, 2)]
)
def test_a_broken_and_resumed_run_equals_the_unbroken_one_bit_for_bit(
    corpus: Path,
    unbroken: dict[int, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    step: int,
    accumulate: int,
) -> None:
    with monkeypatch.context() as patched:
        break_at(patched, step, how)
        with pytest.raises(KeyboardInterrupt if how == "signal" else RuntimeError):
            train(toy(accumulate=accumulate), corpus, tmp_path)
    assert newest(tmp_path)["global_step"] in ((step, step + 1) if how == "signal" else (10,))
    train(toy(accumulate=accumulate), corpus, tmp_path)
    assert_same_run(unbroken[accumulate], tmp_path)


def test_two_runs_of_one_config_are_equal_and_another_seed_is_not(
    corpus: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    train(toy(), corpus, tmp_path / "again")
    assert_same_run(unbroken[1], tmp_path / "again")
    train(toy(seed=1), corpus, tmp_path / "other")
    assert read_history(tmp_path / "other" / "logs") != read_history(unbroken[1] / "logs")


def test_workers_memory_and_previews_do_not_change_a_run(
    corpus: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    config = toy(preview_every=10)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_workers=0, cache_mb=0))
    train(config, corpus, tmp_path)
    assert_same(newest(unbroken[1])["state_dict"], newest(tmp_path)["state_dict"])


def test_a_finished_run_is_only_saved_again_and_a_longer_one_goes_on(
    corpus: Path, unbroken: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(toy(10), corpus, tmp_path)
    again = train(toy(10), corpus, tmp_path)
    assert again["steps"] == first["steps"] == 10
    assert again["val_loss"] == first["val_loss"]
    assert again["samples_per_s"] > 0
    assert "continuing from step 10" in capsys.readouterr().err
    assert train(toy(15), corpus, tmp_path)["steps"] == 15
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "step-00000010.ckpt",
        "step-00000015.ckpt",
    ]


def test_resume_never_starts_anew_and_replaces_the_old_checkpoints(corpus: Path, tmp_path: Path) -> None:
    train(toy(15), corpus, tmp_path)
    (tmp_path / "checkpoints" / ".step-00000099.ckpt.tmp").write_bytes(b"half")
    result = train(toy(5), corpus, tmp_path, resume="never")
    assert result["steps"] == 5
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "step-00000005.ckpt"]
    assert (tmp_path / "checkpoints" / "best.ckpt").samefile(tmp_path / "checkpoints" / "step-00000005.ckpt")
    assert max(entry["step"] for entry in read_history(tmp_path / "logs")) == 5


def test_a_config_of_another_model_is_refused_and_other_changes_are_taken(corpus: Path, tmp_path: Path) -> None:
    train(toy(5), corpus, tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.dit\.width is 16 there and 32 now"):
        train(toy(10, width=32), corpus, tmp_path)
    changed = dataclasses.replace(toy(10, lr=5e-4), ema=EmaConfig(0.5))
    train(dataclasses.replace(changed, optim=dataclasses.replace(changed.optim, betas=(0.8, 0.9))), corpus, tmp_path)
    assert newest(tmp_path)[STATE_KEY]["ema"]["decay"] == 0.5
    assert newest(tmp_path)["optimizer_states"][0]["param_groups"][0]["betas"] == (0.8, 0.9)
    assert all(entry["lr"] <= 5e-4 for entry in read_history(tmp_path / "logs") if entry["step"] > 5 and "lr" in entry)


def test_a_run_from_a_pipeline_begins_with_its_weights_and_its_mel_statistics(
    unbroken: dict[int, Path], tmp_path: Path
) -> None:
    others = make_corpus(tmp_path / "corpus", [make_record(0, 0.1 * tone(300.0), np.eye(WIDTH)[0], "v")])
    train(toy(max_steps=1, lr=1e-9), others, tmp_path / "on", init=str(unbroken[1]))
    before, after = ClipSonicPipeline.from_pretrained(unbroken[1]), ClipSonicPipeline.from_pretrained(tmp_path / "on")
    for name, weight in before.denoiser.state_dict().items():
        # one step of Adam moves a weight by at most the rate, 1e-9, and float32 rounds
        torch.testing.assert_close(after.denoiser.state_dict()[name], weight, atol=1e-7, rtol=1e-6)
    assert_same(after.mel_statistics, before.mel_statistics)
    assert json.loads((tmp_path / "on" / "training.json").read_text())["init"] == str(unbroken[1])


def test_a_run_may_add_attention_that_begins_as_the_identity(unbroken: dict[int, Path], tmp_path: Path) -> None:
    others = make_corpus(tmp_path / "corpus", [make_record(0, 0.1 * tone(300.0), np.eye(WIDTH)[0], "v")])
    larger = toy(max_steps=1, lr=1e-9)
    dit = dataclasses.replace(larger.model.dit, fine_attention=1, fine_beat=8)
    train(dataclasses.replace(larger, model=ModelConfig(dit=dit)), others, tmp_path / "on", init=str(unbroken[1]))
    before, after = ClipSonicPipeline.from_pretrained(unbroken[1]), ClipSonicPipeline.from_pretrained(tmp_path / "on")
    assert (after.denoiser.config.fine_attention, after.denoiser.config.fine_beat) == (1, 8)
    mels = [
        pipeline(embeds=np.eye(WIDTH)[0], num_inference_steps=2, output_type="mel").mels for pipeline in (before, after)
    ]
    np.testing.assert_allclose(mels[0], mels[1], atol=1e-4)


def test_a_run_may_add_to_attention_that_has_learned(unbroken: dict[int, Path], tmp_path: Path) -> None:
    others = make_corpus(tmp_path / "corpus", [make_record(0, 0.1 * tone(300.0), np.eye(WIDTH)[0], "v")])
    first, second = (
        dataclasses.replace(
            toy(max_steps=steps, lr=lr),
            model=ModelConfig(dit=dataclasses.replace(toy().model.dit, fine_attention=count, fine_beat=8)),
        )
        for steps, lr, count in ((5, 1e-2, 1), (1, 1e-9, 2))
    )
    train(first, others, tmp_path / "one", init=str(unbroken[1]))
    train(second, others, tmp_path / "two", init=str(tmp_path / "one"))
    one, two = (ClipSonicPipeline.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert two.denoiser.config.fine_attention == 2
    gates = one.denoiser.level.across.modulation.bias.view(6, -1)[[2, 5]]
    assert float(gates.detach().abs().max()) > 1e-3  # a second block with outputs drawn at random would be heard
    mels = [pipeline(embeds=np.eye(WIDTH)[0], num_inference_steps=2, output_type="mel").mels for pipeline in (one, two)]
    np.testing.assert_allclose(mels[0], mels[1], atol=1e-4)


def test_the_config_chooses_records_by_their_facts_and_says_how_many_are_left_out(corpus: Path) -> None:
    segment = SEGMENT.spec(WIDTH, "toy/1")
    few = open_data(corpus, segment, dataclasses.replace(toy(), data=DataConfig(filter="source in ('v1', 'v2')")))
    assert {record.source for record in few.loader.records} <= {"v1", "v2"}
    assert few.loader.report["filtered"] == 43 - 4  # 43 records of 40 videos: two each of the first three
    assert "filtered out" in few.notes[0]
    with pytest.raises(UsageError, match="no fact is called 'loudness'"):
        open_data(corpus, segment, dataclasses.replace(toy(), data=DataConfig(filter="loudness > 3")))


def test_a_pipeline_of_another_network_is_refused_with_both_values(
    corpus: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"--init .* is another model \(width is 16 there and 32 now\)"):
        train(toy(width=32), corpus, tmp_path / "out", init=str(unbroken[1]))


def test_a_damaged_checkpoint_is_named(corpus: Path, tmp_path: Path) -> None:
    train(toy(5), corpus, tmp_path)
    path = tmp_path / "checkpoints" / "step-00000005.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"step-00000005\.ckpt cannot be read"):
        train(toy(10), corpus, tmp_path)
    with pytest.raises(UsageError, match=r"nothing\.ckpt is not a file"):
        train(toy(10), corpus, tmp_path, resume="nothing.ckpt")


def test_a_checkpoint_from_before_the_engine_is_refused_in_a_sentence(corpus: Path, tmp_path: Path) -> None:
    train(toy(5), corpus, tmp_path)
    path = tmp_path / "checkpoints" / "step-00000005.ckpt"
    old = torch.load(path, weights_only=True)
    del old[STATE_KEY]["identity"]
    torch.save(old, path)
    with pytest.raises(
        CheckpointError, match=r"it is of version 0\.1, before all lessons had one engine.*resume never"
    ):
        train(toy(10), corpus, tmp_path)


def test_a_changed_corpus_is_said_and_read_from_its_beginning(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(toy(5), corpus, tmp_path / "out")
    train(toy(10), tones(tmp_path / "more", 50), tmp_path / "out")
    assert "the data is not that of the checkpoint" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeds = np.eye(6, WIDTH)
    embeds[3] = np.inf
    folder = make_corpus(tmp_path / "c", [make_record(i, tone(200.0), embeds[i], f"v{i}") for i in range(6)])
    seen: list[LessonModule] = []
    monkeypatch.setattr(LessonModule, "on_fit_start", lambda self: seen.append(self))
    config = dataclasses.replace(toy(), condition=ConditionConfig(dropout=0.0))
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, batch_size=6))
    with pytest.raises(TrainingError, match="loss is not finite for the records k03:"):
        train(config, folder, tmp_path / "out")
    fresh = make_denoiser(config.model, "flow", SEGMENT.spec(WIDTH, "toy/1"), config.run.seed)
    assert_same(seen[0].lesson.learner.state_dict(), fresh.state_dict())
    assert not (tmp_path / "out" / "model_index.json").exists()


def test_a_handful_of_records_trains_and_says_what_was_shrunk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy(4)
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, batch_size=32))
    result = train(config, tones(tmp_path / "c", 3), tmp_path / "out")
    said = capsys.readouterr().err
    assert "batch size is 3 instead of 32" in said
    assert "the validation loss is measured on training records" in said
    assert result["corpus"]["batch_size"] == 3
    assert result["val_loss"] is not None


def test_the_pipeline_holds_the_averaged_weights_and_the_report_the_figures(
    corpus: Path, unbroken: dict[int, Path]
) -> None:
    out = unbroken[1]
    saved = load_file(next((out / "denoiser").glob("*.safetensors")))
    checkpoint = newest(out)
    prefix = "lesson.sound.denoiser."
    names = [name.removeprefix(prefix) for name in checkpoint["state_dict"] if name.startswith(prefix)]
    averaged = dict(zip(names, checkpoint[STATE_KEY]["ema"]["shadow_params"], strict=True))
    assert_same({name: saved[name] for name in names}, averaged)
    report = json.loads((out / "training.json").read_text())
    assert report["steps"] == 20
    assert report["config"] == toy().to_dict()
    assert report["corpus"]["used"] + report["corpus"]["other_split"] == 43
    pipeline = ClipSonicPipeline.from_pretrained(out)
    mel = pipeline(embeds=np.ones(WIDTH, np.float32) / WIDTH**0.5, num_inference_steps=2, output_type="mel").mels
    assert mel.shape == (1, 16, 32)
    assert np.isfinite(mel).all()


def test_the_pipeline_samples_as_its_config_says(corpus: Path, tmp_path: Path) -> None:
    told = {"num_inference_steps": 5, "guidance_scale": 2.0, "guidance_interval": (0.5, 1.0)}
    train(dataclasses.replace(toy(1), objective=ObjectiveConfig(**told)), corpus, tmp_path)  # type: ignore[arg-type]
    config = ClipSonicPipeline.from_pretrained(tmp_path).config
    assert {name: config[name] for name in told} == {**told, "guidance_interval": [0.5, 1.0]}


def test_mel_statistics_make_the_training_mels_standard(corpus: Path, unbroken: dict[int, Path]) -> None:
    weights = newest(unbroken[1])["state_dict"]
    loader = SegmentLoader(corpus, SEGMENT.spec(WIDTH, "toy/1"), 4, 0)
    mel = torch.cat([LogMel(loader.segment.mel)(as_float(batch["wave"])) for batch in loader.one_pass()])
    standard = (mel - weights["lesson.sound.mel_mean"][:, None]) / weights["lesson.sound.mel_std"][:, None]
    # float32 sums over 41 x 32 columns: error 2e-6 measured
    assert torch.allclose(standard.mean(dim=(0, 2)), torch.zeros(16), atol=2e-5)
    assert torch.allclose(standard.std(dim=(0, 2), correction=0), torch.ones(16), atol=2e-5)


def test_tensorboard_has_losses_pictures_and_playable_sound(corpus: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(toy(10, preview_every=5), corpus, tmp_path)
    board = EventAccumulator(str(tmp_path / "logs"), size_guidance={"images": 0, "audio": 0, "scalars": 0})
    board.Reload()
    assert {"loss", "lr", "grad_norm", "val_loss"} <= set(board.Tags()["scalars"])
    assert [entry.step for entry in board.Images("generated/0")] == [5, 10]
    assert [entry.step for entry in board.Audio("generated/0")] == [5, 10]
    assert board.Audio("truth/0")[0].sample_rate == RATE_HZ
    assert len(board.Audio("truth/0")[0].encoded_audio_string) > 2 * 32 * 64


@pytest.mark.parametrize(("kind", "prediction_type"), [("unet", "epsilon"), ("unet", "flow"), ("dit", "v_prediction")])
def test_every_network_trains_with_every_kind_of_objective(
    corpus: Path, tmp_path: Path, kind: Any, prediction_type: Any
) -> None:
    small = UNetConfig(channels=(8, 16), layers=1, attention_levels=1, head_width=8, condition_width=16)
    model = dataclasses.replace(toy().model, kind=kind, unet=small)
    config = dataclasses.replace(toy(3), model=model, objective=ObjectiveConfig(prediction_type))
    assert train(config, corpus, tmp_path)["steps"] == 3
    pipeline = ClipSonicPipeline.from_pretrained(tmp_path)
    assert pipeline.denoiser.config.prediction_type == prediction_type
    asked: list[float] = []
    pipeline.denoiser.register_forward_pre_hook(lambda _, given: asked.append(given[1].max().item()))
    mels = pipeline(embeds=np.eye(2, WIDTH, dtype=np.float32), num_inference_steps=2, output_type="mel").mels
    assert np.isfinite(mels).all()
    assert asked[0] == {"flow": 1000.0, "epsilon": 949.0, "v_prediction": 999.0}[prediction_type]


@pytest.mark.slow
def test_four_sounds_are_learned_by_heart_and_swapping_the_conditions_swaps_them(tmp_path: Path) -> None:
    frequencies_hz = (150.0, 450.0, 950.0, 1600.0)
    records = [make_record(i, tone(hz), np.eye(4, WIDTH)[i], f"v{i}") for i, hz in enumerate(frequencies_hz)]
    config = dataclasses.replace(toy(400, lr=3e-3, width=64, val_every=0, ckpt_every=0), ema=EmaConfig(0.98))
    train(config, make_corpus(tmp_path / "c", records), tmp_path / "out")
    pipeline = ClipSonicPipeline.from_pretrained(tmp_path / "out")
    truth = LogMel(pipeline.segment.mel)(torch.from_numpy(np.stack([record.wave[:2048] for record in records])))
    order = [2, 0, 3, 1]
    for places in (range(4), order):
        embeds = np.eye(4, WIDTH, dtype=np.float32)[list(places)]
        mels = torch.from_numpy(pipeline(embeds=embeds, num_inference_steps=20, output_type="mel").mels)
        distance = (mels[:, None] - truth[None]).abs().mean(dim=(2, 3))
        assert distance.argmin(dim=1).tolist() == list(places), distance


def test_training_leaves_torch_as_it_found_it(corpus: Path, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            (cudnn.benchmark, cudnn.deterministic, cudnn.enabled),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            {name: os.environ.get(name) for name in ("MASTER_PORT", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS")},
        )

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("high")
    try:
        before = state()
        train(toy(2), corpus, tmp_path / "ends")
        assert state() == before
        with pytest.raises(SpecError):
            train(toy(2), corpus, tmp_path / "fails", init="tiny")
        assert state() == before
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")


def test_a_full_disk_stops_the_run_with_the_last_checkpoint_whole(
    corpus: Path, unbroken: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CheckpointFiles.save_checkpoint
    most, allowed = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self: CheckpointFiles, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        small = 20_000 if checkpoint["global_step"] == 15 else most  # bytes; the system refuses to write more
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, allowed))
        try:
            whole(self, checkpoint, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, allowed))

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFiles, "save_checkpoint", save)
        with pytest.raises(
            TrainingError, match=r"step-00000015\.ckpt could not be written \(File too large\).*is whole"
        ):
            train(toy(), corpus, tmp_path)
    assert newest(tmp_path)["global_step"] == 10
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]
    train(toy(), corpus, tmp_path)
    assert_same_run(unbroken[1], tmp_path)


def test_recomputed_activations_change_no_weight(corpus: Path, unbroken: dict[int, Path], tmp_path: Path) -> None:
    model = dataclasses.replace(toy().model, checkpoint_blocks=True)
    train(dataclasses.replace(toy(), model=model), corpus, tmp_path)
    assert_same(newest(unbroken[1])["state_dict"], newest(tmp_path)["state_dict"])
