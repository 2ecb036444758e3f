"""The dial: a gauge whose needle shows the speed of this instant, grey and at zero while the thing rests."""

from __future__ import annotations

import math

import numpy as np

from clipsonic.soundstage.draw.canvas import INK, WHITE, Color, Pen, mix

HEIGHT = 0.26
"""Height of the dial as a share of the picture's."""

_START_DEG, _SWEEP_DEG = 150.0, 240.0
_SLOW: Color = (40, 150, 230)
_MIDDLE: Color = (250, 200, 30)
_FAST: Color = (235, 40, 30)
_GREY: Color = (150, 150, 150)


def draw_dial(picture: np.ndarray, speed: float | None, *, left: bool) -> None:
    """Draw the dial into a top corner of the picture's central square (which survives any centre crop)."""
    height, width = picture.shape[:2]
    unit = HEIGHT * height
    inset = max(0.0, (width - height) / 2.0) + 0.55 * unit
    pen = Pen(picture, inset if left else width - 1 - inset, 0.55 * unit, unit)
    face = (226, 226, 222) if speed is None else WHITE
    pen.disc(0.0, 0.0, 0.5, INK)
    pen.disc(0.0, 0.0, 0.455, face)
    share = 0.0 if speed is None else 0.12 + 0.88 * speed
    _draw_arc(pen, share)
    angle = math.radians(_START_DEG + _SWEEP_DEG * share)
    color = _GREY if speed is None else (20, 20, 25)
    pen.line(
        -0.08 * math.cos(angle), -0.08 * math.sin(angle), 0.30 * math.cos(angle), 0.30 * math.sin(angle), 0.08, color
    )
    pen.disc(0.0, 0.0, 0.08, color)


def _draw_arc(pen: Pen, share: float) -> None:
    end = _START_DEG + _SWEEP_DEG * share
    pen.arc(0.0, 0.0, 0.37, 0.37, _START_DEG, _START_DEG + _SWEEP_DEG, 0.11, (196, 196, 194))
    if share > 0.0:
        pen.arc(0.0, 0.0, 0.37, 0.37, _START_DEG, end, 0.13, _color(share))


def _color(share: float) -> Color:
    return mix(_SLOW, _MIDDLE, share * 2.0) if share < 0.5 else mix(_MIDDLE, _FAST, share * 2.0 - 1.0)
