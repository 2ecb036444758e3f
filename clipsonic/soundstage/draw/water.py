"""Water: a dripping tap, a rain cloud, a waterfall. The drop meets the basin at the event's instant."""

from __future__ import annotations

import math

from clipsonic.soundstage.draw.canvas import WHITE, Color, Pen, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_DROP = smooth([(0.0, -0.10), (0.045, 0.0), (0.05, 0.05), (0.0, 0.10), (-0.05, 0.05), (-0.045, 0.0)], 3)
_WATER: Color = (90, 170, 240)
_FALL_S = 0.26
_SURFACE = 0.40


def _drip(pen: Pen, look: Look, now: Moment) -> None:
    chrome = look.material == "chrome"
    metal: Color = (198, 208, 220) if chrome else (164, 88, 40)
    _basin(pen, now)
    _falling_drop(pen, now)
    pen.line(-0.36, -0.20, 0.16, -0.20, 0.17, pen.edge)
    pen.arc(0.08, -0.04, 0.16, 0.16, -90, 0, 0.17, pen.edge)
    pen.line(0.24, -0.06, 0.24, 0.02, 0.17, pen.edge)
    pen.line(-0.36, -0.20, 0.10, -0.20, 0.13, metal)
    pen.arc(0.08, -0.04, 0.16, 0.16, -90, 0, 0.13, metal)
    pen.line(0.24, -0.06, 0.24, 0.02, 0.13, metal)
    pen.box(-0.50, -0.34, -0.40, -0.06, shade(metal, 0.75))
    pen.box(-0.11, -0.40, -0.03, -0.26, shade(metal, 0.8))
    pen.line(-0.26, -0.43, 0.12, -0.43, 0.10, pen.edge)
    pen.line(-0.26, -0.43, 0.12, -0.43, 0.065, (210, 50, 50) if chrome else shade(metal, 0.8))
    if chrome:
        pen.line(-0.34, -0.235, 0.08, -0.235, 0.03, WHITE)
    else:
        for x, y in ((-0.28, -0.18), (-0.06, -0.22), (0.12, -0.17), (0.23, -0.02)):
            pen.disc(x, y, 0.035, (104, 50, 24))


def _basin(pen: Pen, now: Moment) -> None:
    splash, since = now.hit(0.14), now.since_s
    pen.oval(0.22, _SURFACE + 0.03, 0.34, 0.075, (236, 238, 242), edge=True)
    pen.oval(0.22, _SURFACE + 0.025, 0.29, 0.052, _WATER)
    if since < 0.7:
        reach = 0.05 + 0.34 * since
        pen.arc(0.22, _SURFACE + 0.025, reach, 0.2 * reach, 0, 360, 0.02, mix(WHITE, _WATER, since / 0.7))
    if splash > 0.1:
        pen.glow(0.22, _SURFACE, 0.30, (190, 226, 255), splash)
        for number in range(-2, 3):
            x = 0.22 + number * (0.11 + 0.20 * min(since, 0.3))
            y = _SURFACE - (0.12 + 0.16 * splash) * (1.0 - 0.16 * number * number)
            pen.line(x, y, 0.22 + number * 0.06, _SURFACE, 0.045, (214, 236, 255))
            pen.disc(x, y, 0.045, (170, 214, 252), edge=True)


def _falling_drop(pen: Pen, now: Moment) -> None:
    """It grows at the spout, leaves it a moment before the event and meets the water at it."""
    if now.until_s < _FALL_S:
        fallen = (1.0 - now.until_s / _FALL_S) ** 2
        pen.moved(0.24, 0.09 + (_SURFACE - 0.12) * fallen).fill(_DROP, _WATER)
    elif now.active and not math.isinf(now.until_s):
        grown = min(1.0, 0.35 + 0.8 * min(now.since_s, 0.8))
        pen.moved(0.24, 0.07, scale=grown).fill(_DROP, _WATER)


_CLOUD = smooth(
    [
        (-0.58, -0.14),
        (-0.64, -0.26),
        (-0.52, -0.36),
        (-0.34, -0.36),
        (-0.22, -0.48),
        (0.02, -0.50),
        (0.18, -0.42),
        (0.36, -0.42),
        (0.54, -0.34),
        (0.62, -0.22),
        (0.54, -0.12),
        (0.0, -0.10),
    ],
    4,
)


