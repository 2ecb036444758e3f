"""Backgrounds: eight places in six colourings, drawn once per scene and a little wider than the picture.

Details stay pale and few, so that nothing behind is mistaken for the thing that sounds. Price: 1 to 3 ms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.draw.canvas import INK, Color, Pen, mix
from clipsonic.soundstage.draw.scenery import SCENERY, recolored
from clipsonic.soundstage.scene import Scene

Style = Literal["full", "plain", "white"]
"""`full` as the scene says, `plain` one even colour, `white` nothing."""

_PLACES: dict[str, tuple[Color, Color, Color, Color]] = {
    "room": ((226, 208, 176), (214, 190, 154), (160, 112, 72), (128, 86, 54)),
    "meadow": ((126, 190, 238), (210, 234, 246), (130, 186, 84), (84, 142, 56)),
    "street": ((172, 190, 208), (216, 222, 226), (136, 136, 140), (104, 104, 110)),
    "night": ((26, 32, 70), (62, 66, 116), (46, 52, 66), (32, 36, 50)),
    "wall": ((190, 130, 104), (178, 118, 94), (172, 112, 90), (158, 100, 80)),
    "snow": ((176, 206, 232), (226, 236, 244), (244, 248, 252), (214, 226, 238)),
    "sea": ((136, 200, 236), (224, 240, 246), (52, 130, 176), (30, 92, 140)),
    "desert": ((240, 206, 146), (250, 232, 190), (226, 180, 110), (200, 148, 84)),
}
"""Top and bottom of the sky (or wall), top and bottom of the ground."""

_HORIZON = {
    "room": 0.74,
    "meadow": 0.60,
    "street": 0.70,
    "night": 0.72,
    "wall": 0.90,
    "snow": 0.62,
    "sea": 0.56,
    "desert": 0.64,
}


def edge_color(scene: Scene, style: Style) -> Color:
    """The colour of contours: dark, but pale at night."""
    return (112, 114, 140) if scene.background == "night" and style == "full" else INK


def paint_background(scene: Scene, width: int, height: int, margin: tuple[int, int], style: Style) -> np.ndarray:
    """The empty stage, (height + 2 * margin_y, width + 2 * margin_x, 3) uint8."""
    shape = (height + 2 * margin[1], width + 2 * margin[0])
    colors = [recolored(color, scene.palette) for color in _PLACES[scene.background]]
    if style == "white":
        return np.full((*shape, 3), 250, np.uint8)
    if style == "plain":
        return np.full((*shape, 3), mix(colors[1], (255, 255, 255), 0.2), np.uint8)
    horizon = _HORIZON[scene.background]
    image = _gradients(shape, horizon, colors)
    rng = numpy_rng(scene.seed, "soundstage.background", scene.index)
    pen = Pen(image, 0.0, 0.0, float(shape[0]))
    SCENERY[scene.background](pen, shape[1] / shape[0], horizon, colors, rng)
    return _grained(image, int(rng.integers(1 << 30)))


def _gradients(shape: tuple[int, int], horizon: float, colors: list[Color]) -> np.ndarray:
    split = round(shape[0] * horizon)
    rows = np.empty((shape[0], 3), np.float32)
    for start, end, top, bottom in ((0, split, colors[0], colors[1]), (split, shape[0], colors[2], colors[3])):
        share = np.linspace(0.0, 1.0, max(end - start, 1), dtype=np.float32)[: end - start, None]
        rows[start:end] = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return np.ascontiguousarray(np.broadcast_to(rows[:, None].astype(np.uint8), (*shape, 3)))


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> np.ndarray:
    noise = numpy_rng(0, "soundstage.grain").normal(0.0, 5.0, (height + 64, width + 64))
    return np.clip(noise + 16.0, 0.0, 32.0).astype(np.uint8)


def _grained(image: np.ndarray, place: int) -> np.ndarray:
    """A little texture: the same grain for all, cut out at another place."""
    height, width = image.shape[:2]
    top, left = place % 64, place // 64 % 64
    grain = cv2.merge([_grain(height, width)[top : top + height, left : left + width]] * 3)
    return np.asarray(cv2.addWeighted(image, 1.0, grain, 1.0, -16.0))
