"""Machines: engine, clock, fan, train. Wheels, blades and hands turn at a pace that shows their speed."""

from __future__ import annotations

import math

from clipsonic.soundstage.draw.canvas import INK, WHITE, Color, Pen, mirrored, mix, shade, smooth
from clipsonic.soundstage.draw.moment import Look, Moment
from clipsonic.soundstage.draw.sketch import Sketch


def visible_turns(now: Moment, slow_hz: float = 0.8) -> float:
    """Turns made so far, at a pace that a camera can follow: four times as fast at full speed."""
    return 0.0 if now.speed is None else now.active_s * slow_hz * 4.0**now.speed


def _engine_color(look: Look) -> Color:
    return (112, 116, 124) if look.material == "iron" else (200, 44, 40)


def _engine_still(pen: Pen, look: Look) -> None:
    color = _engine_color(look)
    pen.box(-0.74, 0.36, 0.58, 0.50, (58, 54, 56))
    pen.box(-0.56, -0.02, 0.30, 0.38, color)
    for step in range(5):
        y = 0.03 + 0.07 * step
        pen.line(-0.52, y, -0.16, y, 0.028, shade(color, 0.62))
    pen.disc(0.08, 0.18, 0.13, shade(color, 0.7), edge=True)
    for number in range(3):
        x = -0.50 + 0.25 * number
        pen.box(x, -0.34, x + 0.20, 0.0, shade(color, 1.25))
        for fin in range(3):
            pen.line(x - 0.025, -0.28 + 0.10 * fin, x + 0.225, -0.28 + 0.10 * fin, 0.03, shade(color, 0.55))
    pen.line(-0.56, 0.12, -0.76, 0.12, 0.09, (90, 84, 80))
    pen.line(-0.76, 0.13, -0.76, -0.30, 0.09, (90, 84, 80))


def _engine(pen: Pen, look: Look, now: Moment) -> None:
    turns = visible_turns(now, 1.1)
    for number in range(3):
        x, lift = -0.40 + 0.25 * number, 0.06 * math.sin(2.0 * math.pi * (turns + number / 3.0))
        pen.line(x, -0.34, x, -0.40 + lift, 0.045, (220, 224, 230))
        pen.box(x - 0.06, -0.46 + lift, x + 0.06, -0.39 + lift, (240, 216, 120))
    _flywheel(pen.moved(0.46, 0.12), now, turns)
    if not now.active:
        return
    for puff in range(4):
        share = (now.active_s * (0.8 + (now.speed or 0.0)) + puff / 4.0) % 1.0
        tone = mix((84, 82, 88), (190, 188, 192), share)
        pen.disc(-0.76 - 0.10 * share, -0.32 - 0.16 * share, 0.05 + 0.06 * share, tone)


def _flywheel(wheel: Pen, now: Moment, turns: float) -> None:
    wheel.disc(0.0, 0.0, 0.30, (44, 42, 46), edge=True)
    wheel.disc(0.0, 0.0, 0.235, (188, 190, 196))
    spokes = wheel.moved(0.0, 0.0, turn=2.0 * math.pi * turns)
    for number in range(3):
        angle = number * 2.0 * math.pi / 3.0
        spokes.line(0.0, 0.0, 0.24 * math.cos(angle), 0.24 * math.sin(angle), 0.06, (44, 42, 46))
        if now.active:
            start = math.degrees(angle) - 20.0 - 80.0 * (now.speed or 0.0)
            spokes.arc(0.0, 0.0, 0.17, 0.17, start, math.degrees(angle), 0.10, (112, 112, 120))
    wheel.disc(0.0, 0.0, 0.07, (226, 190, 60), edge=True)


_CASE = mirrored([(0.0, -0.50), (0.10, -0.46), (0.24, -0.40), (0.30, -0.30), (0.30, 0.46), (0.34, 0.50)])


