"""Things that make no sound: drawn like the others, in a colour of their own, never moving and without a dial."""

from __future__ import annotations

import math
from collections.abc import Callable

from clipsonic.soundstage.draw.canvas import INK, WHITE, Color, Pen, mirrored, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

COLORS: dict[str, Color] = {
    "red": (214, 40, 44),
    "orange": (244, 136, 30),
    "yellow": (248, 214, 50),
    "green": (58, 164, 70),
    "blue": (44, 98, 216),
    "purple": (136, 66, 184),
    "pink": (246, 140, 184),
    "white": (246, 246, 242),
    "black": (46, 46, 52),
    "brown": (132, 84, 48),
}

Drawing = Callable[[Pen, Color], None]


def _house(pen: Pen, color: Color) -> None:
    pen.box(0.20, -0.44, 0.32, -0.14, (120, 84, 74))
    pen.box(-0.42, -0.08, 0.42, 0.50, color)
    pen.fill(((-0.54, -0.06), (0.0, -0.50), (0.54, -0.06)), mix(shade(color, 0.5), (90, 50, 40), 0.5))
    pen.box(-0.10, 0.16, 0.10, 0.50, (96, 62, 40))
    for x in (-0.33, 0.17):
        pen.box(x, 0.06, x + 0.16, 0.24, (190, 226, 246))
        pen.line(x + 0.08, 0.06, x + 0.08, 0.24, 0.02, INK)


def _car(pen: Pen, color: Color) -> None:
    roof = ((-0.44, 0.02), (-0.28, -0.30), (0.20, -0.30), (0.42, 0.02))
    pen.fill(roof, color)
    pen.fill(((-0.34, 0.0), (-0.23, -0.23), (-0.06, -0.23), (-0.06, 0.0)), (196, 228, 246))
    pen.fill(((0.0, 0.0), (0.0, -0.23), (0.16, -0.23), (0.31, 0.0)), (196, 228, 246))
    pen.fill(smooth([(-0.72, 0.06), (-0.44, 0.0), (0.44, 0.0), (0.72, 0.08), (0.74, 0.30), (-0.74, 0.30)], 3), color)
    for x in (-0.42, 0.42):
        pen.disc(x, 0.32, 0.17, (36, 36, 40), edge=True)
        pen.disc(x, 0.32, 0.08, (190, 194, 200))
    pen.disc(0.68, 0.12, 0.05, (255, 244, 170), edge=True)


def _cup(pen: Pen, color: Color) -> None:
    pen.ring(0.40, 0.04, 0.20, 0.13, pen.edge)
    pen.ring(0.40, 0.04, 0.20, 0.08, color)
    pen.fill(((-0.40, -0.38), (0.40, -0.38), (0.30, 0.46), (-0.30, 0.46)), color)
    pen.oval(0.0, -0.38, 0.40, 0.11, shade(color, 1.4), edge=True)
    pen.oval(0.0, -0.36, 0.32, 0.075, (90, 54, 32))


def _chair(pen: Pen, color: Color) -> None:
    dark = shade(color, 0.72)
    for x, y in ((-0.30, 0.50), (0.14, 0.40), (0.36, 0.50)):
        pen.box(x - 0.035, 0.06, x + 0.035, y, dark)
    pen.box(-0.34, -0.50, -0.26, 0.14, color)
    pen.box(-0.06, -0.50, 0.02, 0.02, color)
    for y in (-0.46, -0.30, -0.14):
        pen.box(-0.28, y, -0.04, y + 0.08, color)
    pen.fill(((-0.36, 0.14), (-0.14, 0.0), (0.30, 0.0), (0.42, 0.14)), shade(color, 1.2))


def _ball(pen: Pen, color: Color) -> None:
    stripe = (206, 60, 60) if color == COLORS["white"] else WHITE
    pen.disc(0.0, 0.0, 0.49, color, edge=True)
    pen.oval(0.0, 0.0, 0.30, 0.48, stripe, turn=0.5)
    pen.oval(0.0, 0.0, 0.12, 0.48, color, turn=0.5)
    pen.ring(0.0, 0.0, 0.49, 0.022, pen.edge)
    pen.disc(0.23, -0.40, 0.07, stripe, edge=True)


_FISH = smooth([(0.56, 0.0), (0.30, -0.26), (-0.10, -0.30), (-0.44, -0.06), (-0.44, 0.06), (-0.10, 0.30), (0.30, 0.26)])


def _fish(pen: Pen, color: Color) -> None:
    pen.fill(((-0.38, 0.0), (-0.78, -0.32), (-0.68, 0.0), (-0.78, 0.32)), shade(color, 0.8))
    pen.fill(((-0.12, -0.24), (0.06, -0.48), (0.24, -0.24)), shade(color, 0.8))
    pen.fill(_FISH, color)
    for x in (-0.24, -0.06, 0.12):
        pen.arc(x - 0.10, 0.0, 0.14, 0.18, -70, 70, 0.025, shade(color, 0.6))
    pen.disc(0.36, -0.07, 0.075, WHITE, edge=True)
    pen.disc(0.38, -0.07, 0.035, INK)


