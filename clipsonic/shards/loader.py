"""The stateful loader: corpora and a model's segment in, an endless and exactly resumable stream of batches out.

Guarantee: a record's place is a pure function of the seed, see `stream`, its crop one of (seed, epoch, key). So every
record comes exactly once per epoch whatever the number of ranks, workers and shards, every batch is full, all ranks
take equally many steps, and a position in the stream is one number that resumes exactly.
Price: a batch at an epoch's border holds records of both epochs.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from clipsonic.errors import CorpusError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.corpus import Corpus, Place
from clipsonic.shards.crops import crop_frames, crop_wave, pad_frames
from clipsonic.shards.mix import choose
from clipsonic.shards.prefetch import Prefetcher
from clipsonic.shards.selection import Candidate, Facts, Split
from clipsonic.shards.store import RecordStore
from clipsonic.shards.stream import Stream
from clipsonic.specs import SegmentSpec

Batch = dict[str, Any]
_HANDY_SHARDS = 32


class SegmentLoader:
    """Batches of crops with the frames of their own seconds.

    A batch holds `wave` (B, T) float32 in [-1, 1], `frames` (B, S, E) float32, `frame_times_s` (B, S) from the crop's
    start (-1 where there is no frame), `frame_mask` (B, S) bool, `keys`, and `position`, the state after this batch;
    where all of its records have an embedding of their sound, `audio_embeds` (B, A) float32.

    Args:
        corpora: a folder with `index.json` and its shards, an address of one, an opened corpus, or several of these.
        segment: the model's segment; its CLIP and sample rate must be the corpus's, its length at most the corpus's.
        batch_size: records per batch and rank; shrunk if the corpus is smaller (`report["batch_size"]` says so).
        seed: of order and crops.
        split: by source video; "all" ignores it.
        weights: of each corpus, above 0, in the stream; None takes all records as those of one corpus.
        keep: facts -> whether to use the record.
        drop_duplicates: leave out records that look and sound like an earlier one, see `duplicates`.
        num_workers: threads that make batches ahead; 0 makes them when asked. Never changes a batch.
        random_crop: False takes the first seconds of every record.
        cache_mb: memory for decoded records, in MiB.
        few_shards: shuffle shard by shard what must be fetched, for a look at some records.

    Raises:
        CorpusError: no usable record, or a damaged corpus.
        FingerprintError: a corpus lives in another CLIP space.
        SpecError: another sample rate, or a segment longer than the corpus's.
        UsageError: weights that cannot be.
    """

    def __init__(
        self,
        corpora: Place | Corpus | Sequence[Place | Corpus],
        segment: SegmentSpec,
        batch_size: int,
        seed: int,
        split: Split = "train",
        val_share: float = 0.05,
        weights: Sequence[float] | None = None,
        keep: Callable[[Facts], bool] | None = None,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_silent: bool = True,
        drop_duplicates: bool = False,
        random_crop: bool = True,
        cache_mb: float = 1024,
        few_shards: bool = False,
    ) -> None:
        self._store = RecordStore(corpora, cache_mb)
        choice = choose(
            self._store.corpora, segment, split, weights=weights, val_share=val_share, keep=keep,
            drop_silent=drop_silent, drop_duplicates=drop_duplicates,
        )  # fmt: skip
        self.records, self.report = choice.records, choice.report
        window_bytes = 1 if few_shards else self._store.window_bytes
        self._stream = Stream(self.records, seed, choice.weights, self._store.bytes_to_fetch, window_bytes)
        self.segment, self.seed, self.num_workers, self.random_crop = segment, seed, num_workers, random_crop
        self.rank, self.world_size = rank, world_size
        self.batch_size = max(1, min(batch_size, len(self.records) // world_size))
        self.report["batch_size"] = self.batch_size
        self.position = 0

    @property
    def stride(self) -> int:
        """Records that all ranks together take per step."""
        return self.batch_size * self.world_size

    @property
    def epoch(self) -> int:
        """The epoch of the next record; with weights, in its own corpus."""
        return self._stream.at(self.position)[1]

    @property
    def digest(self) -> str:
        """Names the records, their order of listing and their mixing: positions mean the same under equal digests."""
        return self._stream.digest

    def __len__(self) -> int:
        """Batches of as many records as there are."""
        return math.ceil(len(self.records) / self.stride)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from `position`; it never ends."""
        if self.num_workers == 0:
            while True:
                yield self._took(self._batch_at(self.position))
        with ExitStack() as stack:
            pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="loader")
            stack.callback(pool.shutdown, cancel_futures=True)
            prefetcher = stack.enter_context(self._prefetcher()) if self._store.reach else None
            ahead, pending = self.position, deque[Future[Batch]]()
            while True:
                if prefetcher is not None:
                    prefetcher.advance(ahead)
                while len(pending) <= self.num_workers:
                    pending.append(pool.submit(self._batch_at, ahead))
                    ahead += self.stride
                yield self._took(pending.popleft().result())

    def one_pass(self) -> Iterator[Batch]:
        """Every record of the split once, as it comes first, the last batch short; does not move `position`."""
        places = self._stream.first_places().tolist()
        for start in range(0, len(places), self.batch_size):
            yield self._collate(places[start : start + self.batch_size])

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
        return self._store.read(record.shard, record.key, record.corpus).frames

    def handy_records(self) -> list[Candidate]:
        """All records; of corpora larger than their cache, those of a few shards drawn by the seed."""
        if self._store.window_bytes is None:
            return self.records
        shards = sorted({(record.corpus, record.shard) for record in self.records})
        drawn = numpy_rng(self.seed, "shards.handy").permutation(len(shards))[:_HANDY_SHARDS]
        wanted = {shards[place] for place in drawn}
        return [record for record in self.records if (record.corpus, record.shard) in wanted]

    def _prefetcher(self) -> Prefetcher:
        return Prefetcher(self._stream, self._store.corpora, max(1, round(self._store.reach * len(self.records))))

    def _took(self, batch: Batch) -> Batch:
        self.position = batch["position"]
        return batch

    def _batch_at(self, position: int) -> Batch:
        batch = self._collate(range(position + self.rank, position + self.stride, self.world_size))
        return {**batch, "position": position + self.stride}

    def _collate(self, places: Sequence[int]) -> Batch:
        items = [self._item(*self._stream.at(place)) for place in places]
        keys, waves, frames, times_s, embeds = zip(*items, strict=True)
        batch = {"wave": torch.from_numpy(np.stack(waves)), **pad_frames(frames, times_s), "keys": list(keys)}
        if all(embed is not None for embed in embeds):
            batch["audio_embeds"] = torch.from_numpy(np.stack(embeds)).float()
        return batch

    def _item(self, record: Candidate, epoch: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        stored = self._store.read(record.shard, record.key, record.corpus)
        start = self._start(epoch, record)
        wave = crop_wave(stored.wave, start, self.segment.num_samples)
        frames, times_s = crop_frames(stored, start / self.segment.mel.sample_rate_hz, self.segment.seconds)
        return record.key, wave, frames, times_s, stored.audio_embed

    def _start(self, epoch: int, record: Candidate) -> int:
        room = record.num_samples - self.segment.num_samples
        if not self.random_crop or room <= 0:
            return 0
        return int(numpy_rng(self.seed, "shards.crop", epoch, record.key).integers(room + 1))
