"""A maker of small corpora that the tests of mixes, far corpora and stores share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec, MelSpec, SegmentSpec

RATE_HZ, WIDTH, SECONDS = 4000, 8, 2.0
MakeCorpus = Callable[..., Path]


@pytest.fixture(scope="session")
def segment() -> SegmentSpec:
    """0.8 s at 4 kHz."""
    return SegmentSpec(MelSpec(RATE_HZ, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0), 50, WIDTH, "toy/1")


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """`make_corpus(name, keys)`: records of two seconds, each of a video of its own, in shards of `per_shard`."""

    def make(
        name: str, keys: Sequence[str], per_shard: int = 4, fingerprint: str = "toy/1", rate_hz: int = RATE_HZ,
        embeds: bool = False, **facts: Any,
    ) -> Path:  # fmt: skip
        folder, shards, listed = tmp_path / name, [], []
        folder.mkdir(parents=True, exist_ok=True)
        for number, start in enumerate(range(0, len(keys), per_shard)):
            records = [_record(key, rate_hz, embeds, facts) for key in keys[start : start + per_shard]]
            shards.append(write_shard(folder / f"shard-{number:06d}.tar", records))
            listed += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in records]
        write_facts(folder, listed)
        CorpusIndex(CorpusSpec(rate_hz, SECONDS, 0.5), fingerprint, "toy", WIDTH, shards).save(folder)
        return folder

    return make


def _record(key: str, rate_hz: int, embeds: bool, facts: dict[str, Any]) -> Record:
    rng = np.random.default_rng(sum(key.encode()))
    frames = rng.standard_normal((4, WIDTH)).astype(np.float16)
    wave = (0.1 * rng.standard_normal(round(SECONDS * rate_hz))).clip(-1, 1).astype(np.float32)
    values = {"source": f"{key}.mp4", "seconds": SECONDS, "valid_seconds": SECONDS, "sample_rate": rate_hz}
    times_s = list(CorpusSpec.frame_times_s(SECONDS, 4))
    embed = frames[0] if embeds else None
    return Record(key, wave, frames, {**values, "frame_times_s": times_s, **facts}, audio_embed=embed)
