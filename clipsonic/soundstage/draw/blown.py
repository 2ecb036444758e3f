"""Blown things: flute, horn, kettle. Breath, valves and steam move while they sound."""

from __future__ import annotations

import math

import numpy as np

from clipsonic.soundstage.draw.canvas import WHITE, Color, Pen, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_FLUTE_TURN = -0.60
_NOTE_SHARE = 0.72  # of a cycle is blown, as it is heard
_RAY: Color = (255, 250, 210)
_FLUTE_HOLES = (-0.12, 0.02, 0.16, 0.30, 0.44, 0.58)


def _flute_pen(pen: Pen) -> Pen:
    return pen.moved(0.0, 0.0, turn=_FLUTE_TURN, scale=1.0)


def _flute_still(pen: Pen, look: Look) -> None:
    tube = _flute_pen(pen)
    if look.material == "silver":
        tube.box(-0.80, -0.062, 0.80, 0.062, (196, 204, 214))
        tube.line(-0.78, -0.028, 0.78, -0.028, 0.03, WHITE)
        tube.line(-0.78, 0.045, 0.78, 0.045, 0.025, (120, 128, 142))
        for x in (-0.80, -0.30, 0.72):
            tube.box(x, -0.08, x + 0.05, 0.08, (150, 158, 172))
        tube.line(-0.18, -0.085, 0.62, -0.085, 0.02, (96, 104, 120))
    else:
        tube.box(-0.80, -0.07, 0.80, 0.07, (206, 168, 84))
        tube.line(-0.78, -0.03, 0.78, -0.03, 0.03, (236, 210, 140))
        for x in (-0.80, -0.36, 0.07, 0.44, 0.76):
            tube.box(x, -0.085, x + 0.035, 0.085, (128, 88, 36), edge=False)
    tube.oval(-0.58, -0.01, 0.07, 0.04, (40, 34, 36))
    for x in _FLUTE_HOLES:
        _flute_hole(tube, look, x, 0.0)


def _flute_hole(tube: Pen, look: Look, x: float, lift: float) -> None:
    if look.material == "silver":
        tube.disc(x, -0.02 - 0.09 * lift, 0.052, (226, 232, 240), edge=True)
    else:
        tube.disc(x, -0.01, 0.034, mix((44, 28, 16), (255, 240, 180), lift))


def _blowing(now: Moment) -> float:
    """How hard it is blown: one note per cycle, fading at its end, a breath before the next."""
    inside = now.cycles % 1.0
    return 0.0 if not now.active else min(1.0, max(0.2, (_NOTE_SHARE - inside) / 0.06))


def _flute(pen: Pen, look: Look, now: Moment) -> None:
    if not now.active:
        return
    tube, blowing = _flute_pen(pen), _blowing(now)
    note = int(now.cycles) * 5 + look.salt
    for number, x in enumerate(_FLUTE_HOLES):
        if (note >> (number % 3)) % 2 == number % 2:
            _flute_hole(tube, look, x, 0.8)
    for puff in range(4):
        share = (now.active_s * 2.2 + puff / 4.0) % 1.0
        tone = mix((255, 255, 255), (180, 220, 255), share)
        x, y = -0.62 - 0.10 * share * blowing, -0.10 - 0.30 * share * blowing
        tube.path(((x, y), (x - 0.07, y - 0.05), (x + 0.02, y - 0.10)), 0.03, tone)
    tube.glow(-0.58, -0.03, 0.16, (220, 240, 255), 0.7 * blowing)


_FLARE = smooth(
    [
        (0.30, -0.05),
        (0.50, -0.09),
        (0.64, -0.20),
        (0.72, -0.34),
        (0.78, -0.33),
        (0.78, 0.33),
        (0.72, 0.34),
        (0.64, 0.20),
        (0.50, 0.09),
        (0.30, 0.05),
    ],
    4,
)


def _brass(look: Look) -> Color:
    return (240, 190, 50) if look.material == "brass" else (190, 92, 54)


def _horn_still(pen: Pen, look: Look) -> None:
    color = _brass(look)
    dark, light = shade(color, 0.62), shade(color, 1.55)
    pen.line(-0.80, -0.05, 0.36, -0.05, 0.10, pen.edge)
    pen.line(-0.80, -0.05, 0.36, -0.05, 0.065, color)
    for width, tone in ((0.11, pen.edge), (0.07, color)):
        pen.arc(-0.42, 0.13, 0.18, 0.18, 90, 270, width, tone)
        pen.arc(0.22, 0.13, 0.18, 0.18, -90, 90, width, tone)
        pen.line(-0.42, 0.31, 0.22, 0.31, width, tone)
    pen.moved(0.0, -0.05).fill(_FLARE, color)
    pen.oval(0.76, -0.05, 0.06, 0.31, dark, edge=True)
    pen.line(-0.75, -0.065, 0.45, -0.065, 0.022, light)
    pen.fill(((-0.92, -0.12), (-0.80, -0.08), (-0.80, -0.02), (-0.92, 0.02)), dark)
    for x in (-0.24, -0.09, 0.06):
        pen.box(x - 0.055, -0.12, x + 0.055, 0.40, color)
        pen.line(x - 0.02, -0.08, x - 0.02, 0.36, 0.025, light)


