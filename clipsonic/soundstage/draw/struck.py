"""Struck things: bell, xylophone, drum. A striker meets them at the event's instant and they shake after it."""

from __future__ import annotations

import math

from clipsonic.soundstage.draw.canvas import WHITE, Color, Pen, mirrored, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch

_BELL = mirrored([(0.10, -0.40), (0.19, -0.33), (0.24, -0.15), (0.27, 0.08), (0.33, 0.24), (0.42, 0.34), (0.42, 0.40)])
_BELL_SHINE = smooth([(-0.13, -0.30), (-0.08, -0.30), (-0.12, 0.0), (-0.17, 0.24), (-0.23, 0.24), (-0.18, 0.0)], 3)
_WOOD: Color = (150, 92, 48)
_SPARK: Color = (255, 244, 170)


def _spark(pen: Pen, x: float, y: float, strength: float, radius: float = 0.22) -> None:
    """A star of rays where something was struck."""
    if strength < 0.12:
        return
    pen.glow(x, y, radius * 1.3, (255, 240, 160), strength)
    for ray in range(6):
        angle = ray * math.pi / 3.0 + 0.3
        inner, outer = 0.35 * radius, radius * (0.55 + 0.5 * strength)
        dx, dy = math.cos(angle), math.sin(angle)
        pen.line(x + inner * dx, y + inner * dy, x + outer * dx, y + outer * dy, 0.03, _SPARK)


def _bell(pen: Pen, look: Look, now: Moment) -> None:
    glass = look.material == "glass"
    color: Color = (164, 216, 246) if glass else (188, 124, 38)
    flash = now.hit(0.14)
    swung = pen.moved(0.0, -0.42, turn=0.20 * now.shake(2.6, 0.13)).moved(0.0, 0.42)
    swung.disc(0.11 * now.shake(2.6, 0.13), 0.42, 0.085, shade(color, 0.55), edge=True)
    swung.ring(0.0, -0.43, 0.055, 0.045, shade(color, 0.6))
    if glass:
        with pen.veil(0.78):
            _bell_body(swung, mix(color, WHITE, 0.8 * flash), WHITE, shade(color, 0.72))
    else:
        _bell_body(swung, mix(color, (255, 230, 140), flash), (248, 206, 110), shade(color, 0.62))
    _hammer(pen, now.swing())
    _spark(pen, 0.40, 0.14, flash)


def _bell_body(pen: Pen, color: Color, shine: Color, band: Color) -> None:
    pen.fill(_BELL, color)
    pen.fill(_BELL_SHINE, shine, edge=False)
    pen.line(-0.30, 0.22, 0.30, 0.22, 0.04, band)
    pen.line(-0.38, 0.36, 0.38, 0.36, 0.05, band)


def _hammer(pen: Pen, swing: float) -> None:
    arm = pen.moved(0.62, -0.34, turn=0.16 - 0.62 * swing)
    arm.line(0.0, 0.0, 0.0, 0.42, 0.05, _WOOD)
    arm.box(-0.12, 0.40, 0.12, 0.56, (70, 62, 66))


_BARS = 7
_STEEL_BAR: Color = (176, 192, 208)
_WOOD_BARS: tuple[Color, ...] = ((150, 84, 38), (172, 100, 48), (194, 120, 60))


def _bar(index: int) -> tuple[float, float, float]:
    """Centre, top and bottom of a bar: the row is a trapezoid."""
    x = -0.66 + 1.32 * (index + 0.5) / _BARS
    half = 0.30 - 0.16 * index / (_BARS - 1)
    return x, 0.18 - half, 0.18 + half


def _bar_color(look: Look, index: int) -> Color:
    return _STEEL_BAR if look.material == "steel" else _WOOD_BARS[index % 3]


def _draw_bar(pen: Pen, look: Look, index: int, drop: float, flash: float) -> None:
    x, top, bottom = _bar(index)
    color = mix(_bar_color(look, index), (255, 250, 170), flash)
    pen.box(x - 0.082, top + drop, x + 0.082, bottom + drop, color)
    pen.line(x - 0.035, top + 0.05 + drop, x - 0.035, bottom - 0.05 + drop, 0.03, shade(color, 1.45))


