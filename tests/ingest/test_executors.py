"""Working ahead: the same items, the same errors, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clipsonic.ingest.executors import working_ahead


class Source:
    """Counts to `size`, and knows how far it was asked and whether it was closed."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.size, self.error = size, error
        self.made, self.closed = 0, threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(self.size):
                self.made += 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed.set()


def test_all_items_come_in_order() -> None:
    with working_ahead(Source(1000)(), 8) as items:  # type: ignore[arg-type]
        assert list(items) == list(range(1000))


def test_an_error_comes_after_the_items_before_it() -> None:
    with working_ahead(Source(3, ValueError("broken"))(), 8) as items:  # type: ignore[arg-type]
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            next(items)


def test_leaving_early_closes_the_source_and_makes_no_more_than_was_allowed() -> None:
    source, before = Source(10**9), threading.active_count()
    with working_ahead(source(), 8) as items:  # type: ignore[arg-type]
        assert next(items) == 0
    assert source.closed.is_set()
    assert source.made <= 1 + 8 + 1  # taken, waiting, and one in hand
    assert threading.active_count() == before
