"""Crops of waves from corpora, from a folder of recordings, or from both: an endless stream, split by source.

Guarantee: an item is a pure function of (seed, place), so a position resumes exactly, and rank r of n holds rows r,
r + n ... of what one process would hold; in any stretch each origin has its share to within one item. Memory is that of
the decoded sounds which `data.cache_mb` allows a machine. Price: a corpus record is decoded with its frames, which
nobody sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.corpus import open_corpora
from clipsonic.shards.endless import Batch, Endless, Follower
from clipsonic.shards.expressions import keep_where
from clipsonic.shards.interleave import Interleave
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.selection import Split
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.streams.recordings import RecordingFolder, RecordingLoader

CORPUS, RECORDINGS = "corpus", "recordings"
VALIDATION_CROPS = 64
"""Of each origin."""
_LOUDEST = 0.99

Loader = SegmentLoader | RecordingLoader


class WaveStream(Endless):
    """Batches of `wave` (B, T) float32 in [-1, 1], `keys`, and `position`, the state after this batch.

    Args:
        loaders: by the name of their origin.
        shares: of each in the stream, above 0.
        batch_size: crops per batch over all ranks.
        seed: of the gains.
        gain_db: each crop is made louder or softer by up to so much, but never so loud that it clips.
        num_workers: threads that make batches ahead.
    """

    reads = "sounds"

    def __init__(
        self,
        loaders: dict[str, Loader],
        shares: list[float],
        batch_size: int,
        seed: int,
        gain_db: float = 0.0,
        num_workers: int = 0,
    ) -> None:
        self._loaders, self._turns = list(loaders.values()), Interleave(shares)
        super().__init__(batch_size, seed, num_workers)
        self._gain_db = gain_db
        self.report |= {name: loader.report for name, loader in loaders.items()}

    @property
    def digest(self) -> str:
        """Names the sounds and their mixing."""
        facts = [loader.digest for loader in self._loaders], self._turns.shares, self._gain_db
        return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()

    @contextmanager
    def follower(self) -> Iterator[Follower | None]:
        """The corpora's, who hears of their part of the places."""
        corpus = self._loaders[0]
        with corpus.follower() if isinstance(corpus, SegmentLoader) else nullcontext() as inner:
            yield None if inner is None else _Part(inner, self._turns.shares[0])

    def crop_at(self, place: int) -> tuple[str, np.ndarray]:
        """Key and crop (T,) float32 at a place, with its gain."""
        number, count = self._turns.at(place)
        key, wave = self._loaders[number].crop_at(count)
        gain = 10.0 ** (numpy_rng(self.seed, "waves.gain", place).uniform(-self._gain_db, self._gain_db) / 20.0)
        return key, wave * np.float32(min(gain, _LOUDEST / max(float(np.abs(wave).max()), 1e-9)))

    def batch_at(self, position: int) -> Batch:
        """This rank's crops from a position on."""
        return collated([self.crop_at(place) for place in self.places(position)])


@dataclass(frozen=True)
class _Part:
    inner: Follower
    share: float

    def advance(self, position: int) -> None:
        self.inner.advance(int(position * self.share))


