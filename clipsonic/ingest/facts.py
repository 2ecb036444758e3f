"""What can be measured of a segment's sound and pictures, and the small pictures that are kept of it.

Guarantee: facts, never decisions: nothing is left out for what is measured here. Pictures are fitted to a CLIP's size
bit for bit as its own transform does it.
Price: facts are measured on thinned pictures, about 1 ms each; fitting a 720p picture takes about 5 ms.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from clipsonic.audio.wave import clipped_share, peak, rms_db, silence_share

_THUMBNAIL_SIDE = 160
_FACTS_SIDE = 120  # facts are measured on every n-th pixel, at least so many along the shortest side
_BLACK_LEVEL = 25  # of 255; with the share below, FFmpeg's blackdetect
_BLACK_SHARE = 0.98
_STILL_LEVEL = 1.0  # mean absolute difference of successive kept pictures, of 255
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Fit:
    """The geometric part of a CLIP's own transform: bicubic, to a square of this side.

    `mode` is open_clip's: "shortest" side and centre crop, or "squash".
    """

    side: int
    mode: Literal["shortest", "squash"]


def sound_facts(wave: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    """Level in dB of full scale, peak, and shares of silent time and of clipped samples."""
    return {
        "rms_db": round(rms_db(wave), 2),
        "peak": round(peak(wave), 4),
        "silence_share": round(silence_share(wave, sample_rate_hz), 4),
        "clipped_share": round(clipped_share(wave), 4),
    }


def picture_facts(frames: list[np.ndarray]) -> dict[str, float]:
    """Shares of kept pictures that are black, and of steps between kept pictures in which nothing moves."""
    small = [_thinned(frame) for frame in frames]
    black = [float(np.mean(frame @ _LUMA <= _BLACK_LEVEL)) >= _BLACK_SHARE for frame in small]
    still = [_is_still(before, after) for before, after in itertools.pairwise(small)]
    return {"still_share": round(float(np.mean(still)), 4), "black_share": round(float(np.mean(black)), 4)}


def _thinned(picture: np.ndarray) -> np.ndarray:
    step = max(1, min(picture.shape[:2]) // _FACTS_SIDE)
    return picture[::step, ::step]


def _is_still(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return False
    difference = np.maximum(before, after) - np.minimum(before, after)
    return float(difference.mean()) < _STILL_LEVEL


def fit_picture(picture: np.ndarray, fit: Fit) -> np.ndarray:
    """(H, W, 3) to (side, side, 3), bit for bit as open_clip's transform (torchvision on Pillow) does it."""
    height, width = picture.shape[:2]
    shortest, side = min(height, width), fit.side
    size = (side, side) if fit.mode == "squash" else (int(side * width / shortest), int(side * height / shortest))
    if size != (width, height):
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = round((size[1] - side) / 2.0), round((size[0] - side) / 2.0)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def thumbnail_of(picture: np.ndarray) -> bytes:
    """A JPEG of at most 160 pixels a side."""
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
