"""Animals: bird, frog, dog, cricket, bee. Beaks, mouths, throats and wings open at the instant they are heard."""

from __future__ import annotations

import math

from clipsonic.soundstage.draw.canvas import INK, WHITE, Color, Pen, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_BIRD = smooth(
    [
        (-0.62, 0.10),
        (-0.30, 0.06),
        (-0.10, -0.10),
        (0.02, -0.30),
        (0.20, -0.38),
        (0.36, -0.28),
        (0.38, -0.08),
        (0.30, 0.16),
        (0.08, 0.30),
        (-0.20, 0.26),
    ]
)
_WING = smooth([(-0.42, 0.14), (-0.20, -0.02), (0.08, 0.0), (0.12, 0.12), (-0.08, 0.20)], 4)


def _bird(pen: Pen, look: Look, now: Moment) -> None:
    color: Color = (250, 208, 40) if look.material == "yellow" else (52, 116, 220)
    belly: Color = (255, 238, 150) if look.material == "yellow" else (236, 196, 160)
    wing: Color = (96, 84, 40) if look.material == "yellow" else (26, 62, 150)
    opening = now.hit(0.14)
    pen.line(-0.66, 0.46, 0.60, 0.42, 0.07, (110, 74, 44))
    body = pen.moved(0.0, 0.30, turn=-0.12 * now.shake(2.5, 0.12)).moved(0.0, -0.30)
    for x in (-0.02, 0.10):
        body.line(x, 0.24, x + 0.02, 0.42, 0.035, (190, 110, 50))
    body.fill(_BIRD, color)
    body.oval(0.14, 0.06, 0.17, 0.17, belly)
    body.moved(0.08, 0.05, turn=0.5 * opening).moved(-0.08, -0.05).fill(_WING, wing)
    _beak(body, opening)
    body.disc(0.22, -0.22, 0.055, WHITE)
    body.disc(0.23, -0.22, 0.035, INK)
    if opening > 0.15:
        for ray in (-0.45, 0.0, 0.45):
            dx, dy = math.cos(ray), math.sin(ray)
            body.line(0.68 + 0.05 * dx, -0.20 + 0.2 * dy, 0.68 + 0.16 * dx, -0.20 + 0.34 * dy, 0.035, (255, 250, 220))


def _beak(body: Pen, opening: float) -> None:
    beak: Color = (240, 130, 30)
    gape = 0.20 * opening
    body.fill(((0.34, -0.22), (0.62, -0.20 + gape), (0.34, -0.10)), shade(beak, 0.8))
    if opening > 0.1:
        body.fill(
            ((0.35, -0.19), (0.54, -0.19 - 0.6 * gape), (0.54, -0.17 + 0.7 * gape), (0.35, -0.15)),
            (170, 40, 50),
            edge=False,
        )
    body.fill(((0.34, -0.28), (0.62, -0.21 - gape), (0.34, -0.18)), beak)


_FROG = smooth(
    [(-0.48, 0.42), (-0.52, 0.16), (-0.36, -0.10), (0.0, -0.20), (0.36, -0.10), (0.52, 0.16), (0.48, 0.42), (0.0, 0.47)]
)


def _frog(pen: Pen, look: Look, now: Moment) -> None:
    color: Color = (74, 176, 60) if look.material == "green" else (142, 98, 54)
    belly, puff = mix(color, (255, 250, 190), 0.62), now.hit(0.20)
    body = pen.moved(0.0, 0.45, scale=1.0 + 0.05 * puff).moved(0.0, -0.45)
    for side in (-1.0, 1.0):
        body.oval(side * 0.46, 0.32, 0.17, 0.16, shade(color, 0.78), edge=True)
        body.oval(side * 0.50, 0.46, 0.20, 0.05, shade(color, 0.85), edge=True)
    body.fill(_FROG, color)
    for side in (-1.0, 1.0):
        body.disc(side * 0.25, -0.24, 0.16, color, edge=True)
        body.disc(side * 0.25, -0.25, 0.10, (250, 240, 150))
        body.oval(side * 0.25, -0.25, 0.075, 0.04, INK)
    body.oval(0.0, 0.30, 0.28, 0.16, belly)
    body.path(((-0.36, 0.0), (-0.18, 0.08), (0.0, 0.10), (0.18, 0.08), (0.36, 0.0)), 0.035, shade(color, 0.35))
    if puff > 0.06:
        body.oval(0.0, 0.25, 0.14 + 0.26 * puff, 0.10 + 0.20 * puff, mix(belly, WHITE, 0.45), edge=True)
    for side in (-1.0, 1.0):
        body.line(side * 0.22, 0.30, side * 0.24, 0.45, 0.09, shade(color, 0.9))
        body.oval(side * 0.25, 0.47, 0.11, 0.035, shade(color, 0.9), edge=True)


