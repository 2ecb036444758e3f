"""Units built to shards: by this machine's processes, or by a Ray cluster (`ray_executor`).

Guarantee: a unit's bytes depend on its jobs and on the task, not on who built it, nor on how many build: pictures are
embedded in batches of one size, formed within a unit in the order of its segments, the last one filled up with its last
picture. Decoding works ahead in a thread, so that processes get their next job while the CLIP computes; leaving that
block ends the thread, at the latest with the decoders' next event. Memory holds one batch of pictures, the sounds they
belong to, and the segments that wait.
Price: at most BATCH_PICTURES - 1 wasted pictures per unit; see `ray_executor` for the other's.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from clipsonic.errors import SpecError
from clipsonic.files import printable
from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.jobs import Job, with_hash
from clipsonic.ingest.plan import Destination, Unit
from clipsonic.ingest.segments import ReadSettings, Segment
from clipsonic.ingest.sources import Outcome
from clipsonic.options import device_of
from clipsonic.refusals import RefusalReason
from clipsonic.shards.record import Record
from clipsonic.shards.writer import ShardWriter
from clipsonic.workers import Event

BATCH_PICTURES = 32
"""Of one batch, always: a CLIP's float32 rounding depends on the batch that a picture is in."""
_EVENTS_AHEAD = 64  # segments that wait while the CLIP computes, about 1 MB each
_SMALL_CLIP = 20_000_000  # weights
_loaded: dict[str, Embedder] = {}
_TICK_S = 0.2
_PATIENCE_S = 1.0
"""An iterator that gives nothing (a decoder that hangs) is not waited for: its own end ends the thread."""

T = TypeVar("T")


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


@dataclass(frozen=True)
class UnitTask:
    """What building a unit takes besides the unit: where to, how files are cut, the limits of a decoding process, and
    where the CLIP computes in a process that loads it."""

    destination: Destination
    settings: ReadSettings
    shard_records: int
    timeout_s: float
    memory_mb: int
    device: str = "auto"


Tick = Callable[[int], Any]
"""Called with the number of jobs that have just ended."""


class Executor(Protocol):
    """Builds units; used as a context manager, so that it can begin before the CLIP is loaded."""

    def build(
        self, units: Sequence[Unit], task: UnitTask, embedder: Embedder, tick: Tick
    ) -> Iterator[tuple[Unit, dict[str, Any]]]:
        """Each unit with its result, as they end."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...


class LocalExecutor:
    """Decoding in processes of this machine, the CLIP in this one."""

    def __init__(self, num_workers: int, timeout_s: float, memory_mb: int) -> None:
        self._pool = WorkerPool(num_workers, timeout_s=timeout_s, memory_mb=memory_mb)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def build(
        self, units: Sequence[Unit], task: UnitTask, embedder: Embedder, tick: Tick
    ) -> Iterator[tuple[Unit, dict[str, Any]]]:
        """Each unit with its result, in order."""
        jobs = [job for unit in units for job in unit.jobs]
        with (
            embedding_with(embedder),
            working_ahead(self._pool.run(jobs, task.settings), _EVENTS_AHEAD) as events,
        ):
            for unit in units:
                yield unit, build_unit(unit, events, task, embedder, tick)


def build_unit(
    unit: Unit, events: Iterator[tuple[int, Event]], task: UnitTask, embedder: Embedder, tick: Tick
) -> dict[str, Any]:
    """The shards of one unit, whole, from what the decoding processes say of its jobs; what `Plan.finish` stores."""
    task.destination.folder.mkdir(parents=True, exist_ok=True)  # another machine may not have it yet
    builder = UnitBuilder(unit, task.destination.folder, embedder, task.shard_records)
    try:
        while builder.num_done < len(unit.jobs):
            _, (kind, first, second) = next(events)
            job: Job = unit.jobs[builder.num_done]
            if kind == "segment":
                builder.add(job, first)
            else:
                builder.end_job(job, first, second)
                tick(1)
        result = {**builder.close(), **({"products": products} if (products := products_of(embedder)) else {})}
    except BaseException:
        builder.abort()
        raise
    for shard in result["shards"]:
        task.destination.publish(shard["name"])
    return result


def embedder_of(clip: Any, device: str = "auto") -> Embedder:
    """The CLIP of a task, loaded once in each process; `clip` is a name, or an embedder."""
    if not isinstance(clip, str):
        embedder: Embedder = clip
        return embedder
    if clip not in _loaded:
        from clipsonic.clip.open_clip import load_clip

        _loaded[clip] = load_clip(clip, device_of(device))
    return _loaded[clip]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def embedding_with(embedder: Any) -> Iterator[None]:
    """Inside, torch's threads and products suit this CLIP; afterwards they are as before.

    On a GPU products are in TF32 (10 bits of mantissa), several times faster. A small CLIP on a CPU gains nothing from
    several threads (58 against 55 ms for 32 pictures through the bundled one), and beside decoding processes that take
    all cores they only wait for each other: 800 videos took 161 s of CPU time with two threads and 38 s with one.
    """
    import torch

    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if products_of(embedder):
        torch.set_float32_matmul_precision("high")
    model = getattr(embedder, "model", None)
    if model is not None and sum(weights.numel() for weights in model.parameters()) <= _SMALL_CLIP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def products_of(embedder: Any) -> str | None:
    """How this CLIP's products are computed inside `embedding_with`, for the index: `tf32`, or None for float32."""
    return "tf32" if getattr(getattr(embedder, "device", None), "type", "cpu") == "cuda" else None


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