def _rain(pen: Pen, look: Look, now: Moment) -> None:
    color: Color = (196, 202, 212) if look.material == "grey" else (86, 90, 108)
    if now.active:
        _streaks(pen, look, now)
    pen.fill(_CLOUD, color)
    pen.fill(_CLOUD * (0.72, 0.55) + (-0.06, -0.19), shade(color, 1.28), edge=False)
    pen.line(-0.48, -0.15, 0.48, -0.15, 0.04, shade(color, 0.78))


def _streaks(pen: Pen, look: Look, now: Moment) -> None:
    speed = now.speed or 0.0
    number, length = 9 + round(13 * speed), 0.10 + 0.10 * speed
    for streak in range(number):
        place = (streak * 0.618034 + 0.17 * look.index) % 1.0
        fall = (now.active_s * (1.3 + 1.2 * speed) + (streak * streak * 0.3819 + streak * 0.7548777)) % 1.0
        x, y = -0.50 + place, -0.08 + 0.56 * fall
        bottom = min(y + length, 0.48)
        pen.line(x, y, x - 0.16 * length, bottom, 0.03, (110, 176, 244))
        if fall > 0.82:
            pen.arc(x, 0.48, 0.05, 0.03, 180, 360, 0.02, (206, 230, 255))


_CLIFF = smooth(
    [
        (-0.62, 0.44),
        (-0.60, 0.0),
        (-0.52, -0.34),
        (-0.34, -0.48),
        (-0.12, -0.44),
        (0.14, -0.46),
        (0.40, -0.48),
        (0.54, -0.30),
        (0.60, 0.04),
        (0.64, 0.44),
    ],
    4,
)
_POOL = smooth([(-0.66, 0.40), (-0.30, 0.31), (0.30, 0.31), (0.68, 0.40), (0.40, 0.50), (-0.38, 0.50)], 4)


def _stream_still(pen: Pen, look: Look) -> None:
    rock: Color = (132, 126, 124) if look.material == "rocky" else (70, 128, 58)
    pen.fill(_CLIFF, rock)
    for x, y, size in (
        (-0.42, -0.26, 0.11),
        (-0.46, 0.06, 0.13),
        (0.40, -0.22, 0.12),
        (0.46, 0.10, 0.12),
        (-0.34, 0.26, 0.10),
        (0.36, 0.28, 0.09),
    ):
        pen.oval(x, y, size, size * 0.72, shade(rock, 0.72 if (x > 0) else 0.84), edge=True)
        pen.oval(x - 0.02, y - 0.025, size * 0.6, size * 0.35, shade(rock, 1.2))
        if look.material == "mossy":
            pen.oval(x, y - 0.05, size * 0.9, size * 0.35, (120, 184, 70))
    pen.fill(_POOL, (56, 110, 150))
    pen.fill(((-0.15, -0.45), (0.15, -0.45), (0.20, 0.36), (-0.20, 0.36)), shade(rock, 0.5), edge=False)


def _stream(pen: Pen, look: Look, now: Moment) -> None:
    if not now.active:
        pen.line(0.0, -0.44, 0.0, 0.36, 0.03, (120, 160, 184))
        return
    pen.fill(((-0.16, -0.46), (0.16, -0.46), (0.22, 0.38), (-0.22, 0.38)), (84, 168, 236), edge=False)
    for streak in range(11):
        x = -0.15 + 0.03 * streak
        fall = (now.active_s * 1.3 + streak * 0.618034) % 1.0
        top = -0.45 + 0.66 * fall
        pen.line(x, top, x * 1.2, top + 0.18, 0.03, (224, 242, 255))
    for foam in range(7):
        x = -0.24 + 0.08 * foam
        lift = 0.03 * now.wave(2.3, foam * 0.37)
        pen.disc(x, 0.37 + lift, 0.055, (240, 248, 255))
    for ripple in range(2):
        share = (now.active_s * 0.8 + ripple / 2.0) % 1.0
        pen.arc(0.0, 0.40, 0.24 + 0.30 * share, 0.03 + 0.05 * share, 20, 160, 0.02, (190, 226, 250))


SKETCHES = {"drip": Sketch(_drip), "rain": Sketch(_rain), "stream": Sketch(_stream, _stream_still)}
