"""The stateful loader: a corpus and a model's segment in, an endless and exactly resumable stream of batches out.

Guarantee: the stream is the epochs' permutations end to end, each a pure function of (seed, epoch), each crop one of
(seed, epoch, key). So every record comes exactly once per epoch whatever the number of ranks and workers, every batch
is full, all ranks take equally many steps, and a position in the stream is one number that resumes exactly.
Price: a batch at an epoch's border holds records of both epochs.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.errors import CorpusError, FingerprintError, SpecError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.duplicates import near_duplicates
from clipsonic.shards.selection import Candidate, Facts, Split, select
from clipsonic.shards.store import RecordStore, Stored
from clipsonic.shards.writer import CorpusIndex, each_facts
from clipsonic.specs import SegmentSpec

Batch = dict[str, Any]
ABSENT_TIME_S = -1.0


class SegmentLoader:
    """Batches of crops with the frames of their own seconds.

    A batch holds `wave` (B, T) float32 in [-1, 1], `frames` (B, S, E) float32, `frame_times_s` (B, S) from the crop's
    start (-1 where there is no frame), `frame_mask` (B, S) bool, `keys`, and `position`, the state after this batch.

    Args:
        corpus_folder: folder with `index.json` and its shards.
        segment: the model's segment; its CLIP and sample rate must be the corpus's, its length at most the corpus's.
        batch_size: records per batch and rank; shrunk if the corpus is smaller (`report["batch_size"]` says so).
        seed: of order and crops.
        split: by source video; "all" ignores it.
        keep: facts -> whether to use the record.
        drop_duplicates: leave out records that look and sound like an earlier one, see `duplicates`.
        num_workers: threads that make batches ahead; 0 makes them when asked. Never changes a batch.
        random_crop: False takes the first seconds of every record.
        cache_mb: memory for decoded records, in MiB.

    Raises:
        CorpusError: no usable record, or a damaged corpus.
        FingerprintError: the corpus lives in another CLIP space.
        SpecError: another sample rate, or a segment longer than the corpus's.
    """

    def __init__(
        self,
        corpus_folder: str | Path,
        segment: SegmentSpec,
        batch_size: int,
        seed: int,
        split: Split = "train",
        val_share: float = 0.05,
        keep: Callable[[Facts], bool] | None = None,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_silent: bool = True,
        drop_duplicates: bool = False,
        random_crop: bool = True,
        cache_mb: float = 1024,
    ) -> None:
        folder = Path(corpus_folder)
        check_fit(CorpusIndex.load(folder), segment, folder)
        copies = near_duplicates(each_facts(folder)) if drop_duplicates else {}
        single = (item for item in each_facts(folder) if item["key"] not in copies)
        self.records, self.report = select(
            single, segment, split, val_share=val_share, keep=keep, drop_silent=drop_silent
        )
        self.report["duplicate"] = len(copies)
        if not self.records:
            raise CorpusError(_nothing_usable(folder, segment, split, self.report))
        self.segment, self.seed, self.num_workers, self.random_crop = segment, seed, num_workers, random_crop
        self.rank, self.world_size = rank, world_size
        self.batch_size = max(1, min(batch_size, len(self.records) // world_size))
        self.report["batch_size"] = self.batch_size
        self.position = 0
        self._store = RecordStore(folder, cache_mb)
        self._orders: dict[int, np.ndarray] = {}

    @property
    def stride(self) -> int:
        """Records that all ranks together take per step."""
        return self.batch_size * self.world_size

    @property
    def epoch(self) -> int:
        """The epoch of the next record."""
        return self.position // len(self.records)

    @property
    def digest(self) -> str:
        """Names the records and their order of listing: positions mean the same only under equal digests."""
        keys = "\n".join(record.key for record in self.records)
        return hashlib.blake2b(keys.encode(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        """Batches that cover an epoch."""
        return math.ceil(len(self.records) / self.stride)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from `position`; it never ends."""
        if self.num_workers == 0:
            while True:
                yield self._took(self._batch_at(self.position))
        with ThreadPoolExecutor(self.num_workers, thread_name_prefix="loader") as pool:
            ahead, pending = self.position, deque[Future[Batch]]()
            while True:
                while len(pending) <= self.num_workers:
                    pending.append(pool.submit(self._batch_at, ahead))
                    ahead += self.stride
                yield self._took(pending.popleft().result())

    def one_pass(self) -> Iterator[Batch]:
        """Every record of the split once, in the order of epoch 0, the last batch short; does not move `position`."""
        for start in range(0, len(self.records), self.batch_size):
            yield self._collate(range(start, min(start + self.batch_size, len(self.records))))

    def shard(self, rank: int, world_size: int) -> SegmentLoader:
        """One rank's part of this stream; this loader's batch size is the sum over the ranks. Memory is shared."""
        part = copy.copy(self)
        part.rank, part.world_size = rank, world_size
        part.batch_size = max(1, self.batch_size // world_size)
        part.report = {**self.report, "batch_size": part.batch_size}
        return part

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what it is a position in."""
        return {"position": self.position, "seed": self.seed, "digest": self.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position; iterators made before are void.

        Raises:
            CorpusError: the state belongs to another corpus, split or seed.
        """
        for name, mine in (("digest", self.digest), ("seed", self.seed)):
            if state[name] != mine:
                raise CorpusError(
                    f"the loader's saved position is of {name} {state[name]}, this corpus and seed have {mine}: "
                    "resume on the same corpus with the same seed, or start anew"
                )
        self.position = int(state["position"])

    def frames_of(self, record: Candidate) -> np.ndarray:
        """All frame embeddings (S, E) of one of `records`, float16."""
        return self._store.read(record.shard, record.key).frames

    def _took(self, batch: Batch) -> Batch:
        self.position = batch["position"]
        return batch

    def _batch_at(self, position: int) -> Batch:
        batch = self._collate(range(position + self.rank, position + self.stride, self.world_size))
        return {**batch, "position": position + self.stride}

    def _collate(self, places: Sequence[int]) -> Batch:
        items = [self._item(*divmod(place, len(self.records))) for place in places]
        waves, frames, times_s, keys = zip(*items, strict=True)
        return {"wave": torch.from_numpy(np.stack(waves)), **pad_frames(frames, times_s), "keys": list(keys)}

    def _item(self, epoch: int, rank_in_epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
        record = self.records[self._order(epoch)[rank_in_epoch]]
        stored = self._store.read(record.shard, record.key)
        start = self._start(epoch, record)
        wave = crop_wave(stored.wave, start, self.segment.num_samples)
        frames, times_s = crop_frames(stored, start / self.segment.mel.sample_rate_hz, self.segment.seconds)
        return wave, frames, times_s, record.key

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            order = numpy_rng(self.seed, "shards.order", epoch).permutation(len(self.records))
            self._orders = {known: self._orders[known] for known in list(self._orders)[-2:]} | {epoch: order}
        return order

    def _start(self, epoch: int, record: Candidate) -> int:
        room = record.num_samples - self.segment.num_samples
        if not self.random_crop or room <= 0:
            return 0
        return int(numpy_rng(self.seed, "shards.crop", epoch, record.key).integers(room + 1))


def check_fit(index: CorpusIndex, segment: SegmentSpec, folder: Path) -> None:
    """Refuse a corpus that cannot feed this segment.

    Raises:
        FingerprintError, SpecError: with both values.
    """
    if index.fingerprint != segment.fingerprint:
        raise FingerprintError(
            f"corpus {folder} was embedded by CLIP {index.fingerprint}, the model needs {segment.fingerprint}: "
            "ingest the videos with the model's CLIP, or train a new model"
        )
    if index.spec.sample_rate_hz != segment.mel.sample_rate_hz:
        raise SpecError(
            f"corpus {folder} holds sound at {index.spec.sample_rate_hz} Hz, the model's mel space needs "
            f"{segment.mel.sample_rate_hz} Hz: ingest at the model's rate"
        )
    if segment.num_samples > index.spec.num_samples():
        raise SpecError(
            f"the model's segment of {segment.seconds:g} s is longer than the records of {folder} "
            f"({index.spec.seconds:g} s): ingest with --seconds {segment.seconds:g}, or train a shorter segment"
        )


def crop_wave(wave: np.ndarray, start: int, num_samples: int) -> np.ndarray:
    """`num_samples` float32 samples in [-1, 1] from an int16 sound; zeros where it ends early."""
    piece = wave[start : start + num_samples].astype(np.float32) / 32768.0
    return np.pad(piece, (0, num_samples - len(piece)))


def crop_frames(stored: Stored, start_s: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a crop and their times in it; if none falls in, the nearest one, its time clamped to the crop."""
    times_s = stored.frame_times_s - start_s
    inside = np.flatnonzero((times_s >= 0.0) & (times_s < seconds))
    if not len(inside):
        inside = np.array([np.argmin(np.abs(times_s - seconds / 2))])
    return stored.frames[inside].astype(np.float32), times_s[inside].clip(0.0, seconds).astype(np.float32)


def pad_frames(frames: Sequence[np.ndarray], times_s: Sequence[np.ndarray]) -> Batch:
    """Ragged frames as one padded tensor with times and mask."""
    longest, width = max(map(len, frames)), frames[0].shape[1]
    padded = torch.zeros(len(frames), longest, width)
    times = torch.full((len(frames), longest), ABSENT_TIME_S)
    mask = torch.zeros(len(frames), longest, dtype=torch.bool)
    for row, (values, value_times_s) in enumerate(zip(frames, times_s, strict=True)):
        padded[row, : len(values)] = torch.from_numpy(values)
        times[row, : len(values)] = torch.from_numpy(value_times_s)
        mask[row, : len(values)] = True
    return {"frames": padded, "frame_times_s": times, "frame_mask": mask}


def _nothing_usable(folder: Path, segment: SegmentSpec, split: Split, report: dict[str, int]) -> str:
    total = sum(report.values())
    return (
        f"corpus {folder} has no usable record in split {split!r} for a segment of {segment.seconds:g} s: of {total} "
        f"records {report['too_short']} are too short, {report['silent']} silent, {report['filtered']} filtered out "
        f"and {report['other_split']} in the other split; ingest longer or louder videos, or train a shorter segment"
    )