class PictureBatches:
    """Pictures of a stream in, their vectors out in the same order: they depend on the pictures of that stream only."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._pictures: list[np.ndarray] = []
        self._embedded: list[np.ndarray] = []

    def add(self, pictures: Sequence[np.ndarray]) -> None:
        """Take pictures (H, W, 3) uint8; full batches are embedded now.

        Raises:
            SpecError: the CLIP gives something else than finite vectors of its width.
        """
        self._pictures.extend(pictures)
        while len(self._pictures) >= BATCH_PICTURES:
            self._embed()

    def flush(self) -> None:
        """Embed what is left: the stream has ended."""
        while self._pictures:
            self._embed()

    def take(self, count: int) -> np.ndarray | None:
        """The next vectors (count, E) float16, or None while not all of them are there."""
        if count > len(self._embedded):
            return None
        vectors, self._embedded = np.stack(self._embedded[:count]).astype(np.float16), self._embedded[count:]
        return vectors

    def _embed(self) -> None:
        batch, self._pictures = self._pictures[:BATCH_PICTURES], self._pictures[BATCH_PICTURES:]
        filled = batch + [batch[-1]] * (BATCH_PICTURES - len(batch))
        vectors = np.asarray(self._embedder.embed_pictures(filled, batch_size=BATCH_PICTURES), np.float32)
        if vectors.shape != (BATCH_PICTURES, self._embedder.width) or not np.isfinite(vectors).all():
            raise SpecError(
                f"CLIP {self._embedder.fingerprint} gave {vectors.shape} embeddings, not all finite or not of shape "
                f"{(BATCH_PICTURES, self._embedder.width)}: use another CLIP"
            )
        self._embedded.extend(vectors[: len(batch)])


@contextmanager
def working_ahead(items: Generator[T, None, None], count: int) -> Iterator[Iterator[T]]:
    """Inside, an iterator over `items` of which up to `count` are made before they are asked for."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, stopped), daemon=True)
    thread.start()
    try:
        yield _taken(waiting)
    finally:
        stopped.set()
        thread.join(_PATIENCE_S)


def _fill(items: Generator[T, None, None], waiting: queue.Queue[tuple[str, Any]], stopped: threading.Event) -> None:
    try:
        for item in items:
            if not _put(waiting, ("item", item), stopped):
                return
        _put(waiting, ("end", None), stopped)
    except BaseException as error:  # handed over, never swallowed
        _put(waiting, ("error", error), stopped)
    finally:
        items.close()


def _put(waiting: queue.Queue[tuple[str, Any]], message: tuple[str, Any], stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            waiting.put(message, timeout=_TICK_S)
        except queue.Full:
            continue
        return True
    return False


def _taken(waiting: queue.Queue[tuple[str, Any]]) -> Iterator[Any]:
    while True:
        what, value = waiting.get()
        if what == "error":
            raise value
        if what == "end":
            return
        yield value