_DOG_BODY = smooth(
    [
        (-0.46, -0.02),
        (-0.20, -0.06),
        (0.14, -0.08),
        (0.26, 0.0),
        (0.24, 0.20),
        (0.0, 0.24),
        (-0.30, 0.22),
        (-0.48, 0.16),
    ]
)
_EAR = smooth([(-0.12, -0.14), (0.0, -0.12), (0.02, 0.08), (-0.08, 0.16), (-0.16, 0.04)], 4)


def _dog(pen: Pen, look: Look, now: Moment) -> None:
    spotted = look.material == "spotted"
    color: Color = (250, 246, 238) if spotted else (134, 138, 146)
    dark: Color = (44, 38, 38) if spotted else (84, 88, 98)
    bark = now.hit(0.16)
    body = pen.moved(0.0, -0.03 * bark)
    wag = 0.5 * now.shake(4.0, 0.3)
    body.moved(-0.44, 0.02, turn=-0.5 + wag).line(0.0, 0.0, -0.20, -0.16, 0.075, color if not spotted else dark)
    for x, tone in ((-0.34, 0.8), (0.10, 0.8), (-0.42, 1.0), (0.20, 1.0)):
        pen.box(x - 0.05, 0.10, x + 0.05, 0.50, shade(color, tone))
    body.fill(_DOG_BODY, color)
    if spotted:
        for x, y, radius in ((-0.30, 0.04, 0.085), (-0.08, 0.13, 0.07), (0.08, 0.0, 0.05), (-0.40, 0.14, 0.04)):
            body.oval(x, y, radius, radius * 0.8, dark)
    else:
        body.oval(-0.14, 0.0, 0.24, 0.06, dark)
    _dog_head(body.moved(0.26, -0.20, turn=-0.30 * bark), color, dark, bark)


def _dog_head(head: Pen, color: Color, dark: Color, bark: float) -> None:
    head.fill(((-0.16, 0.0), (0.04, 0.04), (0.02, 0.26), (-0.18, 0.26)), color, edge=False)
    jaw = head.moved(0.06, 0.10, turn=0.75 * bark)
    jaw.fill(((-0.06, -0.02), (0.26, -0.01), (0.25, 0.06), (-0.04, 0.10)), shade(color, 0.86))
    if bark > 0.1:
        head.fill(((0.06, 0.09), (0.30, 0.07), (0.24, 0.09 + 0.22 * bark)), (190, 50, 60), edge=False)
    head.oval(0.0, 0.0, 0.20, 0.175, color, edge=True)
    head.fill(((0.06, -0.06), (0.32, -0.02), (0.33, 0.07), (0.06, 0.11)), color)
    head.disc(0.33, -0.01, 0.045, INK)
    head.moved(-0.04, -0.02).fill(_EAR, dark)
    head.disc(0.08, -0.06, 0.034, INK)
    if bark > 0.15:
        for ray in (-0.5, 0.0, 0.5):
            dx, dy = math.cos(ray), math.sin(ray)
            head.line(0.42 + 0.02 * dx, 0.10 + 0.12 * dy, 0.42 + 0.14 * dx, 0.10 + 0.28 * dy, 0.04, (255, 250, 220))


