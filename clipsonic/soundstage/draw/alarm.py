"""Alarms: a beacon whose light sweeps round, a digital alarm clock that flashes at each beep."""

from __future__ import annotations

import math

from clipsonic.soundstage.draw.canvas import WHITE, Color, Pen, mirrored, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_DOME = smooth(mirrored([(0.0, -0.34), (0.18, -0.30), (0.29, -0.14), (0.32, 0.06), (0.32, 0.20)])[:-1], 4)


_BEAM: dict[str, Color] = {"blue": (150, 190, 255), "red": (255, 150, 130)}


def _siren_color(look: Look) -> Color:
    return (30, 90, 250) if look.material == "blue" else (240, 30, 34)


def _siren_still(pen: Pen, look: Look) -> None:
    pen.box(-0.50, 0.34, 0.50, 0.50, (54, 54, 62))
    pen.box(-0.40, 0.20, 0.40, 0.35, (150, 154, 164))
    for x in (-0.36, 0.36):
        pen.disc(x, 0.42, 0.03, (190, 190, 196))


def _siren(pen: Pen, look: Look, now: Moment) -> None:
    color = _siren_color(look)
    if not now.active:
        _dome(pen, shade(color, 0.50), shade(color, 0.72))
        return
    angle = 2.0 * math.pi * now.cycles
    facing, side = math.cos(angle), math.sin(angle)
    pen.glow(0.0, 0.0, 1.0, color, 0.65 + 0.2 * facing)
    reach, spread = 0.55 + 0.40 * abs(side), 0.12 + 0.14 * abs(side)
    with pen.veil(0.40 + 0.2 * abs(side)):
        for sign in (1.0, -1.0):
            pen.fill(
                ((0.0, -0.04), (sign * reach, -spread), (sign * reach, spread), (0.0, 0.06)),
                _BEAM[look.material],
                edge=False,
            )
    _dome(pen, mix(color, WHITE, 0.18 + 0.12 * facing), mix(color, WHITE, 0.6))
    x = 0.20 * side
    pen.oval(x, 0.0, 0.07 + 0.06 * abs(facing), 0.13, mix(color, WHITE, 0.8 + 0.2 * facing))
    pen.glow(x, 0.0, 0.30, (255, 255, 255), 0.6 + 0.3 * facing)


def _dome(pen: Pen, color: Color, shine: Color) -> None:
    pen.fill(_DOME, color)
    pen.path(((-0.20, 0.10), (-0.19, -0.08), (-0.12, -0.21)), 0.05, shine)


_SEGMENTS = (
    ((-1, -2), (1, -2)),
    ((1, -2), (1, 0)),
    ((1, 0), (1, 2)),
    ((-1, 2), (1, 2)),
    ((-1, 0), (-1, 2)),
    ((-1, -2), (-1, 0)),
    ((-1, 0), (1, 0)),
)
_SHAPES = {
    0: "012345",
    1: "12",
    2: "01643",
    3: "01623",
    4: "5612",
    5: "05623",
    6: "056432",
    7: "012",
    8: "0123456",
    9: "012356",
}


def _beeper(pen: Pen, look: Look, now: Moment) -> None:
    white = look.material == "white"
    case: Color = (240, 240, 236) if white else (52, 52, 60)
    flash = now.hit(0.14)
    body = pen.moved(0.03 * now.shake(14.0, 0.10), -0.03 * flash)
    for x in (-0.46, 0.46):
        body.line(x * 0.9, 0.34, x, 0.48, 0.09, shade(case, 0.55))
    body.box(-0.13, -0.42, 0.13, -0.26, (230, 60, 50) if white else (240, 190, 40))
    body.fill(_CASE_SHAPE, case)
    body.box(-0.54, -0.16, 0.54, 0.26, mix((22, 30, 26), (255, 110, 90), flash))
    lit = mix((80, 240, 120) if white else (255, 70, 50), WHITE, flash)
    minutes = 7 * 60 + look.salt % 300
    for x, digit in zip((-0.40, -0.16, 0.16, 0.40), _clock_digits(minutes), strict=True):
        _digit(body.moved(x, 0.05), digit, lit)
    for y in (-0.01, 0.12):
        body.disc(0.0, y, 0.026, lit)
    if flash > 0.12:
        pen.glow(0.0, 0.05, 0.7, (255, 120, 100), 0.7 * flash)
        for side in (-1.0, 1.0):
            for ray in (-0.16, 0.0, 0.16):
                pen.line(
                    side * 0.74, -0.30 + ray, side * (0.74 + 0.14 * flash), -0.34 + 1.6 * ray, 0.035, (255, 236, 150)
                )


_CASE_SHAPE = smooth(
    [
        (-0.60, -0.28),
        (0.60, -0.28),
        (0.67, -0.22),
        (0.67, 0.32),
        (0.60, 0.38),
        (-0.60, 0.38),
        (-0.67, 0.32),
        (-0.67, -0.22),
    ],
    3,
)


def _clock_digits(minutes: int) -> tuple[int, int, int, int]:
    hours, rest = divmod(minutes, 60)
    return hours // 10 % 10, hours % 10, rest // 10, rest % 10


def _digit(pen: Pen, digit: int, color: Color) -> None:
    for segment in _SHAPES[digit]:
        (x0, y0), (x1, y1) = _SEGMENTS[int(segment)]
        pen.line(0.075 * x0, 0.07 * y0, 0.075 * x1, 0.07 * y1, 0.04, color)


SKETCHES = {"siren": Sketch(_siren, _siren_still), "beeper": Sketch(_beeper)}
