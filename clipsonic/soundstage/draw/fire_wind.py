"""Fire and wind: campfire, a tree in the wind, fireworks. Sparks and bursts appear at the event's instant."""

from __future__ import annotations

import math

import numpy as np

from clipsonic.soundstage.draw.canvas import INK, WHITE, Color, Pen, mix, shade
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_FLAME = np.array(
    [
        (0.0, -0.5),
        (0.10, -0.25),
        (0.17, -0.05),
        (0.20, 0.15),
        (0.14, 0.36),
        (0.0, 0.42),
        (-0.14, 0.36),
        (-0.20, 0.15),
        (-0.16, -0.02),
        (-0.06, -0.22),
    ]
)


def _campfire(pen: Pen, look: Look, now: Moment) -> None:
    orange = look.material == "orange"
    outer: Color = (255, 140, 20) if orange else (224, 36, 28)
    inner: Color = (255, 226, 80) if orange else (255, 120, 40)
    pop = now.hit(0.13)
    pen.glow(0.0, 0.15, 0.62, outer, 0.30 + 0.5 * pop if now.active else 0.10)
    if now.active:
        for number, (x, scale) in enumerate(((-0.20, 0.62), (0.20, 0.66), (0.0, 0.92 + 0.10 * pop))):
            sway = now.wave(1.7 + 0.4 * number, 0.3 * number + 0.1 * look.index)
            _flame(pen, x, scale * (1.0 + 0.05 * now.wave(2.9, number * 0.4)), sway, outer, True)
        for x, scale in ((-0.10, 0.46), (0.10, 0.50)):
            _flame(pen, x, scale, now.wave(2.3, x), inner, False)
    for turn, tone in ((0.24, 1.0), (-0.24, 0.82)):
        log = pen.moved(0.0, 0.38, turn=turn)
        log.box(-0.44, -0.065, 0.44, 0.065, shade((124, 76, 42), tone))
        log.oval(-0.44, 0.0, 0.035, 0.065, (206, 160, 104), edge=True)
    for number in range(5):
        x = -0.20 + 0.10 * number
        pen.disc(x, 0.35 + 0.02 * (number % 2), 0.035, mix((120, 30, 20), (255, 190, 60), 0.8 if now.active else 0.25))
    _sparks(pen, look, now, pop)


def _flame(pen: Pen, x: float, scale: float, sway: float, color: Color, edge: bool) -> None:
    height = 0.84 * scale
    points = _FLAME * (1.05 * scale, height) + (x, 0.36 - 0.42 * height)
    points[:, 0] += sway * 0.11 * np.clip(0.2 - _FLAME[:, 1], 0.0, 1.0)
    pen.fill(points, color, edge=edge and scale > 0.9)


def _sparks(pen: Pen, look: Look, now: Moment, pop: float) -> None:
    if pop < 0.08:
        return
    pen.glow(0.0, 0.05, 0.55, (255, 230, 150), pop)
    for number in range(7):
        angle = -math.pi * (0.12 + 0.76 * ((number * 0.618 + 0.137 * now.beat) % 1.0))
        reach = 0.22 + 0.24 * (1.0 - pop) + 0.05 * (number % 3)
        pen.disc(reach * math.cos(angle), 0.02 + reach * math.sin(angle), 0.028, (255, 244, 150))


_TRUNK = np.array([(-0.07, 0.50), (-0.045, 0.10), (-0.03, -0.08), (0.03, -0.08), (0.045, 0.10), (0.08, 0.50)])
_CROWN = ((-0.20, -0.14, 0.19), (0.20, -0.14, 0.19), (-0.10, -0.30, 0.19), (0.12, -0.30, 0.18), (0.0, -0.14, 0.22))
_TWIGS = (
    ((0.0, -0.02), (-0.16, -0.22), (-0.30, -0.34)),
    ((0.0, -0.06), (0.18, -0.22), (0.30, -0.36)),
    ((0.0, -0.08), (-0.03, -0.30), (-0.10, -0.49)),
    ((0.0, -0.10), (0.08, -0.32), (0.12, -0.48)),
    ((-0.16, -0.22), (-0.30, -0.20), (-0.40, -0.22)),
    ((0.18, -0.22), (0.32, -0.20), (0.42, -0.24)),
)


def _bend(points: np.ndarray, gust: float) -> np.ndarray:
    """Lean to the right, more the higher."""
    height = np.clip(0.5 - points[:, 1], 0.0, 1.0)
    return points + np.stack((gust * height**1.6, 0.22 * abs(gust) * height**2), axis=1)