def _cricket(pen: Pen, look: Look, now: Moment) -> None:
    color: Color = (150, 170, 50) if look.material == "olive" else (66, 48, 44)
    dark, rub = shade(color, 0.6), now.hit(0.12)
    buzz = 0.5 * now.shake(13.0, 0.16)
    pen.path(((-0.78, 0.50), (0.0, 0.47), (0.78, 0.49)), 0.06, (70, 130, 50))
    for x, foot in ((0.08, 0.02), (0.22, 0.30), (0.34, 0.48)):
        pen.path(((x, 0.16), ((x + foot) / 2 + 0.06, 0.28), (foot + 0.06, 0.46)), 0.035, dark)
    pen.oval(-0.18, 0.12, 0.46, 0.13, color, turn=-0.06, edge=True)
    for stripe in range(4):
        x = -0.46 + 0.12 * stripe
        pen.line(x, 0.06, x - 0.02, 0.22, 0.025, dark)
    pen.moved(0.12, 0.04, turn=0.10 + 0.55 * rub + 0.3 * buzz).fill(
        ((0.0, 0.0), (-0.34, -0.09), (-0.66, -0.02), (-0.34, 0.06)), mix(color, WHITE, 0.35)
    )
    pen.oval(0.24, 0.06, 0.16, 0.15, color, edge=True)
    pen.disc(0.42, 0.04, 0.125, mix(color, WHITE, 0.12), edge=True)
    pen.disc(0.46, 0.0, 0.042, INK)
    pen.path(((0.46, -0.06), (0.56, -0.30), (0.74, -0.48)), 0.02, dark)
    pen.path(((0.42, -0.07), (0.46, -0.32), (0.58, -0.50)), 0.02, dark)
    leg = pen.moved(-0.02, 0.14, turn=0.18 * buzz)
    leg.fill(((0.04, 0.0), (-0.02, -0.06), (-0.42, -0.42), (-0.36, -0.46)), color)
    leg.path(((-0.39, -0.44), (-0.60, 0.10), (-0.72, 0.34)), 0.045, dark)
    if rub > 0.15:
        for step in (0.0, 0.10):
            pen.arc(-0.12, -0.16, 0.16 + step, 0.16 + step, 215, 285, 0.03, (255, 252, 210))


def _bee(pen: Pen, look: Look, now: Moment) -> None:
    body: Color = (250, 200, 30) if look.material == "striped" else (226, 160, 30)
    if now.active:
        angle = 2.0 * math.pi * (0.45 * now.time_s + 0.31 * look.index)
        bee = pen.moved(0.14 * math.sin(angle), 0.10 * math.sin(2.0 * angle + 0.4), turn=0.14 * math.cos(angle))
        for dot in range(4):
            late = angle - 0.34 * (dot + 1.4)
            x, y = -0.48 - 0.16 * dot + 0.14 * math.sin(late), 0.08 + 0.13 * math.sin(2.0 * late + 0.4)
            pen.disc(x, y, 0.03, (250, 248, 236), edge=True)
        with pen.veil(0.55):
            for wing in (-0.95, -0.45, 0.05):
                bee.oval(-0.10 + 0.16 * wing, -0.32, 0.13, 0.24, (236, 244, 255), turn=wing * 0.8, edge=True)
    else:
        bee = pen.moved(0.0, 0.06)
        with pen.veil(0.7):
            bee.oval(-0.22, -0.20, 0.28, 0.09, (226, 234, 246), turn=-0.18, edge=True)
    _bee_body(bee, body, look.material == "striped")


def _bee_body(bee: Pen, color: Color, striped: bool) -> None:
    bee.fill(((-0.46, 0.0), (-0.46, 0.14), (-0.62, 0.09)), INK, edge=False)
    bee.oval(-0.06, 0.06, 0.44, 0.30, color, edge=True)
    if striped:
        for x, half in ((-0.32, 0.22), (-0.12, 0.275), (0.08, 0.265)):
            bee.fill(
                ((x, 0.06 - half), (x + 0.10, 0.06 - half), (x + 0.10, 0.06 + half), (x, 0.06 + half)), INK, edge=False
            )
    else:
        bee.oval(-0.08, -0.06, 0.30, 0.12, (252, 216, 110))
        bee.line(-0.22, -0.16, -0.22, 0.28, 0.025, (150, 90, 20))
        bee.line(0.02, -0.20, 0.02, 0.32, 0.025, (150, 90, 20))
    bee.disc(0.38, 0.02, 0.19, (60, 44, 30) if striped else (196, 120, 30), edge=True)
    bee.disc(0.45, -0.03, 0.055, WHITE)
    bee.disc(0.46, -0.03, 0.032, INK)
    bee.path(((0.42, -0.14), (0.50, -0.30), (0.60, -0.32)), 0.03, INK)
    bee.path(((0.34, -0.15), (0.38, -0.32), (0.48, -0.38)), 0.03, INK)


SKETCHES = {
    "bird": Sketch(_bird),
    "frog": Sketch(_frog),
    "dog": Sketch(_dog),
    "cricket": Sketch(_cricket),
    "bee": Sketch(_bee),
}
