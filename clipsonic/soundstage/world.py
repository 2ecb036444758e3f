"""The wider picture world on disk: stills with captions as img2dataset-style tars, for training a CLIP and a prior.

Guarantee: `write_pairs` gives the same bytes for any number of processes, and a rerun draws only the shards that are
missing. Price: about 2.5 ms per 160x120 picture with its JPEG on one core, and one shard in memory per process.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.soundstage.stills import Picture, WorldSplit, draw_picture
from clipsonic.workers import in_workers

__all__ = ["Picture", "WorldSplit", "draw_picture", "write_pairs"]

_JPEG_QUALITY = 92
_NOTE_NAME = "pairs.json"


@dataclass(frozen=True)
class _Plan:
    """All that fixes the bytes of a folder of pairs."""

    num_pictures: int
    seed: int
    split: WorldSplit
    per_shard: int
    width: int
    height: int

    @property
    def num_shards(self) -> int:
        return -(-self.num_pictures // self.per_shard)

    def shard(self, number: int) -> range:
        return range(number * self.per_shard, min((number + 1) * self.per_shard, self.num_pictures))


def write_pairs(
    out: str | Path,
    num_pictures: int,
    seed: int,
    *,
    split: WorldSplit = "train",
    workers: int = 0,
    per_shard: int = 1000,
    size: tuple[int, int] = (160, 120),
) -> dict[str, Any]:
    """Write pictures 0 .. num_pictures - 1 of a world as tars of pictures, captions and facts.

    Args:
        out: a folder; what an earlier run with the same arguments finished there is kept.
        workers: processes, 0 for one per core.
        per_shard: pictures in one tar.

    Returns:
        counts: pictures, drawn (in this run), kept (from an earlier one), shards, bytes; and the folder.

    Raises:
        UsageError: an impossible number or split, or a folder that holds other pairs.
    """
    _check(num_pictures, per_shard, workers, size)
    if split not in ("train", "heldout"):
        raise UsageError(f"split {split!r} is unknown: choose train or heldout")
    plan, folder = _Plan(num_pictures, seed, split, per_shard, *size), Path(out)
    _settle(folder, plan)
    missing = [number for number in range(plan.num_shards) if not (folder / _tar_name(number)).is_file()]
    drawn = sum(len(plan.shard(number)) for number in missing)
    with tqdm(total=drawn, desc="drawing pairs", unit="picture", file=sys.stderr, mininterval=0.5) as progress:
        for number in _written(plan, folder, missing, workers or os.cpu_count() or 1):
            progress.update(len(plan.shard(number)))
    return {
        "pictures": num_pictures,
        "drawn": drawn,
        "kept": num_pictures - drawn,
        "shards": plan.num_shards,
        "bytes": sum((folder / _tar_name(number)).stat().st_size for number in range(plan.num_shards)),
        "folder": str(folder),
    }


def _check(num_pictures: int, per_shard: int, workers: int, size: tuple[int, int]) -> None:
    if not 1 <= num_pictures <= 10**9 or per_shard < 1 or workers < 0 or min(size) < 16:
        raise UsageError(
            f"num_pictures {num_pictures} must be 1 to 1000000000, per_shard {per_shard} at least 1, workers {workers} "
            f"at least 0 and the size {size[0]}x{size[1]} at least 16x16: give such whole numbers"
        )


def _tar_name(number: int) -> str:
    return f"{number:05d}.tar"


def _settle(folder: Path, plan: _Plan) -> None:
    """Make the folder this plan's, or refuse one that is another's."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder for the pairs")
    folder.mkdir(parents=True, exist_ok=True)
    note, text = folder / _NOTE_NAME, json.dumps(asdict(plan), sort_keys=True) + "\n"
    if note.is_file():
        if note.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{folder} holds pairs drawn with other arguments ({_NOTE_NAME}): repeat those or give another folder"
            )
        return
    if any(folder.glob("*.tar")):
        raise UsageError(f"{folder} holds tars but no {_NOTE_NAME}: give an empty folder")
    write_whole(note, text.encode())


def _written(plan: _Plan, folder: Path, numbers: list[int], workers: int) -> Iterator[int]:
    """Write these shards, in this process or in fresh ones, and report each number when it is done."""
    work = partial(_write_shard, planned=asdict(plan), folder=str(folder))
    yield from in_workers(work, numbers, max(1, min(workers, len(numbers))))


def _write_shard(number: int, planned: dict[str, Any], folder: str) -> int:
    plan, buffer = _Plan(**planned), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index in plan.shard(number):
            key = f"{index:09d}"
            picture = draw_picture(plan.seed, index, plan.split, (plan.width, plan.height))
            for name, data in _members(key, picture).items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
    write_whole(Path(folder) / _tar_name(number), buffer.getvalue())
    return number


def _members(key: str, picture: Picture) -> dict[str, bytes]:
    """The files of one sample, in the layout of img2dataset."""
    height, width = picture.pixels.shape[:2]
    bgr = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()
    facts = {
        "caption": picture.captions[0],
        "captions": list(picture.captions),
        "kind": picture.kind,
        "key": key,
        "width": width,
        "height": height,
        "style": picture.style,
        "scene": picture.numbers,
    }
    return {
        f"{key}.jpg": jpeg,
        f"{key}.txt": picture.captions[0].encode(),
        f"{key}.json": json.dumps(facts, ensure_ascii=False).encode(),
    }
