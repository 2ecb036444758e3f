"""The geometry of a CLIP's preprocessing on tensors, for pictures that lie on a device already.

Guarantee: for the same pictures the same pixels as open_clip's transform of PIL pictures, but for rounding: at most 2
of 255 levels at a pixel. Price: none beside the resizing; the exact way is `ClipEmbedder.preprocess`.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


def resized(pixels_NCHW: torch.Tensor, preprocess_cfg: dict[str, Any]) -> torch.Tensor:
    """Pictures (N, 3, H, W) uint8 of one size to the model's size (N, 3, h, w) uint8, on their own device."""
    size = preprocess_cfg["size"]
    target: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode = preprocess_cfg.get("resize_mode", "shortest")
    bilinear = preprocess_cfg.get("interpolation", "bicubic") == "bilinear"
    if mode == "shortest" and target[0] != target[1]:
        bilinear = False  # open_clip forgets the interpolation there
    kind = InterpolationMode.BILINEAR if bilinear else InterpolationMode.BICUBIC
    whole = target if mode == "squash" else _kept_ratio(pixels_NCHW.shape[-2:], target, mode)
    result = functional.resize(pixels_NCHW, list(whole), interpolation=kind, antialias=True)
    return _cropped_or_padded(result, target, preprocess_cfg.get("fill_color", 0))


def _kept_ratio(source: torch.Size, target: tuple[int, int], mode: str) -> tuple[int, int]:
    """The size at which the shortest (or longest) side fits; squares to the shortest as torchvision cuts decimals."""
    height, width = source
    if mode == "shortest" and target[0] == target[1]:
        short, long = min(height, width), max(height, width)
        longer = int(target[0] * long / short)
        return (target[0], longer) if height <= width else (longer, target[0])
    ratios = (height / target[0], width / target[1])
    ratio = max(ratios) if mode == "longest" else min(ratios)
    return round(height / ratio), round(width / ratio)


def _cropped_or_padded(pixels: torch.Tensor, target: tuple[int, int], fill: int) -> torch.Tensor:
    """The middle of a picture, with margins where it is too small."""
    missing = [max(0, wanted - found) for wanted, found in zip(target, pixels.shape[-2:], strict=True)]
    if any(missing):
        tall, wide = missing
        pixels = functional.pad(pixels, [wide // 2, tall // 2, (wide + 1) // 2, (tall + 1) // 2], fill=fill)
    cropped: torch.Tensor = functional.center_crop(pixels, list(target))
    return cropped
