"""Pairs of embeddings on a disk, in clip-retrieval's layout: a picture and a caption of one CLIP space in each row.

Guarantee: a shard's vectors depend on its tar and the CLIP only; rows are read memory-mapped, piece by piece, as they
are; a shard whose files cannot go together, or a folder that was never finished, is refused.
Price: about 1 ms per picture and per caption with the bundled CLIP on one core.

    FOLDER/img_emb/img_emb_0.npy     (R, E) float16 or float32, row by row the picture of the caption
    FOLDER/text_emb/text_emb_0.npy   (R, E)
    FOLDER/kinds/kinds_0.npy         (R,) text, the class of each picture, "" where unknown    } only what
    FOLDER/index.json                CLIP space, name of the CLIP, tars and counts             } clipsonic wrote
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.pairs import open_picture, read_pairs, read_samples
from clipsonic.errors import CorpusError, FingerprintError
from clipsonic.files import whole_file

INDEX_NAME = "index.json"
STATE_FOLDER = "embed"
"""There while a folder is being written."""
_KINDS = {"images": "img_emb", "texts": "text_emb", "kinds": "kinds"}
_MAX_CAPTIONS = 3  # per picture; more phrasings of one picture taught nothing more and cost a minute per 20 thousand
_CHUNK = 256


@dataclass(frozen=True)
class PairShard:
    """R rows, in files or in memory.

    Args:
        name: of the shard, for keys and refusals.
        images, texts: (R, E) float16 or float32, or the `.npy` file that holds them.
        kinds: (R,) text, or its file; None where nobody knows.

    Raises:
        CorpusError: a damaged file, other numbers than floats, unequal rows or widths.
    """

    name: str
    images: np.ndarray | Path
    texts: np.ndarray | Path
    kinds: np.ndarray | Path | None = None
    shape: tuple[int, int] = field(init=False)
    row_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        images, texts = _opened(self.images), _opened(self.texts)
        if images.shape != texts.shape or images.ndim != 2:
            raise CorpusError(
                f"{self.name} has pictures of shape {images.shape} and captions of {texts.shape}: both must be (rows, "
                "width) alike, so write both files of this number again"
            )
        if not {images.dtype.str, texts.dtype.str} <= {"<f2", "<f4"}:
            raise CorpusError(f"{self.name} holds {images.dtype} and {texts.dtype}: write float16 or float32")
        if self.kinds is not None and len(_opened(self.kinds)) != len(images):
            raise CorpusError(f"{self.name} has {len(images)} rows and not as many kinds: embed its tar again")
        object.__setattr__(self, "shape", images.shape)
        object.__setattr__(self, "row_bytes", 2 * images.shape[1] * max(images.itemsize, texts.itemsize))

    def read(self, what: str, start: int, stop: int) -> np.ndarray:
        """A copy of these rows of `images`, `texts` or `kinds`; the file is no longer mapped afterwards."""
        source = getattr(self, what)
        return np.full(stop - start, "") if source is None else np.array(_opened(source)[start:stop])

    @property
    def facts(self) -> list[Any]:
        """What names the data: name, bytes of the files, rows."""
        files = (self.images, self.texts)
        sizes = [file.stat().st_size if isinstance(file, Path) else file.nbytes for file in files]
        return [self.name, sizes, *self.shape]


class Embedded(NamedTuple):
    """The rows of one tar, float16, and the samples of it that could not be used."""

    images: np.ndarray
    texts: np.ndarray
    kinds: np.ndarray
    unusable: int = 0

    def write(self, folder: Path, number: int) -> None:
        """Put it into a folder as the shard of this number; without a row nothing is written."""
        for name, stem in _KINDS.items() if len(self.kinds) else ():
            with whole_file(folder / stem / f"{stem}_{number}.npy") as file, file.open("wb") as stream:
                np.save(stream, getattr(self, name), allow_pickle=False)


def embed_tar(tar: Path, clip: ClipEmbedder) -> Embedded:
    """The pairs of a tar of pictures and captions, or of a corpus's shard, whose stored frames are used as they are.

    Raises:
        CorpusError: no readable tar.
        FingerprintError: a shard of a corpus that was made with another CLIP.
    """
    made_with = corpus_space(tar.parent)
    if made_with not in (None, clip.fingerprint):
        raise FingerprintError(
            f"corpus {tar.parent} was made with CLIP {made_with}, not {clip.fingerprint}: name the CLIP of its ingest"
        )
    images, spoken, kinds, unusable = [np.zeros((0, clip.width), np.float16)], [], [], 0
    for found in (_seen if made_with is None else _stored)(tar, clip):
        if found is None:
            unusable += 1
            continue
        vectors, captions, kind = found
        images += [vectors.astype(np.float16)] * len(captions)
        spoken += [caption for caption in captions for _ in vectors]
        kinds += [kind] * (len(captions) * len(vectors))
    return Embedded(np.concatenate(images), _said(spoken, clip), np.array(kinds, dtype=str), unusable)


def corpus_space(folder: Path) -> str | None:
    """The CLIP space of a corpus, None where the folder is none."""
    path = folder / INDEX_NAME
    return json.loads(path.read_text(encoding="utf-8")).get("fingerprint") if path.is_file() else None


def is_embedded(folder: Path) -> bool:
    """Whether a folder is one of embeddings, finished or not."""
    return (folder / _KINDS["images"]).is_dir() or (folder / STATE_FOLDER).is_dir()


def open_embedded(folder: Path) -> list[PairShard]:
    """The shards of a folder in the order of their numbers.

    Raises:
        CorpusError: an unfinished folder, a file without its partner, no file at all, or a shard that cannot be.
    """
    if (folder / STATE_FOLDER).is_dir():
        raise CorpusError(f"{folder} is unfinished: run the same clipsonic embed-pairs again, it goes on")
    files = {name: _numbered(folder, stem) for name, stem in _KINDS.items()}
    if lonely := sorted(files["images"].keys() ^ files["texts"].keys()):
        raise CorpusError(
            f"{folder} holds only one of img_emb_{lonely[0]}.npy and text_emb_{lonely[0]}.npy: bring both"
        )
    if not files["images"]:
        raise CorpusError(
            f"{folder} holds no img_emb/img_emb_0.npy: give what clipsonic embed-pairs or clip-retrieval wrote"
        )
    return [
        PairShard(f"{folder.name}/{number}", image, files["texts"][number], files["kinds"].get(number))
        for number, image in sorted(files["images"].items())
    ]


def _numbered(folder: Path, stem: str) -> dict[int, Path]:
    paths = ((path, path.stem.removeprefix(f"{stem}_")) for path in (folder / stem).glob(f"{stem}_*.npy"))
    return {int(number): path for path, number in paths if number.isdigit()}


def _opened(source: np.ndarray | Path) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source
    try:
        array: np.ndarray = np.load(source, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{source} is no readable array ({error}): write it again, and its partner") from None
    return array


_Found = tuple[np.ndarray, Sequence[str], str]
"""Vectors (n, E), the captions of each, and their class."""


def _seen(tar: Path, clip: ClipEmbedder) -> Iterator[_Found | None]:
    pairs = read_pairs([tar])
    while chunk := list(itertools.islice(pairs, _CHUNK)):
        opened = [(pair, image) for pair in chunk if pair and (image := open_picture(pair.picture)) is not None]
        vectors = clip.embed_tensor(clip.normalized(clip.resized([image for _, image in opened]))).cpu().numpy()
        for (pair, _), vector in zip(opened, vectors, strict=True):
            yield vector[None], pair.captions[:_MAX_CAPTIONS], pair.kind or ""
        yield from [None] * (len(chunk) - len(opened))


def _stored(tar: Path, clip: ClipEmbedder) -> Iterator[_Found | None]:
    """Every stored frame of every record that has a caption."""
    for _, parts in read_samples(tar):
        text = parts.get("txt", b"").decode("utf-8", "replace").strip()
        if text and "frames.npy" in parts:
            yield np.load(io.BytesIO(parts["frames.npy"]), allow_pickle=False), [text], ""
        else:
            yield None


def _said(texts: list[str], clip: ClipEmbedder) -> np.ndarray:
    """(R, E) float16; equal captions are embedded once."""
    places: dict[str, int] = {}
    rows = [places.setdefault(text, len(places)) for text in texts]
    vectors: np.ndarray = clip.embed_texts(list(places), _CHUNK).astype(np.float16)[np.array(rows, dtype=int)]
    return vectors
