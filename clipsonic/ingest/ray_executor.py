"""Units built by a Ray cluster: one task per output shard, begun again elsewhere when its node dies.

Guarantee: the bytes of a local run (on one kind of device and library versions), whatever the number of nodes; a unit
counts as done only when its shards are whole on the common disk. Price: every node needs clipsonic, the sources and the
corpus's folder under the same paths; a task takes one core, and a GPU where the cluster has one per task to give; each
Ray process loads the CLIP once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.executors import Embedder, Tick, UnitTask, build_unit, embedder_of, embedding_with, working_ahead
from clipsonic.ingest.plan import Unit

_EVENTS_AHEAD = 16
_RETRIES = 5
"""How many dying nodes a unit may meet."""
_SUBMITTED_PER_CORE = 3

T = TypeVar("T")
R = TypeVar("R")


class RayExecutor:
    """Tasks on a cluster.

    Args:
        clip: the name by which each node loads the CLIP; an embedder that is no named CLIP travels with the task.
        address: of a running cluster, `auto` for the one this machine belongs to, None to start one here.

    Raises:
        UsageError: Ray is not installed, or no cluster answers at that address.
    """

    def __init__(self, clip: str | None, address: str | None = None) -> None:
        self._ray, self._clip = _ray(), clip if clip is None else _seen_from_anywhere(clip)
        self._started = not self._ray.is_initialized()
        if self._started:
            try:
                self._ray.init(address=address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                where = "no cluster answers" if address == "auto" else f"no cluster answers at {address}"
                raise UsageError(f"{where} ({error}): start one with `ray start --head`") from None

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def build(
        self, units: Sequence[Unit], task: UnitTask, embedder: Embedder, tick: Tick
    ) -> Iterator[tuple[Unit, dict[str, Any]]]:
        """Each unit with its result, as they end; raises as `each`."""
        for unit, result in self.each(_build_here, units, task, embedder=embedder):
            tick(len(unit.jobs))
            yield unit, result

    def each(
        self, work: Callable[..., R], items: Iterable[T], *arguments: Any, embedder: Embedder | None = None
    ) -> Iterator[tuple[T, R]]:
        """Each item with `work(item, *arguments, clip)`, as they end; `clip` is what `embedder_of` takes.

        Raises:
            ClipsonicError: a task could not be done on any node.
        """
        remote = self._ray.remote(num_cpus=1, num_gpus=self._gpus_per_task(), max_retries=_RETRIES)(work)
        clip = self._ray.put(embedder) if self._clip is None else self._clip
        todo, running = iter(items), dict[Any, T]()
        while True:
            while len(running) < self._num_submitted() and (item := next(todo, None)) is not None:
                running[remote.remote(item, *arguments, clip)] = item
            if not running:
                return
            done, _ = self._ray.wait(list(running), num_returns=1)
            item = running.pop(done[0])
            yield item, self._result_of(done[0])

    def _result_of(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            words = str(error).strip().splitlines()[-1]
            raise ClipsonicError(
                f"a part could not be done on the cluster ({words}): run the same command again to go on"
            ) from None

    def _num_submitted(self) -> int:
        return _SUBMITTED_PER_CORE * max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _gpus_per_task(self) -> float:
        """A share of a GPU, so that all of a machine's cores can decode for it; none where there is none."""
        resources = self._ray.cluster_resources()
        cores, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
        return min(1.0, round(gpus / cores, 3)) if gpus else 0.0


def _build_here(unit: Unit, task: UnitTask, clip: Any) -> dict[str, Any]:
    """One unit, in a process of Ray's; `clip` is a name, or an embedder."""
    embedder = embedder_of(clip, task.device)
    pool = WorkerPool(1, timeout_s=task.timeout_s, memory_mb=task.memory_mb)
    with (
        pool,
        embedding_with(embedder),
        working_ahead(pool.run(unit.jobs, task.settings), _EVENTS_AHEAD) as events,
    ):
        return build_unit(unit, events, task, embedder, lambda _: None)


def _seen_from_anywhere(clip: str) -> str:
    """A CLIP's name with its path, if it has one (`FOLDER` or `ARCH:FILE`), made absolute."""
    arch, separator, file = clip.rpartition(":")
    return f"{arch}{separator}{Path(file).absolute()}" if Path(file).exists() else clip


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise UsageError(
            f"--executor ray needs Ray, which is not installed: pip install 'clipsonic[ray]' (Python {version})"
        ) from None
    return ray
