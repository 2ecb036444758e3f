"""From segments to the shards of one unit: CLIP embeddings in batches of one size, records in order, tars.

Guarantee: batches are formed within a unit (see `batches`), in the order of its segments, so a shard's bytes depend
on its segments only. Memory holds one batch of pictures and the sounds they belong to.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.ingest.batches import Embedder, PictureBatches
from clipsonic.ingest.jobs import Job, with_hash
from clipsonic.ingest.plan import Unit
from clipsonic.ingest.quarantine import Outcome, RefusalReason, printable
from clipsonic.ingest.segments import Segment
from clipsonic.shards.record import Record
from clipsonic.shards.writer import ShardWriter


class UnitBuilder:
    """Takes the segments of a unit in order and writes its shards.

    Args:
        unit: what is built.
        folder: the corpus.
        embedder: the CLIP.
        shard_records: most records in one tar.
    """

    def __init__(self, unit: Unit, folder: Path, embedder: Embedder, shard_records: int) -> None:
        self._unit, self._folder, self._shard_records = unit, folder, shard_records
        self._waiting: deque[tuple[Job, Segment]] = deque()
        self._pictures = PictureBatches(embedder)
        self._writer: ShardWriter | None = None
        self._shards: list[dict[str, Any]] = []
        self._facts: list[dict[str, Any]] = []
        self._stamps: list[str | None] = []
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
        self._pictures.add(segment.pictures)
        self._write_embedded()

    def end_job(self, job: Job, reason: str | None, detail: str | None) -> Outcome:
        """No more segments of this job."""
        words = None if detail is None else printable(detail)
        outcome = Outcome(job.source, self._records_of_job, reason, words, job.start_s, job.end_s)
        self.outcomes.append(outcome)
        # what kept a decoder waiting would keep us waiting too
        self._stamps.append(job.stamp if reason == RefusalReason.TIMEOUT else with_hash(job))
        self._records_of_job = 0
        return outcome

    def close(self) -> dict[str, Any]:
        """Embed and write what is left; the result as it is stored in the plan."""
        self._pictures.flush()
        self._write_embedded()
        assert not self._waiting
        self._close_shard()
        return {
            "shards": self._shards,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "facts": self._facts,
            "stamps": self._stamps,
        }

    def abort(self) -> None:
        """Leave no half-written shard."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _write_embedded(self) -> None:
        """Write the segments all of whose pictures are embedded."""
        while self._waiting and (frames := self._pictures.take(len(self._waiting[0][1].pictures))) is not None:
            job, segment = self._waiting.popleft()
            wave = segment.sound.astype(np.float32) / 32768.0
            self._write(Record(segment.key, wave, frames, segment.facts, segment.thumbnail, job.caption, segment.kept))

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
