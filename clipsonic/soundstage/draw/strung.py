"""Strung things: a guitar whose strings tremble after each pluck, a violin under a moving bow."""

from __future__ import annotations

from clipsonic.soundstage.draw.canvas import INK, Color, Pen, mirrored, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_GUITAR_BODY = smooth(
    mirrored(
        [(0.0, -0.02), (0.15, 0.0), (0.185, 0.09), (0.145, 0.17), (0.21, 0.28), (0.24, 0.38), (0.16, 0.49), (0.0, 0.51)]
    )[:-1]
)
_GUITAR_TURN = 0.62
_VIOLIN_BODY = smooth(
    mirrored(
        [
            (0.0, -0.10),
            (0.13, -0.08),
            (0.175, 0.01),
            (0.13, 0.08),
            (0.105, 0.15),
            (0.125, 0.22),
            (0.20, 0.30),
            (0.205, 0.40),
            (0.12, 0.49),
            (0.0, 0.505),
        ]
    )[:-1]
)


def _guitar_pen(pen: Pen) -> Pen:
    return pen.moved(0.06, 0.0, turn=_GUITAR_TURN, scale=1.12)


def _guitar_still(pen: Pen, look: Look) -> None:
    body = _guitar_pen(pen)
    nylon = look.material == "nylon"
    wood: Color = (236, 188, 108) if nylon else (150, 30, 30)
    body.box(-0.045, -0.42, 0.045, 0.05, (74, 48, 34))
    body.fill(((-0.07, -0.56), (0.07, -0.56), (0.055, -0.41), (-0.055, -0.41)), (52, 34, 26))
    for side in (-0.085, 0.085):
        for y in (-0.53, -0.48, -0.44):
            body.disc(side, y, 0.02, (236, 230, 214), edge=True)
    body.fill(_GUITAR_BODY, wood)
    if not nylon:
        body.oval(0.0, 0.30, 0.12, 0.14, (236, 132, 40))
    body.disc(0.0, 0.19, 0.092, shade(wood, 0.55))
    body.disc(0.0, 0.19, 0.072, (30, 20, 18))
    body.box(-0.10, 0.37, 0.10, 0.41, (60, 36, 26), edge=False)
    for fret in range(5):
        y = -0.38 + 0.08 * fret
        body.line(-0.04, y, 0.04, y, 0.012, (200, 190, 160))


def _guitar(pen: Pen, look: Look, now: Moment) -> None:
    body = _guitar_pen(pen)
    color: Color = (252, 250, 244) if look.material == "nylon" else (206, 216, 226)
    swing, hit = now.shake(14.0, 0.22), now.hit(0.22)
    plucked = now.beat % 4
    for string in range(4):
        x = -0.036 + 0.024 * string
        bend = (0.05 if string == plucked else 0.03) * swing
        body.path(((x * 0.8, -0.42), (x + bend, 0.12), (x * 1.3, 0.39)), 0.012, color)
    if hit > 0.08:
        body.glow(0.0, 0.19, 0.22, (255, 236, 150), hit)
        with pen.veil(0.5):
            body.fill(
                ((-0.02, -0.38), (0.06 + 0.05 * hit, 0.14), (0.0, 0.39), (-0.06 - 0.05 * hit, 0.14)), color, edge=False
            )
    _hand(body, now)


def _hand(body: Pen, now: Moment) -> None:
    """The plectrum: drawn back before the pluck, across the strings at it."""
    across = 0.12 - 0.20 * now.hit(0.15) + 0.05 * now.swing() if now.beat or now.active else 0.17
    body.fill(((across, 0.24), (across + 0.13, 0.19), (across + 0.13, 0.30)), (40, 150, 90))


def _violin_still(pen: Pen, look: Look) -> None:
    maple = look.material == "maple"
    wood: Color = (196, 94, 32) if maple else (44, 44, 52)
    pen.box(-0.03, -0.42, 0.03, 0.0, (34, 24, 22) if maple else (20, 20, 24))
    pen.disc(0.0, -0.45, 0.05, wood, edge=True)
    for side in (-0.075, 0.075):
        pen.line(0.0, -0.40, side, -0.41, 0.03, (40, 26, 20))
    pen.fill(_VIOLIN_BODY, wood)
    pen.fill(_VIOLIN_BODY * 0.82 + (0.0, 0.037), shade(wood, 1.16 if maple else 1.2), edge=False)
    pen.fill(((-0.035, 0.0), (0.035, 0.0), (0.028, -0.30), (-0.028, -0.30)), (24, 18, 18), edge=False)
    pen.fill(((-0.035, 0.34), (0.035, 0.34), (0.018, 0.46), (-0.018, 0.46)), (24, 18, 18), edge=False)
    hole: Color = (36, 18, 12) if maple else (190, 190, 200)
    for side in (-1.0, 1.0):
        curve = [(side * x, y) for x, y in ((0.075, 0.10), (0.095, 0.13), (0.075, 0.18), (0.10, 0.24), (0.08, 0.27))]
        pen.path(curve, 0.022, hole)
    pen.line(-0.055, 0.24, 0.055, 0.24, 0.025, (236, 214, 160))


def _violin(pen: Pen, look: Look, now: Moment) -> None:
    shake = now.wave(6.5) * 0.012
    for string in (-0.02, 0.0, 0.02):
        pen.path(((string, -0.40), (string + shake, 0.10), (string * 1.3, 0.36)), 0.01, (238, 236, 226))
    if not now.active:
        _bow(pen.moved(0.36, 0.06, turn=-1.36), 0.0)
        return
    stroke, direction = _stroke(now.cycles)
    speed = 0.10 + 0.16 * (now.speed or 0.0)
    with pen.veil(0.35):
        _bow(pen.moved(-0.5 * speed * direction, 0.11, turn=-0.14), 0.34 * stroke)
    _bow(pen.moved(0.0, 0.12, turn=-0.14), 0.34 * stroke)
    pen.glow(0.0, 0.12, 0.16, (255, 236, 170), 0.5 + 0.2 * now.wave(6.5))


def _stroke(cycles: float) -> tuple[float, float]:
    """Where the bow is, -1..1, and which way it goes: one stroke per cycle, down and up in turn."""
    direction = 1.0 if int(cycles) % 2 == 0 else -1.0
    return direction * (2.0 * (cycles % 1.0) - 1.0), direction


def _bow(pen: Pen, x: float) -> None:
    """The bow, `x` from the middle of its stick."""
    pen.path(((x - 0.46, 0.0), (x, -0.055), (x + 0.46, -0.015)), 0.035, (104, 50, 26))
    pen.line(x - 0.45, 0.02, x + 0.45, 0.02, 0.018, (248, 246, 236))
    pen.box(x + 0.36, -0.03, x + 0.44, 0.035, INK, edge=False)


SKETCHES = {"guitar": Sketch(_guitar, _guitar_still), "violin": Sketch(_violin, _violin_still)}