def _xylophone_still(pen: Pen, look: Look) -> None:
    frame: Color = (70, 46, 30) if look.material == "wooden" else (50, 58, 84)
    for low, high in ((0.40, 0.28), (-0.03, 0.07)):
        pen.line(-0.74, low, 0.72, high, 0.075, frame)
    for x in (-0.66, 0.62):
        pen.line(x, 0.30, x, 0.50, 0.06, frame)
    for index in range(_BARS):
        _draw_bar(pen, look, index, 0.0, 0.0)


def _xylophone(pen: Pen, look: Look, now: Moment) -> None:
    last, coming = _melody(look.salt, now.beat - 1), _melody(look.salt, now.beat)
    flash = now.hit(0.16)
    if flash > 0.05:
        _draw_bar(pen, look, last, 0.045 * now.shake(9.0, 0.14), flash)
    share = 1.0 - min(1.0, now.until_s / 0.25) if now.active else 0.0
    x_last, y_last = _bar(max(last, 0))[0], 0.12
    x = x_last + (_bar(coming)[0] - x_last) * share
    lift = 0.34 * now.swing()
    pen.line(x + 0.01, y_last - lift, x + 0.34, y_last - lift - 0.24, 0.04, (230, 200, 150))
    pen.disc(x, y_last - lift - 0.03, 0.085, (206, 40, 60), edge=True)
    if now.beat:
        _spark(pen, x_last, y_last, flash, 0.2)


def _melody(salt: int, beat: int) -> int:
    """Which bar is struck at this beat."""
    return (salt + beat * 3 + beat * beat % 5) % _BARS if beat >= 0 else salt % _BARS


def _drum(pen: Pen, look: Look, now: Moment) -> None:
    flash, dent = now.hit(0.12), 0.05 * now.shake(8.0, 0.15)
    if look.material == "skin":
        body, rim, head = (158, 40, 44), (232, 196, 120), (244, 226, 190)
    else:
        body, rim, head = (150, 162, 174), (92, 100, 112), (206, 216, 224)
    pen.oval(0.0, 0.34, 0.46, 0.15, body, edge=True)
    pen.fill(((-0.46, -0.08), (0.46, -0.08), (0.46, 0.34), (-0.46, 0.34)), body, edge=False)
    pen.arc(0.0, 0.34, 0.46, 0.15, 0, 180, 0.05, rim)
    _drum_side(pen, look, rim)
    pen.oval(0.0, -0.08, 0.49, 0.17, rim, edge=True)
    pen.oval(0.0, -0.085 + dent, 0.43, 0.135 + abs(dent), mix(head, (255, 255, 235), flash))
    _stick(pen, 1.0, now.swing() if now.beat % 2 == 0 or now.since_s > 0.3 else 1.0)
    _stick(pen, -1.0, now.swing() if now.beat % 2 == 1 or now.since_s < 0.3 else 1.0)
    _spark(pen, 0.0, -0.12, flash, 0.3)


def _drum_side(pen: Pen, look: Look, rim: Color) -> None:
    if look.material == "skin":
        zigzag = [(-0.44 + 0.11 * step, 0.06 if step % 2 else 0.36) for step in range(9)]
        pen.path([(x, y + 0.08 * (1 - (x / 0.46) ** 2)) for x, y in zigzag], 0.035, rim)
    else:
        for x, color in ((-0.30, (222, 230, 236)), (-0.22, (190, 200, 210)), (0.30, (104, 114, 126))):
            pen.line(x, 0.02, x, 0.40, 0.07, color)
        for step in range(7):
            x = -0.42 + 0.14 * step
            pen.disc(x, 0.31 + 0.13 * math.sqrt(max(0.0, 1 - (x / 0.46) ** 2)), 0.025, (70, 76, 88))
    pen.line(-0.46, -0.05, -0.46, 0.34, 0.022, pen.edge)
    pen.line(0.46, -0.05, 0.46, 0.34, 0.022, pen.edge)


def _stick(pen: Pen, side: float, swing: float) -> None:
    arm = pen.moved(side * 0.50, -0.44, turn=side * (0.35 - 0.65 * swing))
    arm.line(0.0, 0.0, -side * 0.40, 0.26, 0.05, (222, 176, 110))
    arm.disc(-side * 0.40, 0.26, 0.05, (240, 214, 160), edge=True)


SKETCHES = {
    "bell": Sketch(_bell),
    "xylophone": Sketch(_xylophone, _xylophone_still),
    "drum": Sketch(_drum),
}
