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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipsonic.clip.pictures import as_rgb
from clipsonic.errors import CorpusError, UsageError

_PICTURES = ("jpg", "jpeg", "png", "webp")
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


def read_samples(tar: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {extension: content}) of each sample of a tar, in order.

    Raises:
        CorpusError: the file is not a readable tar.
    """
    key = ""
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(tar, "r|") as archive:
            for member in archive:
                name, _, extension = Path(member.name).name.partition(".")
                if not member.isfile() or not extension or member.size > _MAX_MEMBER_BYTES:
                    continue
                if name != key and parts:
                    yield key, parts
                    parts = {}
                content = archive.extractfile(member)
                key, parts[extension.lower()] = name, content.read() if content else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"{tar} is not a readable tar ({error}): make it again or leave it out") from None
    if parts:
        yield key, parts


def read_pairs(sources: Sequence[str | Path]) -> Iterator[Pair | None]:
    """Every pair of the sources in order; None stands for a sample without picture or caption."""
    for tar in find_tars(sources):
        for key, parts in read_samples(tar):
            yield _pair(key, parts)


def load_table(
    sources: Sequence[str | Path], resized: Callable[[list[Image.Image]], np.ndarray], chunk: int = 256
) -> PairTable:
    """All pairs in memory, pictures resized once by the CLIP's own transform (`ClipEmbedder.resized`).

    Raises:
        CorpusError: not one usable pair.
    """
    pictures: list[np.ndarray] = []
    kept: list[Pair] = []
    waiting: list[Image.Image] = []
    refused = 0
    for pair in read_pairs(sources):
        image = open_picture(pair.picture) if pair else None
        if pair is None or image is None:
            refused += 1
            continue
        kept.append(pair)
        waiting.append(image)
        if len(waiting) == chunk:
            pictures.append(resized(waiting))
            waiting = []
    if not kept:
        raise CorpusError(f"no usable pair in {', '.join(map(str, sources))}: each needs a picture and a caption")
    if waiting:
        pictures.append(resized(waiting))
    return PairTable(
        np.concatenate(pictures),
        [pair.captions for pair in kept],
        [pair.kind for pair in kept],
        [pair.numbers for pair in kept],
        refused,
    )


def open_picture(data: bytes) -> Image.Image | None:
    """Decode a picture to RGB, or None where it is none or has more than 64 million pixels."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > _MAX_PIXELS:
            return None
        return as_rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _pair(key: str, parts: dict[str, bytes]) -> Pair | None:
    picture = next((parts[extension] for extension in _PICTURES if extension in parts), None)
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