def _clock(pen: Pen, look: Look, now: Moment) -> None:
    oak = look.material == "oak"
    case: Color = (142, 88, 40) if oak else (238, 236, 228)
    pen.fill(_CASE, case)
    pen.box(-0.20, 0.12, 0.20, 0.44, (56, 36, 24) if oak else (150, 176, 196))
    beats = _beats(now)
    bob = pen.moved(0.0, 0.06, turn=0.55 * math.sin(math.pi * beats))
    bob.line(0.0, 0.06, 0.0, 0.26, 0.028, (236, 200, 80))
    bob.disc(0.0, 0.27, 0.075, (250, 206, 60), edge=True)
    pen.disc(0.0, -0.16, 0.265, (236, 196, 90) if oak else (60, 64, 76), edge=True)
    pen.disc(0.0, -0.16, 0.225, mix(WHITE, (255, 214, 70), min(1.0, 1.4 * now.hit(0.12))))
    for hour in range(12):
        angle = hour * math.pi / 6.0
        dx, dy = math.cos(angle), math.sin(angle)
        inner = 0.165 if hour % 3 == 0 else 0.185
        pen.line(inner * dx, -0.16 + inner * dy, 0.205 * dx, -0.16 + 0.205 * dy, 0.025, INK)
    pen.line(0.0, -0.16, -0.095, -0.215, 0.05, INK)
    pen.line(0.0, -0.16, 0.10, -0.29, 0.032, INK)
    angle = 2.0 * math.pi * (now.beat + look.salt) / 12.0 + 0.08 * now.shake(9.0, 0.08)
    pen.line(0.0, -0.16, 0.18 * math.sin(angle), -0.16 - 0.18 * math.cos(angle), 0.025, (220, 30, 40))
    pen.disc(0.0, -0.16, 0.03, (220, 30, 40))


def _beats(now: Moment) -> float:
    """Beats so far, a fraction between two of them: the pendulum swings fastest through the middle, at the tick."""
    if math.isinf(now.until_s) or math.isinf(now.since_s):
        return now.beat + (0.8 * now.since_s * math.exp(-now.since_s / 0.15) if now.beat else 0.0)
    return now.beat + now.since_s / max(now.since_s + now.until_s, 1e-3)


def _fan_color(look: Look) -> Color:
    return (60, 186, 190) if look.material == "plastic" else (150, 158, 168)


def _fan_still(pen: Pen, look: Look) -> None:
    color = _fan_color(look)
    pen.line(0.0, 0.10, 0.0, 0.44, 0.075, shade(color, 0.7))
    pen.oval(0.0, 0.45, 0.26, 0.055, color, edge=True)
    pen.disc(0.0, -0.14, 0.36, shade(color, 0.5))
    pen.disc(0.0, -0.14, 0.325, (236, 244, 246) if look.material == "plastic" else (66, 70, 80))


_BLADE = smooth([(0.02, -0.05), (0.14, -0.15), (0.27, -0.13), (0.30, 0.0), (0.20, 0.06), (0.05, 0.04)], 4)


def _fan(pen: Pen, look: Look, now: Moment) -> None:
    color = _fan_color(look)
    blade = shade(color, 0.82) if look.material == "plastic" else (214, 220, 228)
    hub = pen.moved(0.0, -0.14, turn=2.0 * math.pi * visible_turns(now, 0.9))
    if now.active:
        speed = now.speed or 0.0
        with pen.veil(0.35 + 0.2 * speed):
            for ghost in range(1, 3 + round(3 * speed)):
                _blades(hub.moved(0.0, 0.0, turn=-0.22 * ghost), blade, edge=False)
    _blades(hub, blade, edge=True)
    pen.disc(0.0, -0.14, 0.065, shade(color, 0.55), edge=True)
    for radius in (0.20, 0.345):
        pen.ring(0.0, -0.14, radius, 0.02, shade(color, 0.45))
    for spoke in range(4):
        angle = math.pi / 4.0 * (2 * spoke + 1)
        dx, dy = 0.345 * math.cos(angle), 0.345 * math.sin(angle)
        pen.line(0.0, -0.14, dx, -0.14 + dy, 0.012, shade(color, 0.45))


