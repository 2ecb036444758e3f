"""Weights from a seed, decay where it belongs, the learning rate, the clock, and the guard."""

from __future__ import annotations

import pytest
import torch
from makers_train import SEGMENT as GEOMETRY
from makers_train import new_module

from clipsonic.errors import TrainingError
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.config import DiTConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.guard import FiniteGuard
from clipsonic.train.engine.optim import learning_rate, make_optimizer
from clipsonic.train.lessons.denoiser import make_denoiser

SEGMENT = SegmentSpec(MelSpec(4000, 256, 64, 16, f_max_hz=2000.0), 32, 8, "toy/1")
SMALL = ModelConfig(dit=DiTConfig(patch=4, width=32, depth=2, heads=2))


def test_equal_seeds_give_equal_weights_and_leave_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (make_denoiser(SMALL, "flow", SEGMENT, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_only_matrices_decay_and_every_weight_is_in_one_group() -> None:
    lesson = new_module(TrainConfig(model=SMALL, segment=GEOMETRY)).lesson
    names = {id(weight): name for name, weight in lesson.learner.named_parameters()}
    decayed, others = make_optimizer(*lesson.weights(), OptimConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(names[id(weight)].endswith("weight") and weight.ndim >= 2 for weight in decayed["params"])
    assert not any("norm" in names[id(weight)] for weight in decayed["params"])
    assert any(names[id(weight)].endswith("bias") for weight in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_the_rate_rises_in_equal_steps_then_falls_to_its_end() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=10, final_lr_share=0.1)
    assert [learning_rate(config, step, 0.0) for step in range(11)] == pytest.approx(
        [i / 10 for i in range(1, 11)] + [1.0]
    )
    falling = [learning_rate(config, 100, progress / 10) for progress in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert falling[5] == pytest.approx(0.55)
    assert falling[-1] == learning_rate(config, 100, 1.5) == pytest.approx(0.1)
    assert learning_rate(OptimConfig(lr=1.0, schedule="constant"), 1000, 0.9) == 1.0


def test_the_rate_has_risen_after_a_tenth_of_the_run_however_short_it_is() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=100, schedule="constant")
    assert [learning_rate(config, step, step / 20) for step in range(3)] == [0.01, 0.5, 1.0]


def test_progress_follows_the_nearer_limit_and_counts_earlier_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("clipsonic.train.engine.clock.time.perf_counter", lambda: now[0])
    clock = Clock(RunConfig(max_steps=100, max_minutes=2.0), {"elapsed_s": 30.0, "paused_s": 0.0, "samples": 0})
    clock.start()
    assert clock.progress(10) == pytest.approx(0.25)  # 30 of 120 s
    assert clock.progress(50) == pytest.approx(0.5)
    now[0] += 60.0
    assert clock.progress(50) == pytest.approx(0.5)  # nobody looked yet
    clock.look()
    assert clock.progress(50) == pytest.approx(0.75)
    clock.look(120.0)
    assert clock.progress(50) == pytest.approx(1.0)
    assert Clock(RunConfig(max_steps=100)).progress(50) == 0.5


def test_pauses_count_as_time_but_not_for_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("clipsonic.train.engine.clock.time.perf_counter", lambda: now[0])
    clock = Clock(RunConfig())
    clock.start()
    clock.count(80)
    now[0] = 4.0
    with clock.pause():
        now[0] = 10.0
    clock.stop()
    now[0] = 99.0
    assert (clock.elapsed_s, clock.samples_per_s) == (10.0, 20.0)
    assert Clock(RunConfig(), clock.state_dict()).samples_per_s == 20.0


def test_the_guard_names_the_records_of_numbers_that_are_not_finite() -> None:
    guard = FiniteGuard()
    guard.watch("loss", torch.tensor([1.0, torch.nan, 2.0, torch.inf]), ["a", "b", "c", "d"])
    with pytest.raises(TrainingError, match=r"loss is not finite for the records b, d:"):
        guard.check()
    guard.watch("gradient", torch.tensor(torch.inf), ["a", "b"])
    with pytest.raises(TrainingError, match=r"gradient is not finite for the records a, b:"):
        guard.check()
    guard.watch("loss", torch.ones(2), ["a", "b"])
    guard.check()
