"""Prompts from files: pictures and ready embeddings (a video is read by the pipeline itself).

Guarantee: a picture comes back upright, as RGB, and is refused by its header before it is decoded if it is too large;
embeddings are read as plain numbers, never unpickled. Price: a picture of 64 megapixels takes about a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipsonic.clip.pictures import as_rgb
from clipsonic.errors import UsageError

MAX_PIXELS = 64_000_000
MAX_FRAMES = 4096


def read_picture(path: str | Path, taken: Callable[[Image.Image], Image.Image] = as_rgb) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB: EXIF rotation applied, transparency on white, the first of several.

    Args:
        taken: what becomes of the opened picture, instead.

    Raises:
        UsageError: no such file, not a picture, or above 64 megapixels.
    """
    path = _existing(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, image.width, image.height)
                return np.array(taken(image))
    except Image.DecompressionBombError:
        raise UsageError(f"image {path} has far more than {MAX_PIXELS:,} pixels: scale it down") from None
    except UnidentifiedImageError:
        raise UsageError(
            f"{path} is not a picture that can be read: give a JPEG, PNG, WebP, GIF, TIFF or BMP"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UsageError(_why_not(path, "picture", error)) from None


def read_embeds(path: str | Path) -> np.ndarray:
    """Ready CLIP embeddings of one prompt from a .npy file, float32: (E,), or (S, E) for the frames of a segment.

    Raises:
        UsageError: no such file, or not such numbers.
    """
    path = _existing(path, "embeddings")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UsageError(_why_not(path, "file", error)) from None
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} is not a plain .npy file ({error}): write it with numpy.save") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim not in (1, 2):
        raise UsageError(f"{path} must hold one array of numbers, (E,) or (S, E): write it with numpy.save")
    if not values.size or (values.ndim == 2 and len(values) > MAX_FRAMES):
        raise UsageError(
            f"{path} holds an array of shape {values.shape}: give 1 to {MAX_FRAMES} embeddings of one segment"
        )
    return np.array(values, np.float32)


def _existing(path: str | Path, what: str) -> Path:
    path = Path(path)
    if not path.is_file():
        reason = "is no file" if path.exists() else "does not exist"
        raise UsageError(f"{what} file {path} {reason}: give the path of a file")
    return path


def _why_not(path: Path, what: str, error: Exception) -> str:
    """Whether the system refuses it, or what stands in it is wrong."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{what} {path} cannot be opened ({error.strerror}): make it readable, or give another file"
    return f"{what} {path} is damaged ({error}): give another file"


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UsageError(f"image {path} has {width} x {height} pixels, above {MAX_PIXELS:,}: scale it down")
