"""Makers for the tests of the lesson `clip`: a toy world of coloured shapes in tars, and a small CLIP."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from clipsonic.clip import open_clip as door
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.vocabulary import packed, short_merges

COLORS = {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210), "yellow": (230, 210, 40)}
SHAPES = ("disc", "box")
RECIPE: dict[str, Any] = {
    "architecture": "toy-clip",
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 32},
        "text_cfg": {"context_length": 12, "vocab_size": 0, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "resize_mode": "squash"},
}
PATCHES = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
"""A vision transformer instead: without kinks, so that rounding stays small over a run."""


def toy_picture(color: str, shape: str, size: float, rng: np.random.Generator) -> bytes:
    """A shape on grey, larger for a larger size (0 to 1), as PNG."""
    image = Image.new("RGB", (40, 30), tuple(int(value) for value in rng.integers(90, 160, 3)))
    x, y, radius = *rng.integers(10, 22, 2), 4 + 8 * size
    box = (int(x - radius), int(y - radius), int(x + radius), int(y + radius))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "disc" else draw.rectangle)(box, fill=COLORS[color])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_pairs(path: Path, count: int, seed: int, damaged: tuple[int, ...] = ()) -> Path:
    """A tar of the toy world; the pictures of `damaged` cannot be decoded."""
    rng = np.random.default_rng(seed)
    members = []
    for n in range(count):
        color, shape, size = str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)), float(rng.random())
        word = "large" if size > 0.5 else "small"
        texts = [f"a {word} {color} {shape}", f"there is a {color} {shape} {n % 7}", f"picture of a {color} {shape}"]
        facts = {"captions": texts, "kind": f"{color} {shape}", "size": size}
        picture = toy_picture(color, shape, size, rng)
        members.append((f"{n:05d}.png", b"no picture" if n in damaged else picture))
        members.append((f"{n:05d}.json", json.dumps(facts).encode()))
    return write_tar(path, members)


def write_recipe(path: Path, vision_cfg: dict[str, Any] | None = None) -> Path:
    """`vision_cfg`, where there is one, instead of the ResNet's."""
    model_cfg = {**RECIPE["model_cfg"], **({"vision_cfg": vision_cfg} if vision_cfg else {})}
    path.write_text(json.dumps({**RECIPE, "model_cfg": model_cfg}))
    return path


def toy_clip(seed: int = 4) -> ClipEmbedder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return door.new_clip(RECIPE, packed(short_merges(["a red disc"], door.published_merges(), 60)))


def tiny_clip(folder: Path) -> list[str]:
    """The words of a run of a few milliseconds per step."""
    pairs, recipe = write_pairs(folder / "pairs.tar", 64, seed=1), write_recipe(folder / "toy.json", PATCHES)
    config = ["--config", "clip", "--clip.arch", str(recipe), "--pairs", str(pairs)]
    every = ["--run.val_every", "10", "--run.ckpt_every", "5", "--run.preview_every", "10", "--run.log_every", "3"]
    return [*config, *every, "--optim.batch_size", "8", "--optim.lr", "3e-4", "--data.val_share", "0.2"]
