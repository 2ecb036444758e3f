"""The two halves of a drawing: what never moves, and what does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clipsonic.soundstage.draw.canvas import Pen
from clipsonic.soundstage.draw.moment import Look, Moment


def _nothing(pen: Pen, look: Look) -> None:
    """Everything moves."""


@dataclass(frozen=True)
class Sketch:
    """One kind's drawing: `still(pen, look)` is drawn once, `moving(pen, look, moment)` for every frame over it."""

    moving: Callable[[Pen, Look, Moment], None]
    still: Callable[[Pen, Look], None] = _nothing
