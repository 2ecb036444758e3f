"""Warnings come when something measured is wrong, once, and in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from makers_train import make_corpus, make_record, tone, toy

from clipsonic.errors import UsageError
from clipsonic.train.config import DataConfig, RunConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.health import Health
from clipsonic.train.engine.loggers import make_loggers
from clipsonic.train.engine.losses import loss_row, summary
from clipsonic.train.engine.pace import Pace, peak_flops
from clipsonic.train.lessons.denoising import by_time
from clipsonic.train.lessons.figures_of_sound import judge_gain, judge_levels
from clipsonic.train.run import train

NAMES = tuple(by_time(torch.zeros(1), torch.zeros(1)).logged)


def test_each_warning_is_said_once_and_names_the_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(settled=100)
    judge_gain(health, 99, 0.0)
    judge_gain(health, 100, 0.01)
    judge_levels(health, 100, -40.0, -45.0, 0.9)
    health.look_at_waiting(10, 0.04)
    assert not health.warnings
    for _ in range(2):
        judge_gain(health, 100, 0.004)
        judge_levels(health, 200, -70.0, -40.0, 0.9)
        judge_levels(health, 200, -41.0, -40.0, 0.1)
        health.look_at_waiting(300, 0.31)
    said = capsys.readouterr().err
    for words in ("0.40 % lower", "mean level is -70 dB", "spread only 0.10 times", "31 % of the time"):
        assert said.count(words) == 1
    assert len(health.warnings) == 4
    quiet = Health(speaking=False)
    quiet.look_at_waiting(1, 1.0)
    assert quiet.warnings
    assert not capsys.readouterr().err


def test_a_run_whose_pictures_say_nothing_is_warned_of_and_one_whose_do_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipsonic.train.engine.health.SETTLED_STEPS", 60)
    monkeypatch.setattr(Health.__init__, "__defaults__", (True, 60))
    pitches_hz = [200.0, 1500.0]
    for name, sees in (("blind", False), ("seeing", True)):
        embeds = torch.eye(8)[:2].numpy()
        records = [make_record(i, tone(pitches_hz[i % 2]), embeds[i % 2 if sees else 0], f"v{i}") for i in range(32)]
        config = toy(120, lr=3e-3, val_every=60, ckpt_every=0, width=32)
        config = dataclasses.replace(config, data=DataConfig(val_share=0.5))
        result = train(config, make_corpus(tmp_path / f"{name}_corpus", records), tmp_path / name)
        assert any("does not use what it sees" in warning for warning in result["warnings"]) is not sees, result


def test_the_loss_of_each_part_of_the_diffusion_time_is_the_mean_of_its_items() -> None:
    loss_B, t_B = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0.1, 0.2, 0.6, 1.0])
    found = summary(torch.stack([loss_row(by_time(loss_B, t_B)), loss_row(by_time(loss_B + 1.0, t_B))]), NAMES)
    assert found == {"loss": 4.25, "loss_t/0_to_0.25": 2.0, "loss_t/0.5_to_0.75": 4.5, "loss_t/0.75_to_1": 8.5}


def test_the_mean_of_two_processes_rows_is_the_row_of_the_whole_batch() -> None:
    loss_B, t_B = torch.rand(8, generator=torch.Generator().manual_seed(0)), torch.linspace(0.0, 0.99, 8)
    whole = loss_row(by_time(loss_B, t_B))
    parts = (loss_row(by_time(loss_B[::2], t_B[::2])) + loss_row(by_time(loss_B[1::2], t_B[1::2]))) / 2
    torch.testing.assert_close(parts, whole)
    assert summary(torch.stack([parts, whole]), NAMES) == pytest.approx(summary(whole[None], NAMES))


def test_pace_is_that_of_the_steps_since_it_was_last_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("clipsonic.train.engine.clock.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("clipsonic.train.engine.pace.peak_flops", lambda device, dtype: 1000.0)
    clock = Clock(RunConfig())
    pace = Pace(clock, flops_per_item=50.0, num_devices=2, dtype=torch.float32)
    clock.start()
    now[0] = 5.0
    pace.start(torch.device("cpu"))
    clock.count(40)
    with clock.wait():
        now[0] = 6.0
    with clock.pause():
        now[0] = 9.0
    now[0] = 12.0
    # 4 s of steps, 1 of them waiting; 40 samples of 50 FLOPs in 4 s are 500 of 2000 FLOP/s
    assert pace.since_last() == {"samples_per_s": 10.0, "data_wait_share": 0.25, "mfu": 0.25}
    assert pace.since_last() == {"samples_per_s": 0.0, "data_wait_share": 0.0, "mfu": 0.0}


def test_weights_and_biases_is_asked_for_by_name_and_refused_where_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install wandb"):
        make_loggers(RunConfig(wandb=True), tmp_path)
    make_loggers(RunConfig(), tmp_path)


def test_the_peak_is_measured_on_random_matrices_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, product = list[torch.Tensor](), torch.mm

    def noting(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.extend([left, right])
        return product(left, right)

    monkeypatch.setattr(torch, "mm", noting)
    state = torch.get_rng_state()
    assert 1e7 < peak_flops(torch.device("cpu"), torch.float32) < 1e14
    assert torch.equal(torch.get_rng_state(), state)
    assert all(0.9 < float(matrix.std()) < 1.1 for matrix in seen)
    assert not torch.equal(seen[0], seen[1])
