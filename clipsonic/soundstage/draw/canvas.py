"""Pens: anti-aliased shapes in the coordinates of one object, at sub-pixel precision.

An object is 1 high: its centre is (0, 0), its top is y = -0.5, its bottom y = 0.5; x runs right in the same unit.
Colours are RGB tuples of 0..255. Price: about 5 microseconds per shape, 40 per veil (it copies the picture).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import cv2
import numpy as np

Color = tuple[int, int, int]
Points = np.ndarray | Sequence[tuple[float, float]]

INK: Color = (28, 26, 34)
WHITE: Color = (250, 250, 248)
_SHIFT = 4
_ONE = 1 << _SHIFT
_SMALL_PX = 6.0  # below this OpenCV's own circles become diamonds
_CIRCLE = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], axis=1) * _ONE


def shade(color: Color, factor: float) -> Color:
    """The colour darker (factor < 1) or nearer to white (factor > 1, 2 is white)."""
    if factor <= 1.0:
        return (int(color[0] * factor), int(color[1] * factor), int(color[2] * factor))
    return mix(color, (255, 255, 255), factor - 1.0)


def mix(first: Color, second: Color, share: float) -> Color:
    """The colour between two: share 0 is the first, 1 the second."""
    share = min(1.0, max(0.0, share))
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def smooth(points: Sequence[tuple[float, float]], steps: int = 5) -> np.ndarray:
    """A closed Catmull-Rom curve through the points, (len(points) * steps, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    before, after, beyond = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (array[:, None, :] for array in (before, knots, after, beyond))
    linear, square, cube = p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
    curve: np.ndarray = 0.5 * (2 * p1 + linear * t + square * t**2 + cube * t**3)
    return curve.reshape(-1, 2)


def mirrored(half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, listed from top to bottom."""
    return [*half, *[(-x, y) for x, y in reversed(half)]]


@lru_cache(maxsize=64)
def _falloff(radius: int) -> np.ndarray:
    axis = np.arange(-radius, radius + 1) / max(radius, 1)
    distance = np.sqrt(axis[:, None] ** 2 + axis[None] ** 2)
    light: np.ndarray = (np.clip(1.0 - distance, 0.0, 1.0) ** 1.6).astype(np.float32)[..., None]
    return light


class Pen:
    """Draws into `image` (H, W, 3) uint8 in the coordinates of an object at pixel (x, y), `unit` pixels high."""

    __slots__ = ("_cos", "_sin", "_x", "_y", "edge", "image", "turn", "unit")

    def __init__(
        self, image: np.ndarray, x: float, y: float, unit: float, *, turn: float = 0.0, edge: Color = INK
    ) -> None:
        self.image, self.unit, self.turn, self.edge = image, unit, turn, edge
        self._x, self._y = x, y
        self._cos, self._sin = math.cos(turn) * unit, math.sin(turn) * unit

    def moved(self, x: float, y: float, *, turn: float = 0.0, scale: float = 1.0) -> Pen:
        """A pen whose origin is at (x, y) of this one, turned clockwise by `turn` radians."""
        px, py = self._pixel(x, y)
        return Pen(self.image, px, py, self.unit * scale, turn=self.turn + turn, edge=self.edge)

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._cos - y * self._sin, self._y + x * self._sin + y * self._cos

    def _fixed(self, x: float, y: float) -> tuple[int, int]:
        px, py = self._pixel(x, y)
        return round(px * _ONE), round(py * _ONE)

    def _array(self, points: Points) -> np.ndarray:
        xy = np.asarray(points, dtype=np.float64)
        turn = np.array(((self._cos, self._sin), (-self._sin, self._cos)))
        array: np.ndarray = np.rint((xy @ turn + (self._x, self._y)) * _ONE).astype(np.int32)
        return array

    def _thick(self, width: float) -> int:
        return max(1, round(width * self.unit))

    def fill(self, points: Points, color: Color, *, edge: bool = True) -> None:
        """A filled outline, by default with a thin dark contour."""
        array = self._array(points)
        cv2.fillPoly(self.image, [array], color, cv2.LINE_AA, _SHIFT)
        if edge:
            cv2.polylines(self.image, [array], True, self.edge, self._thick(0.022), cv2.LINE_AA, _SHIFT)

    def path(self, points: Points, width: float, color: Color, *, closed: bool = False) -> None:
        """An open line through the points, at least one pixel thick."""
        cv2.polylines(self.image, [self._array(points)], closed, color, self._thick(width), cv2.LINE_AA, _SHIFT)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, color: Color) -> None:
        """A straight stroke with round ends; thin ones are one pixel thick."""
        start, end = self._fixed(x0, y0), self._fixed(x1, y1)
        cv2.line(self.image, start, end, color, self._thick(width), cv2.LINE_AA, _SHIFT)

    def disc(self, x: float, y: float, radius: float, color: Color, *, edge: bool = False) -> None:
        """A filled circle."""
        centre, size = self._fixed(x, y), max(8, round(abs(radius) * self.unit * _ONE))
        if size < _SMALL_PX * _ONE:
            round_16 = np.rint(_CIRCLE * (size / _ONE) + centre).astype(np.int32)
            cv2.fillConvexPoly(self.image, round_16, color, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(self.image, centre, size, color, -1, cv2.LINE_AA, _SHIFT)
        if edge:
            cv2.circle(self.image, centre, size, self.edge, self._thick(0.022), cv2.LINE_AA, _SHIFT)

    def ring(self, x: float, y: float, radius: float, width: float, color: Color) -> None:
        """A circle's outline."""
        size = max(8, round(abs(radius) * self.unit * _ONE))
        cv2.circle(self.image, self._fixed(x, y), size, color, self._thick(width), cv2.LINE_AA, _SHIFT)

    def oval(
        self, x: float, y: float, rx: float, ry: float, color: Color, *, turn: float = 0.0, edge: bool = False
    ) -> None:
        """A filled ellipse, turned clockwise by `turn` radians."""
        centre, axes = self._fixed(x, y), self._axes(rx, ry)
        angle = math.degrees(self.turn + turn)
        cv2.ellipse(self.image, centre, axes, angle, 0, 360, color, -1, cv2.LINE_AA, _SHIFT)
        if edge:
            thick = self._thick(0.022)
            cv2.ellipse(self.image, centre, axes, angle, 0, 360, self.edge, thick, cv2.LINE_AA, _SHIFT)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start_deg: float, end_deg: float, width: float, color: Color
    ) -> None:
        """Part of an ellipse's outline; degrees run clockwise from the right."""
        centre, axes, angle = self._fixed(x, y), self._axes(rx, ry), math.degrees(self.turn)
        thick = self._thick(width)
        cv2.ellipse(self.image, centre, axes, angle, start_deg, end_deg, color, thick, cv2.LINE_AA, _SHIFT)

    def _axes(self, rx: float, ry: float) -> tuple[int, int]:
        return max(8, round(abs(rx) * self.unit * _ONE)), max(8, round(abs(ry) * self.unit * _ONE))

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, *, edge: bool = True) -> None:
        """A filled rectangle."""
        self.fill(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, edge=edge)

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Light added around a point, fading to nothing at `radius`."""
        size = max(1, round(radius * self.unit))
        px, py = self._pixel(x, y)
        left, top = round(px) - size, round(py) - size
        height, width = self.image.shape[:2]
        x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + 2 * size + 1), min(height, top + 2 * size + 1)
        if strength <= 0.0 or x0 >= x1 or y0 >= y1:
            return
        light = _falloff(size)[y0 - top : y1 - top, x0 - left : x1 - left] * np.float32(min(strength, 1.0))
        patch = self.image[y0:y1, x0:x1]
        patch[:] = cv2.add(patch, (light * np.array(color, np.float32)).astype(np.uint8))

    @contextmanager
    def veil(self, alpha: float) -> Iterator[None]:
        """Whatever is drawn inside is translucent: alpha 0 leaves no trace, 1 is opaque."""
        before = self.image.copy()
        yield
        cv2.addWeighted(self.image, alpha, before, 1.0 - alpha, 0.0, dst=self.image)
