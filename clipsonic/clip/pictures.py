"""A decoded picture as RGB of 8 bits in sRGB, as CLIP was trained on: upright, on white, whatever its mode.

Guarantee: what a viewer shows. A colour profile (Display P3, Adobe RGB, CMYK of a press) is applied by LittleCMS; grey
levels of 16 bits are scaled, not cut; floats of 0 to 1 are light. Price: a profile costs 20 ms per megapixel. Not
exact: a profile that is damaged is ignored, and CMYK without one is converted plainly, as viewers do.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

_PROFILED = ("RGB", "CMYK", "L")
_MAX_PROFILE_BYTES = 4 * 2**20


def as_rgb(image: Image.Image) -> Image.Image:
    """Any picture that Pillow has opened, in mode RGB.

    Raises:
        OSError, ValueError, SyntaxError: it is damaged.
    """
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip to white
        image = _of_levels(np.asarray(image, np.float64) / 257.0)
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float64))
        image = _of_levels(values * 255.0 if values.max(initial=0.0) <= 1.0 else values)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if profile and image.mode in _PROFILED:
        image = _in_srgb(image, profile)
    return image.convert("RGB")


def _of_levels(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0.0, 255.0).round().astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    if len(profile) > _MAX_PROFILE_BYTES:
        return image
    try:
        made = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if made is None else made
