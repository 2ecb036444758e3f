"""A toy corpus of tones, a toy network, and the configs of its runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec
from clipsonic.train.config import (
    ConditionConfig,
    DiTConfig,
    EmaConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SegmentConfig,
    TrainConfig,
)
from clipsonic.train.lessons.configs import AdapterConfig, DistillConfig

RATE_HZ, WIDTH = 4000, 8
SEGMENT = SegmentConfig(
    sample_rate_hz=RATE_HZ, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0, num_mel_frames=32
)
SECONDS = 32 * 64 / RATE_HZ


def tones(folder: Path, frequencies_hz: list[float], first: int = 0, seed: int = 0) -> Path:
    """One video per tone, which rises by a fifth at a place of its own; its frames are its own unit vector, turned."""
    rng = np.random.default_rng(seed)
    records = []
    for index, hertz in enumerate(frequencies_hz):
        seconds = 2 * SECONDS
        time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        bent = np.where(time_s > rng.uniform(0.2, 0.8) * seconds, 1.5, 1.0) * hertz
        wave = (0.3 * np.sin(2 * np.pi * np.cumsum(bent) / RATE_HZ)).astype(np.float32)
        frames = np.repeat(np.eye(WIDTH)[None, (first + index) % WIDTH], 4, axis=0)
        facts = {
            "source": f"v{first + index}", "seconds": seconds, "valid_seconds": seconds, "sample_rate": RATE_HZ,
            "frame_times_s": list(CorpusSpec.frame_times_s(seconds, 4)), "has_audio": True,
        }  # fmt: skip
        records.append(Record(f"k{first + index:02d}", wave, frames.astype(np.float16), facts))
    folder.mkdir(parents=True, exist_ok=True)
    shard = write_shard(folder / "shard-000000.tar", records)
    write_facts(folder, [{**record.facts, "key": record.key, "shard": shard["name"]} for record in records])
    CorpusIndex(CorpusSpec(RATE_HZ, seconds=2 * SECONDS, min_seconds=0.1), "toy/1", "tiny", WIDTH, [shard]).save(folder)
    return folder


def toy(max_steps: int, lr: float = 3e-3, **changes: Any) -> TrainConfig:
    """A run of a toy network; no validation, a checkpoint at the end."""
    config = TrainConfig(
        model=ModelConfig(dit=DiTConfig(patch=4, width=32, depth=1, heads=2, fine_depth=0)),
        segment=SEGMENT,
        condition=ConditionConfig(embed_noise_std=0.0),
        optim=OptimConfig(lr=lr, warmup_steps=3, batch_size=8),
        ema=EmaConfig(0.9),
        run=RunConfig(max_steps=max_steps, val_every=0, ckpt_every=0, preview_every=0, log_every=5),
    )
    return dataclasses.replace(config, **changes)


def adapting(max_steps: int, rank: int = 4, lr: float = 3e-3, **how: Any) -> TrainConfig:
    """A run that trains an adapter on a toy pipeline."""
    return toy(max_steps, lr, adapter=AdapterConfig(rank=rank, alpha=float(rank), **how))


def distilling(max_steps: int, rank: int = 16, lr: float = 1e-2, **how: Any) -> TrainConfig:
    """A run that trains an adapter which makes four steps do, or one."""
    values = {"steps": 4, "teacher_steps": 8, "teacher_guidance": 1.5, "bank_share": 0.5, **how}
    return dataclasses.replace(adapting(max_steps, rank, lr), distill=DistillConfig(**values))
