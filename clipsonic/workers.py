"""Work in several fresh processes of this machine.

Guarantee: results come in the order of the items whatever the number of processes; when the parent ends, however it
ends, its processes do too. Price: a fresh process takes a second or more to import what it works with.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_workers(work: Callable[[T], R], items: Sequence[T], workers: int, chunksize: int = 1) -> Iterator[R]:
    """`work` of each item, in this process (one worker) or in fresh ones; `work` must be picklable."""
    if workers == 1:
        yield from map(work, items)
        return
    with pool_of(workers) as pool:
        try:
            yield from pool.map(work, items, chunksize=chunksize)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def pool_of(workers: int) -> Executor:
    """Fresh processes to work in; up to one worker a thread of this process."""
    if workers <= 1:
        return ThreadPoolExecutor(1, thread_name_prefix="worker")
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Each process computes with one thread, since the processes already fill the cores, and ends when its parent does.

    Ctrl-C reaches a whole group, and is the parent's affair: it may want to finish what it does.
    """
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # heard when OpenCV is imported, by those that draw
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody: without this its workers would wait for work for good."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