@dataclass
class Waves:
    """What a vocoder learns from and is judged by.

    Args:
        stream: what is trained on.
        held_out: batches of crops that are never trained on (unless `notes` says so), each of one origin.
        sounds: held-out sounds by origin, (T,) int16, at most two minutes.
        notes: what the user should know.
    """

    stream: WaveStream
    held_out: list[Batch] = field(default_factory=list)
    sounds: dict[str, list[np.ndarray]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def open_waves(config: TrainConfig, sources: Sources, longest_s: float = 120.0) -> Waves:
    """The corpora and the recordings of a run.

    Raises:
        UsageError: neither is given, a folder without recordings, or a filter that cannot be applied.
        CorpusError, SpecError: they have no sound of a crop's length, or of another rate.
    """
    make = _makers(config, sources)
    if not make:
        raise UsageError("a vocoder needs sounds to learn from: give --corpus, --recordings FOLDER or both")
    loaders = {name: side("train") for name, side in make.items()}
    share = config.vocoder.recordings_share
    shares = [1.0 - share, share] if len(loaders) == 2 else [1.0]
    waves = Waves(WaveStream(loaders, shares, config.optim.batch_size, config.run.seed, config.vocoder.gain_db,
                             config.data.num_workers))  # fmt: skip
    for name, loader in loaders.items():
        waves.notes += _left_out(name, loader.report)
        held_out = make[name]("val") if loader.report["other_split"] else loader
        if held_out is loader:
            waves.notes.append(f"no source of {name} is held out (too few): it is judged on what it learns from")
        waves.held_out += _batches(held_out, config.optim.batch_size)
        waves.sounds[name] = _sounds(held_out, round(longest_s * config.segment.sample_rate_hz))
    return waves


def _makers(config: TrainConfig, sources: Sources) -> dict[str, Callable[[Split], Loader]]:
    """By origin, a loader of one side; an origin without a share in the stream is left out."""
    how, seed, share = config.data, config.run.seed, config.vocoder.recordings_share
    both = bool(sources.corpora) and sources.recordings is not None
    cache_mb, make = how.cache_mb / 2 if both else how.cache_mb, dict[str, Callable[[Split], Loader]]()
    if sources.corpora and not (both and share == 1.0):
        corpora = open_corpora(sources.corpora, how.cache_dir, how.cache_gb)
        space = config.segment.spec(corpora[0].index.width, corpora[0].index.fingerprint)
        make[CORPUS] = lambda split: SegmentLoader(
            corpora, space, 1, seed, split, how.val_share, how.weights, keep_where(how.filter) if how.filter else None,
            drop_silent=how.drop_silent, drop_duplicates=how.drop_duplicates, random_crop=split == "train",
            cache_mb=cache_mb if split == "train" else 0, few_shards=split == "val", half=how.half,
        )  # fmt: skip
    if sources.recordings is not None and not (both and share == 0.0):
        length, rate_hz = config.segment.spec(1, "").num_samples, config.segment.sample_rate_hz
        folder = RecordingFolder(Path(sources.recordings), rate_hz, length, cache_mb)
        make[RECORDINGS] = lambda split: RecordingLoader(folder, seed, split, how.val_share, split == "train")
    return make


def _batches(loader: Loader, batch_size: int) -> list[Batch]:
    """The first crops of a side, as they are."""
    crops = [loader.crop_at(place) for place in range(min(VALIDATION_CROPS, len(loader.records)))]
    return [
        {**collated(crops[start : start + batch_size]), "position": start} for start in range(0, len(crops), batch_size)
    ]


def _sounds(loader: Loader, num_samples: int) -> list[np.ndarray]:
    """Sounds of a side, drawn, until there are so many samples."""
    records, sounds, count = loader.handy_records(), list[np.ndarray](), 0
    for place in numpy_rng(0, "waves.judged", len(records)).permutation(len(records)):
        if count >= num_samples:
            break
        sounds.append(loader.sound_of(records[place]))
        count += len(sounds[-1])
    return sounds


def collated(crops: list[tuple[str, np.ndarray]]) -> Batch:
    """Named crops as a batch."""
    return {"wave": torch.from_numpy(np.stack([wave for _, wave in crops])), "keys": [key for key, _ in crops]}


def _left_out(name: str, report: dict[str, Any]) -> list[str]:
    words = {"too_short": "too short", "silent": "silent", "unreadable": "unreadable", "filtered": "filtered out",
             "duplicate": "near-duplicates", "other_half": "of the other half of the videos"}  # fmt: skip
    counts = [f"{report[key]} {word}" for key, word in words.items() if report.get(key)]
    return [f"left out of {name}: {', '.join(counts)}"] if counts else []
