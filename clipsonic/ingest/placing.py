"""Where decoded sound lies: runs of samples that are torn only where the file's times say so for good.

Guarantee: a run lies where most of its packets say, not where its first one does, so times that jitter or are rounded
neither tear nor shift it (within a few ms for 20 ms packets that are each up to 60 ms off); a gap of more than 20 ms
(of noisy times: about 100 ms) and a drift that has come to as much are followed. Price: a few packets are held, where
times are noisy a second or two. Pure: knows no file.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

QUIET_S = 0.002
"""Times of packets that are, the median, less than this from an even pace are exact but for rounding."""
_LEAST_STEP_S = 0.02
_NEAR, _FAR_QUIET, _FAR_NOISY = 5, 3, 75  # packets

Piece = TypeVar("Piece")


def placed(
    pieces: Iterable[tuple[int | None, int, Piece]], rate_hz: int, jitter_s: float = 0.0
) -> Iterator[tuple[int, Piece]]:
    """(start, piece) of every piece of sound, in samples of the film.

    Args:
        pieces: (start by its timestamp or None, number of samples, anything) each, in order.
        rate_hz: samples per second.
        jitter_s: of the file's clock.
    """
    is_quiet = jitter_s < QUIET_S
    far, rounding_s = (_FAR_QUIET, QUIET_S) if is_quiet else (_FAR_NOISY, 0.0)
    step_s, spread_s = max(_LEAST_STEP_S, 1.25 * jitter_s), max(_LEAST_STEP_S, 3.5 * jitter_s)
    held: _Held[Piece] = _Held(step_s * rate_hz, spread_s * rate_hz, rounding_s * rate_hz)
    for told, length, piece in pieces:
        held.add(told, length, piece)
        if len(held) >= far:
            yield held.pop()
    while len(held):
        yield held.pop()


class _Held(Generic[Piece]):
    """The next pieces, and by how much the run of the last one is moved against the samples counted so far."""

    def __init__(self, step: float, spread: float, rounding: float) -> None:
        self._step, self._spread, self._rounding = step, spread, rounding
        self._pieces: deque[tuple[int | None, int, Any]] = deque()  # (told - counted, counted, piece)
        self._counted, self._moved = 0, 0.0
        self._is_first = True

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, told: int | None, length: int, piece: Piece) -> None:
        self._pieces.append((None if told is None else told - self._counted, self._counted, piece))
        self._counted += length

    def pop(self) -> tuple[int, Piece]:
        """The next piece and its place."""
        told, counted, piece = self._pieces[0]
        if told is not None and (self._is_first or abs(told - self._moved) > self._step):
            self._look_on()
        self._pieces.popleft()
        return math.floor(self._moved + 0.5) + counted, piece

    def _look_on(self) -> None:
        """Move the run if the next pieces say so too."""
        by = np.array([told for told, _, _ in self._pieces if told is not None])
        near = float(np.median(by[:_NEAR]))
        if self._is_first and abs(by[0] - near) < self._rounding:
            self._moved = float(by[0])
        elif self._is_first or min(abs(near - self._moved), abs(float(np.median(by)) - self._moved)) > self._sure(by):
            alike = by[np.abs(by - near) <= self._spread]
            self._moved = float(np.median(alike) if len(by) <= _NEAR else np.mean(alike))
        self._is_first = False

    def _sure(self, by: np.ndarray) -> float:
        """How far the median of so many noisy times must be away to mean something, near the end of the sound too."""
        return self._step if self._rounding else self._step * math.sqrt(_FAR_NOISY / len(by))