def _boat(pen: Pen, color: Color) -> None:
    pen.line(0.0, -0.50, 0.0, 0.20, 0.05, (110, 74, 46))
    pen.fill(((0.05, -0.46), (0.05, 0.12), (0.46, 0.12)), (252, 250, 240))
    pen.fill(((-0.05, -0.34), (-0.05, 0.12), (-0.36, 0.12)), (236, 230, 214))
    pen.fill(((-0.62, 0.18), (0.62, 0.18), (0.42, 0.50), (-0.42, 0.50)), color)
    pen.line(-0.54, 0.26, 0.54, 0.26, 0.04, shade(color, 1.5))


def _book(pen: Pen, color: Color) -> None:
    pen.fill(((-0.66, -0.28), (-0.02, -0.18), (-0.02, 0.42), (-0.66, 0.32)), shade(color, 0.85))
    pen.fill(((0.66, -0.28), (0.02, -0.18), (0.02, 0.42), (0.66, 0.32)), color)
    for side in (-1.0, 1.0):
        page = [
            (side * x, y)
            for x, y in ((0.60, -0.34), (0.30, -0.34), (0.0, -0.24), (0.0, 0.34), (0.30, 0.24), (0.60, 0.24))
        ]
        pen.fill(page, (250, 246, 232))
        for row in range(4):
            pen.line(side * 0.10, -0.14 + 0.11 * row, side * 0.50, -0.22 + 0.11 * row, 0.025, (140, 136, 130))


_STAR = [
    (
        (0.5 if point % 2 == 0 else 0.20) * math.sin(point * math.pi / 5),
        -(0.5 if point % 2 == 0 else 0.20) * math.cos(point * math.pi / 5) + 0.04,
    )
    for point in range(10)
]


def _star(pen: Pen, color: Color) -> None:
    pen.fill(_STAR, color)
    pen.path(((0.0, -0.30), (-0.07, -0.08), (-0.26, -0.06)), 0.035, shade(color, 1.5))


def _cat(pen: Pen, color: Color) -> None:
    dark = shade(color, 0.7)
    pen.path(((0.20, 0.44), (0.46, 0.42), (0.50, 0.20), (0.42, 0.06)), 0.12, pen.edge)
    pen.path(((0.20, 0.44), (0.46, 0.42), (0.50, 0.20), (0.42, 0.06)), 0.08, color)
    pen.oval(0.0, 0.28, 0.27, 0.22, color, edge=True)
    for side in (-1.0, 1.0):
        pen.fill(((side * 0.28, -0.18), (side * 0.25, -0.50), (side * 0.04, -0.34)), color)
        pen.fill(((side * 0.24, -0.28), (side * 0.22, -0.42), (side * 0.12, -0.33)), (240, 170, 170), edge=False)
        pen.oval(side * 0.13, 0.46, 0.09, 0.045, shade(color, 1.2), edge=True)
    pen.oval(0.0, -0.14, 0.30, 0.24, color, edge=True)
    for side in (-1.0, 1.0):
        pen.oval(side * 0.12, -0.18, 0.055, 0.065, (190, 226, 90), edge=True)
        pen.line(side * 0.12, -0.22, side * 0.12, -0.14, 0.03, INK)
        for tilt in (-0.05, 0.03):
            pen.line(side * 0.10, -0.05, side * 0.40, -0.05 + tilt, 0.012, mix(dark, WHITE, 0.5))
    pen.fill(((-0.04, -0.09), (0.04, -0.09), (0.0, -0.04)), (230, 110, 120), edge=False)


def _flower(pen: Pen, color: Color) -> None:
    pen.line(0.0, -0.10, 0.0, 0.50, 0.05, (56, 130, 56))
    pen.oval(0.13, 0.28, 0.14, 0.05, (76, 156, 66), turn=-0.5, edge=True)
    pen.oval(-0.13, 0.36, 0.14, 0.05, (76, 156, 66), turn=0.5, edge=True)
    for petal in range(7):
        angle = petal * 2.0 * math.pi / 7
        pen.oval(0.19 * math.cos(angle), -0.18 + 0.19 * math.sin(angle), 0.14, 0.085, color, turn=angle, edge=True)
    pen.disc(0.0, -0.18, 0.10, (250, 206, 60) if color != COLORS["yellow"] else (140, 84, 40), edge=True)


_APPLE = smooth(
    [
        (0.0, -0.24),
        (0.18, -0.34),
        (0.40, -0.24),
        (0.44, 0.06),
        (0.28, 0.40),
        (0.10, 0.48),
        (0.0, 0.44),
        (-0.10, 0.48),
        (-0.28, 0.40),
        (-0.44, 0.06),
        (-0.40, -0.24),
        (-0.18, -0.34),
    ]
)


