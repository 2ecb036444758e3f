"""Pairs of pictures and captions: embeddings with a made gap between the two, in folders, and tars of pictures."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clipsonic.clip.pair_embeds import Embedded
from clipsonic.prior.measure import Pairs

WIDTH = 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rotated_pairs(count: int, seed: int, noise: float = 0.05) -> Pairs:
    """Pictures are the captions turned by a fixed rotation, with a little noise; kinds are clusters."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]
    centres = unit(np.random.default_rng(9).normal(size=(6, WIDTH)))
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 6, count)
    texts = unit(centres[kinds] + 0.15 * rng.normal(size=(count, WIDTH)))
    images = unit(texts @ rotation + noise * rng.normal(size=(count, WIDTH)))
    return Pairs(torch.from_numpy(texts), torch.from_numpy(images), np.array([f"k{kind}" for kind in kinds]))


def write_embeds(folder: Path, *parts: Pairs, fingerprint: str | None = "toy/abc") -> Path:
    """A folder as clipsonic embed-pairs leaves it, or as clip-retrieval does where there is no fingerprint."""
    for number, part in enumerate(parts):
        Embedded(part.images.numpy(), part.texts.numpy(), part.kinds).write(folder, number)
    if fingerprint is not None:
        (folder / "index.json").write_text(json.dumps({"fingerprint": fingerprint, "clip": "toy"}))
    return folder


def write_tar(path: Path, count: int, seed: int = 0) -> Path:
    """Pictures of one colour each, with four captions, of two kinds in turn; one more has no caption."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n in range(count + 1):
            buffer = io.BytesIO()
            color = tuple(int(value) for value in rng.integers(0, 256, 3))
            Image.new("RGB", (40, 30), color).save(buffer, "PNG")
            said = [f"picture {n}", "a colour", f"plain {n}", "fourth"] if n < count else []
            facts = json.dumps({"captions": said, "kind": f"k{n % 2}"})
            _add(archive, f"{n:03d}.png", buffer.getvalue())
            _add(archive, f"{n:03d}.json", facts.encode())
    return path


def write_corpus(folder: Path, fingerprint: str, frames: np.ndarray) -> Path:
    """As far as it is read: two records with these frames, of which the first has a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"fingerprint": fingerprint}))
    buffer = io.BytesIO()
    np.save(buffer, frames)
    with tarfile.open(folder / "shard-000000.tar", "w") as archive:
        for name, data in (
            ("0.frames.npy", buffer.getvalue()),
            ("0.txt", b"a bell"),
            ("1.frames.npy", buffer.getvalue()),
        ):
            _add(archive, name, data)
    return folder


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
