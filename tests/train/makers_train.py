"""Makers for the tests of training: a corpus of tones, a toy config, and what makes two runs equal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec
from clipsonic.train.config import DiTConfig, ModelConfig, OptimConfig, RunConfig, SegmentConfig, TrainConfig
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.logbook import read_history
from clipsonic.train.engine.module import STATE_KEY, LessonModule
from clipsonic.train.lessons.denoiser import make_denoiser
from clipsonic.train.lessons.denoising import Denoising
from clipsonic.train.lessons.sound import SoundLesson
from clipsonic.train.streams.records import TrainData

RATE_HZ, WIDTH = 4000, 8
SEGMENT = SegmentConfig(
    sample_rate_hz=RATE_HZ, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0, num_mel_frames=32
)
SECONDS = 32 * 64 / RATE_HZ


def tone(frequency_hz: float, seconds: float = 2 * SECONDS) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def make_record(index: int, wave: np.ndarray, embed: np.ndarray, source: str, num_frames: int = 4) -> Record:
    """A sound with equal frames."""
    seconds = len(wave) / RATE_HZ
    times_s = CorpusSpec.frame_times_s(seconds, num_frames)
    facts = {"source": source, "seconds": seconds, "valid_seconds": seconds, "frame_times_s": list(times_s)}
    frames = np.repeat(embed[None], num_frames, axis=0).astype(np.float16)
    return Record(f"k{index:02d}", wave, frames, {**facts, "sample_rate": RATE_HZ, "has_audio": True})


def make_corpus(folder: Path, records: list[Record]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shard = write_shard(folder / "shard-000000.tar", records)
    write_facts(folder, [{**record.facts, "key": record.key, "shard": shard["name"]} for record in records])
    spec = CorpusSpec(RATE_HZ, seconds=2 * SECONDS, min_seconds=0.1)
    CorpusIndex(spec, "toy/1", "tiny", WIDTH, [shard]).save(folder)
    return folder


def tones(folder: Path, count: int, num_videos: int = 40, *, num_frames: tuple[int, ...] = (4,)) -> Path:
    """Tones of rising pitch; record i belongs to video i % num_videos, its embedding is its own.

    Args:
        num_frames: of record 0, 1 ..., over and over.
    """
    embeds = np.random.default_rng(0).standard_normal((count, WIDTH))
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    waves = [tone(100.0 + 1700.0 * index / count) for index in range(count)]
    frames = [num_frames[i % len(num_frames)] for i in range(count)]
    records = [make_record(i, waves[i], embeds[i], f"v{i % num_videos}", frames[i]) for i in range(count)]
    return make_corpus(folder, records)


def toy(max_steps: int = 20, accumulate: int = 1, lr: float = 1e-3, width: int = 16, **run: Any) -> TrainConfig:
    often = {"val_every": 10, "ckpt_every": 5, "preview_every": 0, "log_every": 3}
    return TrainConfig(
        model=ModelConfig(dit=DiTConfig(patch=4, width=width, depth=1, heads=2)),
        segment=SEGMENT,
        optim=OptimConfig(lr=lr, warmup_steps=3, batch_size=4, accumulate=accumulate),
        run=RunConfig(max_steps=max_steps, **{**often, **run}),
    )


def new_lesson(config: TrainConfig, mean: torch.Tensor, std: torch.Tensor) -> SoundLesson:
    """A lesson in these statistics of the mels, that has no data."""
    segment = SEGMENT.spec(WIDTH, "toy/1")
    network = make_denoiser(config.model, config.objective.prediction_type, segment, config.run.seed)
    return SoundLesson(Denoising(config, segment, network, mean, std), TrainData(None, [], clip_name="tiny"))  # type: ignore[arg-type]


def new_module(config: TrainConfig, mean: float = -4.0, std: float = 2.0) -> LessonModule:
    """Such a lesson in training."""
    return LessonModule(config, new_lesson(config, torch.full((16,), mean), torch.full((16,), std)), Clock(config.run))


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""For processes that share the cores: their threads would wait for each other in loops that burn what they need."""


def in_two_processes(script: str, folder: Path) -> None:
    """Run a script as rank 0 and rank 1 (its arguments: rank and folder); none of them is left running."""
    started = [subprocess.Popen([sys.executable, script, str(rank), str(folder)], env=ONE_THREAD) for rank in range(2)]
    try:
        assert [process.wait(timeout=240) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()


def newest(out: Path) -> dict[str, Any]:
    path = max((out / "checkpoints").glob("step-*.ckpt"))
    return torch.load(path, weights_only=True)


def assert_same(first: Any, second: Any, place: str = "") -> None:
    """Equal bit for bit, all the way down."""
    assert type(first) is type(second), place
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_same(first[key], second[key], f"{place}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), place
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{place}/{index}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    else:
        assert first == second, place


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, averaged weights, optimiser, loader position, logged losses, pipeline."""
    assert_same_learning(first, second)
    for path in sorted((first / "denoiser").iterdir()):
        assert path.read_bytes() == (second / "denoiser" / path.name).read_bytes(), path.name


def assert_same_learning(first: Path, second: Path) -> None:
    """All that a checkpoint holds, the time aside, and the logged figures, bit for bit."""
    one, two = newest(first), newest(second)
    for name in ("global_step", "state_dict", "optimizer_states", "callbacks"):
        assert_same(one[name], two[name], name)
    states = [{name: value for name, value in run[STATE_KEY].items() if name != "clock"} for run in (one, two)]
    assert_same(*states, STATE_KEY)
    assert read_history(first / "logs") == read_history(second / "logs")


def assert_near(first: Path, second: Path, tolerance: float) -> None:
    """Weights, averaged weights and optimiser within a tolerance, the logged curves too."""
    one, two = newest(first), newest(second)
    assert one["global_step"] == two["global_step"]
    assert one[STATE_KEY]["stream"] == two[STATE_KEY]["stream"]
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, atol=tolerance, rtol=0)
    for mine, other in zip(one[STATE_KEY]["ema"]["shadow_params"], two[STATE_KEY]["ema"]["shadow_params"], strict=True):
        torch.testing.assert_close(other, mine, atol=tolerance, rtol=0)
    for number, state in one["optimizer_states"][0]["state"].items():
        torch.testing.assert_close(two["optimizer_states"][0]["state"][number], state, atol=tolerance, rtol=0)
    for mine, other in zip(read_history(first / "logs"), read_history(second / "logs"), strict=True):
        assert mine == pytest.approx(other, abs=10 * tolerance)