def _apple(pen: Pen, color: Color) -> None:
    pen.fill(_APPLE, color)
    pen.path(((0.0, -0.22), (0.02, -0.36), (0.08, -0.48)), 0.05, (96, 62, 36))
    pen.oval(0.22, -0.40, 0.15, 0.06, (86, 160, 60), turn=-0.4, edge=True)
    pen.oval(-0.22, -0.08, 0.06, 0.12, shade(color, 1.55), turn=0.3)


def _ladder(pen: Pen, color: Color) -> None:
    lean = pen.moved(0.0, 0.0, turn=0.12)
    for rung in range(6):
        y = -0.38 + 0.155 * rung
        lean.box(-0.17, y - 0.022, 0.17, y + 0.022, shade(color, 0.85))
    for x in (-0.18, 0.18):
        lean.box(x - 0.032, -0.50, x + 0.032, 0.50, color)


def _hat(pen: Pen, color: Color) -> None:
    pen.oval(0.0, 0.30, 0.64, 0.14, color, edge=True)
    pen.fill(((-0.34, 0.28), (-0.30, -0.40), (0.30, -0.40), (0.34, 0.28)), color)
    pen.oval(0.0, -0.40, 0.30, 0.07, shade(color, 1.2), edge=True)
    pen.fill(
        ((-0.33, 0.12), (0.33, 0.12), (0.345, 0.28), (-0.345, 0.28)),
        shade(color, 0.5) if sum(color) > 200 else (200, 50, 60),
    )


_CANOPY = smooth(
    mirrored([(0.0, -0.46), (0.26, -0.38), (0.46, -0.20), (0.54, 0.02), (0.36, -0.05), (0.18, 0.02), (0.0, -0.05)])[
        :-1
    ],
    4,
)


def _umbrella(pen: Pen, color: Color) -> None:
    pen.line(0.0, -0.50, 0.0, 0.40, 0.04, (110, 90, 76))
    pen.arc(0.07, 0.40, 0.07, 0.08, 0, 180, 0.05, (110, 90, 76))
    pen.fill(_CANOPY, color)
    for x in (-0.18, 0.18):
        pen.path(((0.0, -0.45), (x * 0.7, -0.24), (x, 0.0)), 0.022, shade(color, 0.6))


def _key(pen: Pen, color: Color) -> None:
    turned = pen.moved(0.0, 0.0, turn=-0.5)
    turned.box(-0.20, -0.06, 0.62, 0.06, color)
    for x in (0.36, 0.52):
        turned.box(x, 0.04, x + 0.08, 0.22, color)
    turned.disc(-0.40, 0.0, 0.28, color, edge=True)
    turned.disc(-0.42, 0.0, 0.11, mix(color, INK, 0.75))


def _mushroom(pen: Pen, color: Color) -> None:
    pen.fill(((-0.14, -0.04), (0.14, -0.04), (0.19, 0.50), (-0.19, 0.50)), (244, 232, 208))
    pen.fill(smooth([(-0.52, 0.02), (-0.40, -0.30), (0.0, -0.50), (0.40, -0.30), (0.52, 0.02), (0.0, 0.08)]), color)
    spot = WHITE if color != COLORS["white"] else (206, 60, 60)
    for x, y, size in ((-0.24, -0.14, 0.08), (0.04, -0.30, 0.09), (0.28, -0.12, 0.07), (0.02, -0.06, 0.06)):
        pen.disc(x, y, size, spot)


def _lamp(pen: Pen, color: Color) -> None:
    pen.line(0.0, -0.10, 0.0, 0.44, 0.06, (120, 110, 100))
    pen.oval(0.0, 0.45, 0.24, 0.05, (120, 110, 100), edge=True)
    pen.fill(((-0.20, -0.50), (0.20, -0.50), (0.40, -0.02), (-0.40, -0.02)), color)


SILENT: dict[str, Drawing] = {
    "house": _house,
    "car": _car,
    "cup": _cup,
    "chair": _chair,
    "ball": _ball,
    "fish": _fish,
    "boat": _boat,
    "book": _book,
    "star": _star,
    "cat": _cat,
    "flower": _flower,
    "apple": _apple,
    "ladder": _ladder,
    "hat": _hat,
    "umbrella": _umbrella,
    "key": _key,
    "mushroom": _mushroom,
    "lamp": _lamp,
}
"""All of them by name, in a fixed order."""


def silent_sketch(name: str, color: str) -> Sketch:
    """One of them in this colour, as a drawing that never moves."""

    def moving(pen: Pen, look: Look, now: Moment) -> None:
        SILENT[name](pen, COLORS[color])

    return Sketch(moving)