def _horn(pen: Pen, look: Look, now: Moment) -> None:
    note = int(now.cycles) * 3 + look.salt
    for number, x in enumerate((-0.24, -0.09, 0.06)):
        down = 0.10 if now.active and (note >> number) % 2 else 0.0
        pen.line(x, -0.12, x, -0.25 + down, 0.035, (120, 120, 130))
        pen.oval(x, -0.28 + down, 0.055, 0.03, WHITE, edge=True)
    if not now.active:
        return
    blowing = _blowing(now)
    pen.glow(0.80, -0.05, 0.36, (255, 236, 170), 0.85 * blowing)
    for ray in range(-2, 3):
        angle, start = ray * 0.32, 0.11
        dx, dy = math.cos(angle), math.sin(angle)
        reach = start + 0.04 + (0.10 + 0.03 * now.wave(5.0, ray * 0.2)) * blowing
        pen.line(0.80 + start * dx, -0.05 + 2 * start * dy, 0.80 + reach * dx, -0.05 + 2 * reach * dy, 0.035, _RAY)


_POT = smooth(
    [
        (-0.14, -0.14),
        (0.14, -0.14),
        (0.30, 0.0),
        (0.40, 0.26),
        (0.38, 0.44),
        (0.26, 0.49),
        (-0.26, 0.49),
        (-0.38, 0.44),
        (-0.40, 0.26),
        (-0.30, 0.0),
    ],
    4,
)
_SPOUT = np.array([(0.26, 0.22), (0.44, 0.06), (0.52, -0.14), (0.62, -0.10), (0.56, 0.12), (0.36, 0.40)])


def _kettle_still(pen: Pen, look: Look) -> None:
    enamel = look.material == "enamel"
    color: Color = (206, 44, 40) if enamel else (168, 178, 190)
    for width, tone in ((0.09, pen.edge), (0.05, (46, 38, 40))):
        pen.arc(0.0, -0.12, 0.30, 0.34, 180, 360, width, tone)
    pen.fill(_SPOUT, color)
    pen.fill(_POT, color)
    if enamel:
        for x, y in (
            (-0.22, 0.14),
            (-0.02, 0.08),
            (0.18, 0.16),
            (-0.12, 0.28),
            (0.10, 0.30),
            (0.27, 0.36),
            (-0.28, 0.36),
            (0.0, 0.42),
        ):
            pen.disc(x, y, 0.035, (252, 240, 232))
    else:
        pen.fill(((-0.30, 0.06), (-0.18, 0.02), (-0.22, 0.40), (-0.33, 0.38)), (232, 238, 244), edge=False)
        pen.fill(((0.24, 0.06), (0.30, 0.10), (0.34, 0.38), (0.26, 0.42)), (110, 118, 132), edge=False)
    pen.line(-0.36, 0.46, 0.36, 0.46, 0.05, shade(color, 0.6))


def _kettle(pen: Pen, look: Look, now: Moment) -> None:
    enamel = look.material == "enamel"
    lid: Color = (170, 30, 30) if enamel else (130, 140, 154)
    hop = -0.02 * abs(now.wave(7.0))
    pen.oval(0.0, -0.14 + hop, 0.17, 0.06, lid, edge=True)
    pen.disc(0.0, -0.22 + hop, 0.05, (40, 34, 36), edge=True)
    if not now.active:
        return
    with pen.veil(0.8):
        pen.fill(((0.56, -0.15), (0.60, -0.12), (0.86, -0.38), (0.72, -0.48)), (250, 252, 255))
        for puff in range(5):
            share = (now.active_s * 1.6 + puff / 5.0) % 1.0
            x, y = 0.60 + 0.30 * share, -0.16 - 0.36 * share
            pen.disc(x + 0.03 * math.sin(9 * share + puff), y, 0.04 + 0.10 * share, (246, 248, 252), edge=True)


SKETCHES = {
    "flute": Sketch(_flute, _flute_still),
    "horn": Sketch(_horn, _horn_still),
    "kettle": Sketch(_kettle, _kettle_still),
}
