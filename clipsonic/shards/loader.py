"""The stateful loader: corpora and a model's segment in, an endless and exactly resumable stream of batches out.

Guarantee: a record's place is a pure function of the seed, see `stream`, its crop one of (seed, epoch, key). So every
record comes exactly once per epoch whatever the number of ranks, workers and shards, every batch is full, all ranks
take equally many steps, and a position in the stream is one number that resumes exactly.
Price: a batch at an epoch's border holds records of both epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from clipsonic.seeding import numpy_rng
from clipsonic.shards.corpus import Corpus, Place
from clipsonic.shards.crops import crop_frames, crop_wave, pad_frames
from clipsonic.shards.endless import Batch, Endless, Follower
from clipsonic.shards.mix import choose
from clipsonic.shards.prefetch import Prefetcher
from clipsonic.shards.selection import Candidate, Facts, Split
from clipsonic.shards.store import RecordStore, Stored
from clipsonic.shards.stream import Stream
from clipsonic.specs import SegmentSpec

_HANDY_SHARDS = 32


class SegmentLoader(Endless):
    """Batches of crops with the frames of their own seconds.

    A batch holds `wave` (B, T) int16, to be made float32 by `crops.as_float` where it is heard, `frames` (B, S, E)
    float32, `frame_times_s` (B, S) from the crop's start (-1 where there is no frame), `frame_mask` (B, S) bool,
    `keys`, and `position`, the state after this batch; where all of its records have an embedding of their sound,
    `audio_embeds` (B, A) float32.

    Args:
        corpora: a folder with `index.json` and its shards, an address of one, an opened corpus, or several of these.
        segment: the model's segment; its CLIP and sample rate must be the corpus's, its length at most the corpus's.
        batch_size: records per batch and rank; shrunk if the corpus is smaller (`report["batch_size"]` says so).
        seed: of order and crops.
        split: by source video; "all" ignores it.
        weights: of each corpus, above 0, in the stream; None takes all records as those of one corpus.
        keep: facts -> whether to use the record.
        drop_duplicates: leave out records that look and sound like an earlier one, see `duplicates`.
        half: 0 or 1 takes only the videos of that half, see `selection.half_of`.
        num_workers: threads that make batches ahead.
        random_crop: False takes the first seconds of every record.
        cache_mb: memory of this machine for decoded records, in MiB, shared by all processes that read these corpora.
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
        half: int | None = None,
    ) -> None:
        self._store = RecordStore(corpora, cache_mb)
        choice = choose(
            self._store.corpora, segment, split, weights=weights, val_share=val_share, keep=keep,
            drop_silent=drop_silent, drop_duplicates=drop_duplicates, half=half,
        )  # fmt: skip
        self.records = choice.records
        window_bytes = 1 if few_shards else self._store.window_bytes
        self._stream = Stream(self.records, seed, choice.weights, self._store.bytes_to_fetch, window_bytes)
        self.segment, self.random_crop = segment, random_crop
        super().__init__(max(1, min(batch_size, len(self.records) // world_size)), seed, num_workers)
        self.rank, self.world_size = rank, world_size
        self.report = {**choice.report, "batch_size": self.batch_size}

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

    def one_pass(self) -> Iterator[Batch]:
        """Every record of the split once, as it comes first, the last batch short; does not move `position`."""
        places = self._stream.first_places().tolist()
        for start in range(0, len(places), self.batch_size):
            yield self._collate(places[start : start + self.batch_size])

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

    def crop_at(self, place: int) -> tuple[str, np.ndarray]:
        """Key and crop (T,) float32 of the record at a place of the stream."""
        record, epoch = self._stream.at(place)
        return record.key, crop_wave(self._read(record, epoch)[0].wave, 0, self.segment.num_samples)

    def sound_of(self, record: Candidate) -> np.ndarray:
        """The whole sound (T,) int16 of one of `records`."""
        return self._store.read(record.shard, record.key, record.corpus).wave[: record.num_samples]

    def follower(self) -> AbstractContextManager[Follower | None]:
        """Fetches shards before they are needed, where they have to be fetched."""
        reach = self._store.reach
        if not reach:
            return nullcontext()
        return Prefetcher(self._stream, self._store.corpora, max(1, round(reach * len(self.records))))

    def batch_at(self, position: int) -> Batch:
        """This rank's records from a position on."""
        return self._collate(self.places(position))

    def _collate(self, places: Sequence[int]) -> Batch:
        waves = np.zeros((len(places), self.segment.num_samples), np.int16)
        items = [self._item(*self._stream.at(place), wave) for place, wave in zip(places, waves, strict=True)]
        keys, frames, times_s, embeds = zip(*items, strict=True)
        batch = {"wave": torch.from_numpy(waves), **pad_frames(frames, times_s), "keys": list(keys)}
        if all(embed is not None for embed in embeds):
            batch["audio_embeds"] = torch.from_numpy(np.stack(embeds)).float()
        return batch

    def _item(
        self, record: Candidate, epoch: int, wave: np.ndarray
    ) -> tuple[str, np.ndarray, np.ndarray, np.ndarray | None]:
        """Key, frames, times and embedding of a crop; its sound is put where the batch has room for it."""
        stored, start = self._read(record, epoch)
        wave[: len(stored.wave)] = stored.wave
        frames, times_s = crop_frames(stored, start / self.segment.mel.sample_rate_hz, self.segment.seconds)
        return record.key, frames, times_s, stored.audio_embed

    def _read(self, record: Candidate, epoch: int) -> tuple[Stored, int]:
        """A record with the sound of its crop only, and where that starts."""
        start = self._start(epoch, record)
        return self._store.read(record.shard, record.key, record.corpus, start, self.segment.num_samples), start

    def _start(self, epoch: int, record: Candidate) -> int:
        room = record.num_samples - self.segment.num_samples
        if not self.random_crop or room <= 0:
            return 0
        return int(numpy_rng(self.seed, "shards.crop", epoch, record.key).integers(room + 1))