def _wind(pen: Pen, look: Look, now: Moment) -> None:
    speed = now.speed or 0.0
    blow = -math.cos(2.0 * math.pi * (now.cycles + 0.12 * look.index))
    gust = 0.22 + 0.16 * speed + 0.16 * blow + 0.02 * now.wave(3.1) if now.active else 0.0
    pen.fill(_bend(_TRUNK, gust), (112, 74, 46))
    if look.material == "green":
        centres = _bend(np.array([(x, y) for x, y, _ in _CROWN]), gust)
        radii = [radius for _, _, radius in _CROWN]
        for (x, y), radius in zip(centres, radii, strict=True):
            pen.disc(x, y, radius + 0.022, pen.edge)
        for (x, y), radius, tone in zip(centres, radii, (0.8, 0.86, 1.0, 0.94, 1.12), strict=True):
            pen.oval(x, y, radius * (1.0 + 0.5 * gust), radius, shade((60, 156, 54), tone))
    else:
        for twig in _TWIGS:
            pen.path(_bend(np.array(twig), gust), 0.045, (112, 74, 46))
    if now.active:
        _gusts(pen, look, now, speed)


def _gusts(pen: Pen, look: Look, now: Moment, speed: float) -> None:
    for streak in range(5):
        share = (now.active_s * (0.5 + 0.5 * speed) + streak * 0.618) % 1.0
        x, y = -0.75 + 1.3 * share, -0.42 + 0.19 * streak
        curl = ((x, y), (x + 0.13, y - 0.03), (x + 0.25, y), (x + 0.30, y - 0.05), (x + 0.25, y - 0.08))
        pen.path(curl, 0.05, (112, 140, 176))
        pen.path(curl, 0.022, (240, 248, 255))
    leaf: Color = (110, 180, 60) if look.material == "green" else (190, 120, 50)
    for number in range(4):
        share = (now.active_s * (0.6 + 0.5 * speed) + number * 0.37) % 1.0
        pen.oval(
            0.2 + 0.65 * share, -0.3 + 0.2 * number + 0.08 * math.sin(9 * share), 0.045, 0.02, leaf, turn=8 * share
        )


def _firework(pen: Pen, look: Look, now: Moment) -> None:
    golden = look.material == "golden"
    color: Color = (255, 206, 60) if golden else (190, 80, 255)
    _rocket(pen, color, now)
    if math.isinf(now.since_s) or now.since_s > 2.2:
        return
    age, flash = now.since_s, now.hit(0.10)
    fade = math.exp(-age / 1.1) * (0.7 + 0.3 * now.strength)
    pen.glow(0.0, -0.10, 0.55, color, 0.8 * flash + 0.2 * fade)
    spread = 0.44 * (1.0 - math.exp(-(age + 0.17) / 0.15))
    tone = mix((70, 58, 84), mix(color, WHITE, 0.5 * flash), fade)
    for ray in range(16):
        angle = 2.0 * math.pi * (ray + 0.5 * (now.beat % 2)) / 16.0
        reach = spread * (1.0, 0.66)[ray % 2]
        dx, dy, sag = math.cos(angle), math.sin(angle), 0.12 * age * age
        inner = reach * min(0.85, 0.12 + 0.7 * age)
        pen.line(inner * dx, -0.10 + inner * dy + 0.7 * sag, reach * dx, -0.10 + reach * dy + sag, 0.026, tone)
        pen.disc(reach * dx, -0.10 + reach * dy + sag, 0.03, mix(tone, WHITE, 0.55 * fade))


def _rocket(pen: Pen, color: Color, now: Moment) -> None:
    """A rocket stands ready; a spark climbs from it to where it bursts at the event."""
    stand = pen.moved(0.0, 0.30)
    stand.line(0.0, 0.0, 0.0, 0.20, 0.035, (150, 110, 70))
    stand.box(-0.075, -0.12, 0.075, 0.11, color)
    stand.fill(((-0.11, -0.12), (0.0, -0.29), (0.11, -0.12)), (214, 40, 48))
    stand.line(-0.07, 0.05, 0.07, 0.05, 0.04, INK)
    stand.line(-0.07, -0.04, 0.07, -0.04, 0.04, WHITE)
    if now.until_s < 0.30:
        y = 0.0 - 0.10 * (1.0 - now.until_s / 0.30)
        pen.line(0.0, y + 0.04, 0.0, y + 0.16, 0.04, (255, 230, 150))
        pen.disc(0.0, y, 0.05, (255, 250, 220), edge=True)


SKETCHES = {"campfire": Sketch(_campfire), "wind": Sketch(_wind), "firework": Sketch(_firework)}
