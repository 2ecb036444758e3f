"""Drawing in several processes.

Guarantee: results come in the order of the items whatever the number of processes; when the parent ends, however it
ends, its processes do too. Price: a fresh process takes a second to import what it draws with.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_workers(work: Callable[[int], T], items: Sequence[int], workers: int, chunksize: int = 1) -> Iterator[T]:
    """`work` of each item, in this process (one worker) or in fresh ones; `work` must be picklable."""
    if workers == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            yield from pool.map(work, items, chunksize=chunksize)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    """Each process draws with one thread, since the processes already fill the cores, and ends when its parent does."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody: without this its workers would wait for work for good."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