def _blades(hub: Pen, color: Color, *, edge: bool) -> None:
    for number in range(3):
        hub.moved(0.0, 0.0, turn=number * 2.0 * math.pi / 3.0).fill(_BLADE, color, edge=edge)


_WHEELS = ((-0.46, 0.34, 0.155), (-0.12, 0.34, 0.155), (0.22, 0.34, 0.155), (0.53, 0.40, 0.095))


def _train_still(pen: Pen, look: Look) -> None:
    color: Color = (58, 58, 66) if look.material == "black" else (34, 122, 62)
    trim: Color = (206, 44, 40) if look.material == "black" else (240, 200, 70)
    pen.line(-0.90, 0.495, 0.90, 0.495, 0.03, (92, 80, 76))
    pen.box(-0.72, -0.30, -0.30, 0.26, color)
    pen.box(-0.62, -0.20, -0.42, 0.0, (170, 210, 236))
    pen.box(-0.78, -0.38, -0.24, -0.29, trim)
    pen.box(-0.30, -0.12, 0.58, 0.24, color)
    pen.oval(0.58, 0.06, 0.06, 0.18, shade(color, 1.25), edge=True)
    pen.line(-0.26, -0.05, 0.54, -0.05, 0.035, shade(color, 1.5))
    pen.fill(((0.26, -0.12), (0.42, -0.12), (0.42, -0.24), (0.48, -0.36), (0.20, -0.36), (0.26, -0.24)), color)
    pen.oval(0.0, -0.13, 0.10, 0.09, trim, edge=True)
    pen.box(-0.74, 0.22, 0.66, 0.29, trim)
    pen.fill(((0.62, 0.28), (0.80, 0.46), (0.58, 0.46)), shade(color, 0.8))
    pen.disc(0.66, -0.06, 0.055, (255, 240, 150), edge=True)


def _train(pen: Pen, look: Look, now: Moment) -> None:
    turn = 2.0 * math.pi * (0.5 * now.cycles)
    for x, y, radius in _WHEELS:
        pen.disc(x, y, radius, (40, 38, 42), edge=True)
        pen.disc(x, y, radius * 0.72, (196, 60, 50) if look.material == "black" else (222, 190, 80))
        for spoke in range(2):
            angle = turn + spoke * math.pi / 2.0
            dx, dy = radius * 0.75 * math.cos(angle), radius * 0.75 * math.sin(angle)
            pen.line(x - dx, y - dy, x + dx, y + dy, 0.028, (40, 38, 42))
    dx, dy = 0.085 * math.cos(turn), 0.085 * math.sin(turn)
    pen.line(-0.46 + dx, 0.34 + dy, 0.22 + dx, 0.34 + dy, 0.045, (226, 230, 236))
    puff = now.hit(0.18)
    if now.beat and now.since_s < 1.4:
        _smoke(pen, now)
    pen.glow(0.34, -0.40, 0.26, (255, 240, 220), puff)


def _smoke(pen: Pen, now: Moment) -> None:
    """One cloud per puff: out of the chimney at the event, then back along the train and thinner."""
    age = now.since_s
    with pen.veil(max(0.0, 0.95 - 0.6 * age)):
        for number in range(4):
            drift = age * (0.5 + 0.12 * number)
            x, y = 0.34 - 0.9 * drift - 0.05 * number, -0.42 - 0.06 * number - 0.10 * min(age, 0.8)
            radius = (0.10 + 0.02 * number) * (0.8 + 0.9 * min(age, 1.0))
            pen.disc(x, y, radius, (232 - 8 * number, 232 - 8 * number, 236 - 8 * number))


SKETCHES = {
    "engine": Sketch(_engine, _engine_still),
    "clock": Sketch(_clock),
    "fan": Sketch(_fan, _fan_still),
    "train": Sketch(_train, _train_still),
}
