"""What is seen of the eight places beside their gradients, and the six palettes that colour them.

Details stay pale and few, so that nothing behind is mistaken for the thing that sounds. A picture is 1 high here.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np

from clipsonic.soundstage.draw.canvas import Color, Pen, mix, shade

_PALETTES = (
    (0.0, 1.0, 1.0),
    (0.0, 0.45, 1.10),
    (0.05, 1.10, 0.84),
    (-0.07, 1.0, 1.0),
    (0.12, 0.9, 0.95),
    (0.5, 0.7, 0.92),
)
"""Turn of the hue, factor of the saturation, factor of the brightness."""


def recolored(color: Color, palette: int) -> Color:
    """The colour as this palette has it."""
    turn, saturation, brightness = _PALETTES[palette % len(_PALETTES)]
    hue, chroma, value = colorsys.rgb_to_hsv(*(channel / 255.0 for channel in color))
    turned = colorsys.hsv_to_rgb((hue + turn) % 1.0, min(1.0, chroma * saturation), min(1.0, value * brightness))
    red, green, blue = (int(channel * 255) for channel in turned)
    return red, green, blue


Detail = Callable[[Pen, float, float, list[Color], np.random.Generator], None]


def _room(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    pen.box(0.0, horizon - 0.025, wide, horizon, shade(colors[0], 1.3), edge=False)
    for step in range(9):
        x = wide * (step + 0.5) / 8.0
        pen.line(
            wide / 2 + (x - wide / 2) * 0.8,
            horizon,
            wide / 2 + (x - wide / 2) * 1.6,
            1.0,
            0.008,
            shade(colors[3], 0.85),
        )
    x = float(rng.uniform(0.1, 0.35)) if rng.random() < 0.5 else wide - float(rng.uniform(0.4, 0.6))
    pen.box(x, 0.12, x + 0.26, 0.42, shade(colors[0], 1.45), edge=False)
    pen.box(x + 0.02, 0.14, x + 0.24, 0.40, mix(colors[0], (170, 210, 240), 0.75), edge=False)
    pen.line(x + 0.13, 0.14, x + 0.13, 0.40, 0.012, shade(colors[0], 1.45))
    for stripe in range(int(rng.integers(0, 12))):
        pen.line(0.13 * stripe, 0.0, 0.13 * stripe, horizon - 0.03, 0.008, shade(colors[0], 0.95))


def _meadow(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    for _ in range(3):
        x, size = float(rng.uniform(0, wide)), float(rng.uniform(0.25, 0.5))
        pen.oval(x, horizon + 0.03, size, size * 0.35, shade(colors[2], float(rng.uniform(0.82, 0.98))))
    pen.box(0.0, horizon + 0.02, wide, horizon + 0.06, colors[2], edge=False)
    _clouds(pen, wide, 0.30, colors[1], rng, 2)
    for _ in range(26):
        x, y = float(rng.uniform(0, wide)), float(rng.uniform(horizon + 0.06, 1.0))
        pen.line(x, y, x + float(rng.uniform(-0.01, 0.01)), y - 0.03 * y, 0.006, shade(colors[3], 0.85))
    petal = mix(colors[2], (255, 250, 230), 0.7)
    for _ in range(10):
        pen.disc(float(rng.uniform(0, wide)), float(rng.uniform(horizon + 0.1, 0.98)), 0.008, petal)


def _clouds(pen: Pen, wide: float, low: float, color: Color, rng: np.random.Generator, number: int) -> None:
    for _ in range(number):
        x, y, size = float(rng.uniform(0, wide)), float(rng.uniform(0.06, low)), float(rng.uniform(0.05, 0.10))
        with pen.veil(0.45):
            pen.oval(x, y, 1.6 * size, 0.32 * size, shade(color, 1.6))
            pen.oval(x + 0.4 * size, y - 0.25 * size, 0.8 * size, 0.3 * size, shade(color, 1.6))


def _street(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    x = -0.05
    while x < wide:
        across, tall = float(rng.uniform(0.16, 0.30)), float(rng.uniform(0.22, 0.52))
        tone = mix(colors[1], recolored((150, 110, 100), int(rng.integers(6))), float(rng.uniform(0.15, 0.4)))
        pen.box(x, horizon - tall, x + across, horizon, tone, edge=False)
        for row in range(int(tall / 0.11)):
            for column in range(int(across / 0.075)):
                left, top = x + 0.03 + 0.075 * column, horizon - tall + 0.04 + 0.11 * row
                pen.box(left, top, left + 0.03, top + 0.05, shade(tone, 0.82), edge=False)
        x += across + 0.01
    pen.box(0.0, horizon, wide, horizon + 0.05, shade(colors[2], 1.3), edge=False)
    for dash in range(6):
        left = 0.30 * dash + float(rng.uniform(0, 0.02))
        pen.box(left, 0.90, left + 0.14, 0.92, shade(colors[2], 1.5), edge=False)


def _night(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    for _ in range(28):
        x, y = float(rng.uniform(0, wide)), float(rng.uniform(0.0, horizon - 0.05))
        pen.disc(x, y, float(rng.uniform(0.002, 0.006)), mix(colors[0], (255, 255, 235), float(rng.uniform(0.4, 0.9))))
    x = float(rng.uniform(0.2, wide - 0.2))
    pen.disc(x, 0.14, 0.055, (226, 226, 206))
    pen.disc(x + 0.025, 0.13, 0.05, colors[0])
    for _ in range(3):
        x, size = float(rng.uniform(0, wide)), float(rng.uniform(0.2, 0.4))
        pen.oval(x, horizon + 0.03, size, size * 0.4, shade(colors[2], 0.8))
    pen.box(0.0, horizon + 0.03, wide, horizon + 0.09, colors[2], edge=False)


def _wall(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    plain, mortar = rng.random() < 0.3, shade(colors[0], 1.22)
    rows = 0 if plain else 13
    for row in range(rows):
        y = row * 0.07
        pen.line(0.0, y, wide, y, 0.007, mortar)
        for column in range(12):
            x = 0.15 * column + (0.075 if row % 2 else 0.0)
            pen.line(x, y, x, y + 0.07, 0.007, mortar)
            if rng.random() < 0.12:
                pen.box(
                    x + 0.006,
                    y + 0.006,
                    x + 0.144,
                    y + 0.064,
                    shade(colors[0], float(rng.uniform(0.86, 1.1))),
                    edge=False,
                )
    pen.box(0.0, horizon, wide, 1.0, shade(colors[3], 0.7), edge=False)


def _snow(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    for _ in range(4):
        x, size = float(rng.uniform(0, wide)), float(rng.uniform(0.16, 0.30))
        tone = mix(colors[0], colors[1], float(rng.uniform(0.1, 0.6)))
        pen.fill(((x - size, horizon), (x, horizon - size), (x + size, horizon)), shade(tone, 0.92), edge=False)
        pen.fill(
            ((x - 0.3 * size, horizon - 0.7 * size), (x, horizon - size), (x + 0.3 * size, horizon - 0.7 * size)),
            shade(colors[2], 0.98),
            edge=False,
        )
    for _ in range(4):
        pen.oval(
            float(rng.uniform(0, wide)), float(rng.uniform(horizon + 0.06, 0.95)), 0.3, 0.02, shade(colors[3], 0.96)
        )
    for _ in range(24):
        pen.disc(float(rng.uniform(0, wide)), float(rng.uniform(0, 1.0)), 0.006, (252, 252, 252))


def _sea(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    pen.disc(
        float(rng.uniform(0.15, wide - 0.15)), float(rng.uniform(0.10, 0.3)), 0.07, mix(colors[1], (255, 246, 190), 0.8)
    )
    _clouds(pen, wide, 0.4, colors[1], rng, 1)
    for _ in range(26):
        x, y = float(rng.uniform(0, wide)), float(rng.uniform(horizon + 0.02, 0.99))
        size = 0.02 + 0.16 * (y - horizon)
        pen.arc(x, y, size, 0.3 * size, 190, 350, 0.007, shade(colors[2], 1.25))


def _desert(pen: Pen, wide: float, horizon: float, colors: list[Color], rng: np.random.Generator) -> None:
    pen.disc(float(rng.uniform(0.15, wide - 0.15)), 0.18, 0.08, shade(colors[1], 1.55))
    for number in range(4):
        x, y = float(rng.uniform(0, wide)), horizon + 0.02 + 0.09 * number
        share = np.linspace(-0.9, 0.9, 15)
        dune = [(x + s, y - 0.07 * math.exp(-3.0 * s * s)) for s in share]
        pen.fill([*dune, (wide + 1.0, 1.1), (-1.0, 1.1)], mix(colors[2], colors[3], 0.15 + 0.25 * number), edge=False)
    for _ in range(8):
        pen.oval(
            float(rng.uniform(0, wide)), float(rng.uniform(horizon + 0.1, 1.0)), 0.012, 0.006, shade(colors[3], 0.8)
        )


SCENERY: dict[str, Detail] = {
    "room": _room,
    "meadow": _meadow,
    "street": _street,
    "night": _night,
    "wall": _wall,
    "snow": _snow,
    "sea": _sea,
    "desert": _desert,
}
"""Place -> its details: (pen, width of the stage, height of its horizon, its four colours, generator)."""
