"""Who builds the units of an ingest: this machine's processes, or a Ray cluster (`ray_executor`).

Guarantee: a unit's bytes depend on its jobs and on the task, not on who built it, nor on how many build.
Price: of the local one none; see `ray_executor` for the other's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from clipsonic.ingest.ahead import working_ahead
from clipsonic.ingest.batches import Embedder
from clipsonic.ingest.border import Event
from clipsonic.ingest.destination import Destination
from clipsonic.ingest.plan import Unit
from clipsonic.ingest.pool import WorkerPool
from clipsonic.ingest.segments import Job, ReadSettings
from clipsonic.ingest.unit import UnitBuilder
from clipsonic.options import device_of

_EVENTS_AHEAD = 64  # segments that wait while the CLIP computes, about 1 MB each
_SMALL_CLIP = 20_000_000  # weights
_loaded: dict[str, Embedder] = {}


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
