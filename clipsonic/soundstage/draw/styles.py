"""Other looks of a finished picture: grey, sepia, sketched, posterised, blurred, noisy, negative, vignetted, cropped.

Each is a pure function of (picture, generator); the first few keep what can be told of the thing, colour aside.
Price: 0.05 to 1 ms for 160x120.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Filter = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(H, W, 3) uint8 RGB to the same."""

_SEPIA = np.array(((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131)))


def _grey(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _sepia(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.transform(picture, _SEPIA))


def _sketch(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour dodge: what is darker than its surroundings becomes a pencil line on white paper."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    around = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(1.2, 2.4)))
    lines = cv2.divide(grey, cv2.max(around, 1), scale=250.0)  # type: ignore[call-overload]
    return np.asarray(cv2.cvtColor(lines, cv2.COLOR_GRAY2RGB))


def _posterised(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = int(rng.integers(48, 86))
    levels = np.minimum(np.arange(256) // step * step + step // 2, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, levels))


def _blurred(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.7, 1.5)) * picture.shape[0] / 120.0))


def _noisy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(8.0, 24.0))
    noisy: np.ndarray = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return noisy


def _negative(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.bitwise_not(picture))


def _vignetted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    light = np.clip(1.25 - float(rng.uniform(0.4, 0.8)) * (x * x + y * y), 0.0, 1.0).astype(np.float32)
    darkened: np.ndarray = (picture * light[..., None]).astype(np.uint8)
    return darkened


def _cropped(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to an eighth of each side is cut away, then it is as large as before."""
    height, width = picture.shape[:2]
    share = float(rng.uniform(0.875, 0.97))
    rows, columns = round(height * share), round(width * share)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return np.asarray(cv2.resize(picture[top : top + rows, left : left + columns], (width, height)))


FILTERS: dict[str, Filter] = {
    "grey": _grey,
    "sepia": _sepia,
    "sketch": _sketch,
    "posterised": _posterised,
    "blurred": _blurred,
    "noisy": _noisy,
    "negative": _negative,
    "vignetted": _vignetted,
    "cropped": _cropped,
}
"""Every look by name."""
