"""Pairs of pictures and captions: img2dataset-style tars, or a corpus whose records have a thumbnail and a caption.

In each tar the members of one sample share their name up to the first dot: a picture (jpg, jpeg, png, webp), a
caption (txt), and optionally json with `captions` (more phrasings), `kind` (its class, for judging) and numbers.
Guarantee: order is that of the sorted tars and their members; member names are never used as paths; a sample that
cannot be used is counted, not fatal. Price: about 1 ms per picture of 160 x 120.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipsonic.clip.pictures import as_rgb
from clipsonic.errors import CorpusError, UsageError

PICTURES = ("jpg", "jpeg", "png", "webp")
"""Extensions of a sample's picture, the first that is there is taken."""
_MAX_MEMBER_BYTES = 32 * 2**20
_MAX_PIXELS = 64 * 2**20


@dataclass(frozen=True)
class Pair:
    """One sample: its picture file, its phrasings (at least one), its class and its numbers where known."""

    key: str
    picture: bytes
    captions: tuple[str, ...]
    kind: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PairTable:
    """Pairs in memory: pictures (N, h, w, 3) uint8 at the size of one CLIP, and what was said of them."""

    pictures: np.ndarray
    captions: list[tuple[str, ...]]
    kinds: list[str | None]
    numbers: list[dict[str, float]]
    refused: int = 0

    def __len__(self) -> int:
        return len(self.captions)

    def take(self, indices: Sequence[int] | np.ndarray) -> PairTable:
        """The pairs at these places."""
        places = [int(index) for index in indices]
        return PairTable(
            self.pictures[places],
            [self.captions[place] for place in places],
            [self.kinds[place] for place in places],
            [self.numbers[place] for place in places],
        )


def find_tars(sources: Sequence[str | Path]) -> list[Path]:
    """Tars given one by one or as folders (their `*.tar`, sorted).

    Raises:
        UsageError: a source is missing, or a folder holds no tar.
    """
    tars: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found = sorted(source.glob("*.tar"))
            if not found:
                raise UsageError(f"folder {source} holds no .tar: give img2dataset-style tars of pictures and captions")
            tars += found
        elif source.is_file():
            tars.append(source)
        else:
            raise UsageError(f"pairs {source} do not exist: give tars or a folder of tars")
    return tars


def samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """(key, {extension: member}) of each sample of an open tar, in order; members over 32 MiB are left out.

    Raises:
        TarError, OSError, EOFError: it is damaged.
    """
    key = ""
    parts: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        archive.members.clear()  # type: ignore[attr-defined]  # else it keeps a kilobyte of each
        name, _, extension = member.name.rpartition("/")[2].partition(".")
        if not member.isfile() or not extension or member.size > _MAX_MEMBER_BYTES:
            continue
        if name != key and parts:
            yield key, parts
            parts = {}
        key, parts[extension.lower()] = name, member
    if parts:
        yield key, parts


def read_samples(tar: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {extension: content}) of each sample of a tar, in order.

    Raises:
        CorpusError: the file is not a readable tar.
    """
    with readable(tar), tarfile.open(tar, "r:") as archive:
        for key, parts in samples(archive):
            yield key, {extension: content(archive, member) for extension, member in parts.items()}


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member."""
    file = archive.extractfile(member)
    return file.read() if file else b""


@contextmanager
def readable(tar: Path) -> Iterator[None]:
    """Says of a tar that cannot be read that it cannot.

    Raises:
        CorpusError: what was raised inside shows that the file is not a readable tar.
    """
    try:
        yield
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"{tar} is not a readable tar ({error}): make it again or leave it out") from None


def read_pairs(sources: Sequence[str | Path]) -> Iterator[Pair | None]:
    """Every pair of the sources in order; None stands for a sample without picture or caption."""
    for tar in find_tars(sources):
        for key, parts in read_samples(tar):
            yield pair_of(key, parts)


def open_picture(data: bytes) -> Image.Image | None:
    """Decode a picture to RGB, or None where it is none or has more than 64 million pixels."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > _MAX_PIXELS:
            return None
        return as_rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def pair_of(key: str, parts: dict[str, bytes]) -> Pair | None:
    """The pair of a sample's files, or None where there is no picture or no caption."""
    picture = next((parts[extension] for extension in PICTURES if extension in parts), None)
    facts = _facts(parts.get("json", b""))
    spoken = [
        parts.get("txt", b"").decode("utf-8", "replace"),
        *_words(facts.get("captions")),
        *_words(facts.get("caption")),
    ]
    captions = tuple(dict.fromkeys(text.strip() for text in spoken if text.strip()))
    if picture is None or not captions:
        return None
    kind = facts.get("kind")
    return Pair(key, picture, captions, kind if isinstance(kind, str) else None, _numbers(facts))


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data) if data else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _words(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _numbers(facts: dict[str, Any]) -> dict[str, float]:
    """Numbers of the json and of a `scene` or `law` in it."""
    flat = {**facts, **next((facts[name] for name in ("scene", "law") if isinstance(facts.get(name), dict)), {})}
    return {name: float(value) for name, value in flat.items() if isinstance(value, int | float) and value is not True}
