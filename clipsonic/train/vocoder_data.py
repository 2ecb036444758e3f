"""What a vocoder learns from: the sound of a corpus, and a folder of recordings beside it.

Guarantee: a batch is a function of (seed, step); a source recording is on one side of the split only, all its takes
with it. Price: the recordings lie in memory as 16-bit sound, 115 MB per hour at 16 kHz; of a larger corpus a fair draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipsonic.audio.wave import read_audio, resample
from clipsonic.errors import CorpusError, SpecError, UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.selection import held_out_sources, is_silent
from clipsonic.shards.store import RecordStore
from clipsonic.shards.writer import CorpusIndex, corpus_facts

_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
_QUIETEST = 33
"""Peak of the quietest sound that is learned from, of 32768: -60 dB."""


@dataclass(frozen=True)
class Bank:
    """Sounds of one origin, split into those that are learned from and those that judge.

    Args:
        name: `corpus` or `real`.
        train, val: int16 sounds, each at least a crop long.
    """

    name: str
    train: list[np.ndarray]
    val: list[np.ndarray]

    def crops(self, count: int, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """(count, num_samples) float32 in [-1, 1], from sounds drawn in proportion to their length."""
        lengths = np.array([len(sound) for sound in self.train], dtype=float)
        picked = rng.choice(len(self.train), count, p=lengths / lengths.sum())
        return np.stack([_crop(self.train[place], num_samples, rng) for place in picked])


def _crop(sound: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(len(sound) - num_samples + 1))
    return sound[start : start + num_samples].astype(np.float32) / 32768.0


def corpus_bank(folder: Path, rate_hz: int, num_samples: int, val_share: float, max_hours: float) -> Bank:
    """The sounds of a corpus that are not silent; of more than `max_hours`, that many hours drawn at random.

    Raises:
        CorpusError: none is long enough.
        SpecError: the corpus has another rate.
    """
    index = CorpusIndex.load(folder)
    if index.spec.sample_rate_hz != rate_hz:
        raise SpecError(
            f"corpus {folder} holds sound at {index.spec.sample_rate_hz} Hz, the vocoder's mel space needs {rate_hz}: "
            "ingest at that rate, or give the corpus's --sample-rate-hz"
        )
    store = RecordStore(folder, 0)
    usable = drawn_hours([facts for facts in corpus_facts(folder) if not is_silent(facts)], max_hours)
    waves = {facts["key"]: store.read(facts["shard"], facts["key"]).wave for facts in usable}
    sounds = [(str(facts["source"]), waves[facts["key"]]) for facts in usable]
    return _split("corpus", sounds, num_samples, val_share, f"corpus {folder}")


def drawn_hours(facts: list[dict[str, Any]], max_hours: float) -> list[dict[str, Any]]:
    """At most so many hours of these records (but at least one), drawn at random, in their order."""
    order = numpy_rng(0, "vocoder.draw", len(facts)).permutation(len(facts))
    ends_h = np.cumsum([facts[place]["seconds"] for place in order]) / 3600.0
    count = max(1, int((ends_h <= max_hours).sum()))
    return [facts[place] for place in sorted(order[:count])]


def real_bank(folder: Path, rate_hz: int, num_samples: int, val_share: float) -> Bank:
    """The recordings of a folder, searched to the bottom, at this rate in mono.

    Raises:
        UsageError: no such folder, or no recording in it.
    """
    if not folder.is_dir():
        raise UsageError(f"--real-audio {folder} is not a folder: give one with recordings")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise UsageError(f"--real-audio {folder} holds no recording: put {', '.join(_SUFFIXES)} files there")
    sounds = [(source_of(path.stem), _as_int16(resample(*read_audio(path), rate_hz))) for path in paths]
    return _split("real", sounds, num_samples, val_share, f"--real-audio {folder}")


def source_of(stem: str) -> str:
    """The recording that a file was cut from; ESC-50 names its takes FOLD-SOURCE-TAKE-CLASS."""
    parts = stem.rsplit("-", 2)
    is_take = len(parts) == 3 and len(parts[1]) == 1 and parts[1].isupper() and parts[2].isdigit()
    return parts[0] if is_take else stem


def _as_int16(wave: np.ndarray) -> np.ndarray:
    return np.round(wave * 32767.0).clip(-32768, 32767).astype(np.int16)


def _split(name: str, sounds: list[tuple[str, np.ndarray]], num_samples: int, val_share: float, where: str) -> Bank:
    usable = [
        (source, sound) for source, sound in sounds if len(sound) >= num_samples and np.abs(sound).max() >= _QUIETEST
    ]
    held_out = held_out_sources((source for source, _ in usable), val_share)
    train = [sound for source, sound in usable if source not in held_out]
    val = [sound for source, sound in usable if source in held_out]
    if not train:
        raise CorpusError(
            f"{where} has no sound of {num_samples} samples or more that is not silent: bring longer ones"
        )
    return Bank(name, train, val)


def batches(banks: list[Bank], batch_size: int, num_samples: int, seed: int, first_step: int = 0) -> Iterator[Tensor]:
    """Waves (B, T), the batch of each step from `first_step` on; the banks have equal shares.

    Each is scaled by a random gain of up to 12 dB either way, so that levels are not learned.
    """
    step = first_step
    while True:
        rng = numpy_rng(seed, "vocoder.batch", step)
        counts = [len(part) for part in np.array_split(np.arange(batch_size), len(banks))]
        waves = np.concatenate([bank.crops(count, num_samples, rng) for bank, count in zip(banks, counts, strict=True)])
        gain = 10.0 ** (rng.uniform(-12.0, 12.0, (len(waves), 1)) / 20.0)
        peak = np.abs(waves).max(axis=1, keepdims=True)
        yield torch.from_numpy((waves * np.minimum(gain, 0.99 / np.maximum(peak, 1e-9))).astype(np.float32))
        step += 1
