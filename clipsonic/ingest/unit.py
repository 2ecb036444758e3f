"""From segments to the shards of one unit: CLIP embeddings in batches of one size, records in order, tars.

Guarantee: batches are formed within a unit, in the order of its segments, and always of the same number of pictures
(the last one is filled up), because a CLIP's float32 rounding depends on the batch it is in: so the bytes of a shard
depend on its segments only. Memory holds one batch of pictures and the sounds they belong to.
Price: at most BATCH_PICTURES - 1 wasted pictures per unit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clipsonic.errors import SpecError
from clipsonic.ingest.plan import Unit
from clipsonic.ingest.quarantine import Outcome
from clipsonic.ingest.segments import Job, Segment
from clipsonic.shards.record import Record
from clipsonic.shards.writer import ShardWriter

BATCH_PICTURES = 32


class Embedder(Protocol):
    """What ingest needs of a CLIP; `clipsonic.clip.embedder.ClipEmbedder` is one."""

    @property
    def fingerprint(self) -> str:
        """Name of its space."""

    @property
    def width(self) -> int:
        """Length E of its vectors."""

    def embed_pictures(self, pictures: Sequence[np.ndarray], batch_size: int = ...) -> np.ndarray:
        """(N, E) float32 unit vectors."""


class UnitBuilder:
    """Takes the segments of a unit in order and writes its shards.

    Args:
        unit: what is built.
        folder: the corpus.
        embedder: the CLIP.
        shard_records: most records in one tar.
    """

    def __init__(self, unit: Unit, folder: Path, embedder: Embedder, shard_records: int) -> None:
        self._unit, self._folder, self._embedder, self._shard_records = unit, folder, embedder, shard_records
        self._waiting: deque[tuple[Job, Segment]] = deque()
        self._pictures: list[np.ndarray] = []
        self._embedded: list[np.ndarray] = []
        self._writer: ShardWriter | None = None
        self._shards: list[dict[str, Any]] = []
        self._facts: list[dict[str, Any]] = []
        self.outcomes: list[Outcome] = []
        self._records_of_job = 0

    @property
    def num_done(self) -> int:
        """Jobs that have ended."""
        return len(self.outcomes)

    def add(self, job: Job, segment: Segment) -> None:
        """The next segment."""
        self._records_of_job += 1
        self._waiting.append((job, segment))
        self._pictures.extend(segment.pictures)
        while len(self._pictures) >= BATCH_PICTURES:
            self._embed()
        self._write_embedded()

    def end_job(self, job: Job, reason: str | None, detail: str | None) -> Outcome:
        """No more segments of this job."""
        outcome = Outcome(job.source, self._records_of_job, reason, detail, job.start_s, job.end_s)
        self.outcomes.append(outcome)
        self._records_of_job = 0
        return outcome

    def close(self) -> dict[str, Any]:
        """Embed and write what is left; the result as it is stored in the plan."""
        while self._pictures:
            self._embed()
        self._write_embedded()
        assert not self._waiting
        self._close_shard()
        return {
            "shards": self._shards,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "facts": self._facts,
        }

    def abort(self) -> None:
        """Leave no half-written shard."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _embed(self) -> None:
        """One batch, filled up with its last picture where there are no more."""
        batch, self._pictures = self._pictures[:BATCH_PICTURES], self._pictures[BATCH_PICTURES:]
        filled = batch + [batch[-1]] * (BATCH_PICTURES - len(batch))
        vectors = np.asarray(self._embedder.embed_pictures(filled, batch_size=BATCH_PICTURES), np.float32)
        if vectors.shape != (BATCH_PICTURES, self._embedder.width) or not np.isfinite(vectors).all():
            raise SpecError(
                f"CLIP {self._embedder.fingerprint} gave {vectors.shape} embeddings, not all finite or not of shape "
                f"{(BATCH_PICTURES, self._embedder.width)}: use another CLIP"
            )
        self._embedded.extend(vectors[: len(batch)])

    def _write_embedded(self) -> None:
        """Write the segments all of whose pictures are embedded."""
        while self._waiting and len(self._waiting[0][1].pictures) <= len(self._embedded):
            job, segment = self._waiting.popleft()
            count = len(segment.pictures)
            frames, self._embedded = np.stack(self._embedded[:count]).astype(np.float16), self._embedded[count:]
            wave = segment.sound.astype(np.float32) / 32768.0
            self._write(Record(segment.key, wave, frames, segment.facts, segment.thumbnail, job.caption))

    def _write(self, record: Record) -> None:
        if self._writer is not None and self._writer.num_records >= self._shard_records:
            self._close_shard()
        if self._writer is None:
            self._writer = ShardWriter(self._folder, self._unit.shard_name(len(self._shards)))
        self._writer.add(record)
        self._facts.append({**record.facts, "key": record.key, "shard": self._unit.shard_name(len(self._shards))})

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._shards.append(self._writer.close())
            self._writer = None
