"""An iterator that works ahead in a thread, so that processes get their next job while the consumer computes.

Guarantee: the same items in the same order, its errors raised where the consumer stands; leaving the block closes the
iterator and ends the thread, at the latest with the iterator's next item. Price: at most `count` items wait in memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 0.2
_PATIENCE_S = 1.0
"""An iterator that gives nothing (a decoder that hangs) is not waited for: its own end ends the thread."""


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
