"""What a prior learns from: picture embeddings and caption embeddings of the same CLIP space, made once and kept.

Sources are tars of pictures and captions, embedded here, or a corpus (a folder with `index.json`) whose records carry
a caption: its stored frame embeddings are used as they are, and a corpus of another CLIP is refused.
Price: about 1 ms per picture and per caption with the bundled CLIP on one core; a rerun reads the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.pairs import find_tars, load_table, read_samples
from clipsonic.errors import CorpusError, FingerprintError
from clipsonic.files import write_whole

_MAX_CAPTIONS = 3  # per picture; more phrasings of one picture taught nothing more and cost a minute per 20 thousand


@dataclass(frozen=True)
class EmbedPairs:
    """N pictures and their captions in one space.

    Args:
        pictures: (N, E) float32 unit vectors.
        captions: (C, E) float32 unit vectors.
        owners: (C,) the picture of each caption, rising.
        kinds: (N,) the class of each picture, "" where unknown.
    """

    pictures: np.ndarray
    captions: np.ndarray
    owners: np.ndarray
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def first_captions(self) -> np.ndarray:
        """(N, E): the first caption of each picture."""
        return self.captions[np.searchsorted(self.owners, np.arange(len(self)))]

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean caption and mean picture, (E,) each."""
        return torch.from_numpy(self.captions.mean(axis=0)), torch.from_numpy(self.pictures.mean(axis=0))

    def take(self, rows: np.ndarray) -> EmbedPairs:
        """The pictures of these rows, with their captions."""
        chosen = np.isin(self.owners, rows)
        places = np.full(len(self), -1)
        places[rows] = np.arange(len(rows))
        order = np.argsort(places[self.owners[chosen]], kind="stable")
        owners = places[self.owners[chosen]][order]
        return EmbedPairs(self.pictures[rows], self.captions[chosen][order], owners, self.kinds[rows])


def embed_pairs(sources: Sequence[str | Path], clip: ClipEmbedder, cache: Path | None = None) -> EmbedPairs:
    """Embed all pairs of the sources, or read them from `cache` where it holds just these.

    Raises:
        UsageError: a source is missing.
        CorpusError: not one usable pair.
        FingerprintError: a corpus was made with another CLIP.
    """
    name = _name_of(sources, clip)
    if cache is not None and (kept := _read_cache(cache, name)) is not None:
        return kept
    pairs = _joined([_embed_source(Path(source), clip) for source in sources])
    if cache is not None:
        _write_cache(cache, name, pairs)
    return pairs


def _embed_source(source: Path, clip: ClipEmbedder) -> EmbedPairs:
    if (source / "index.json").is_file():
        return _from_corpus(source, clip)
    table = load_table([source], clip.resized)
    spoken = [texts[:_MAX_CAPTIONS] for texts in table.captions]
    owners = np.repeat(np.arange(len(spoken)), [len(texts) for texts in spoken])
    starts = tqdm(
        range(0, len(table), 256),
        desc="embedding pictures",
        file=sys.stderr,
        mininterval=0.5,
        unit_scale=256,
        unit="picture",
    )
    pictures = [
        clip.embed_tensor(clip.normalized(table.pictures[start : start + 256])).cpu().numpy() for start in starts
    ]
    captions = _embed_texts((text for texts in spoken for text in texts), clip)
    return EmbedPairs(np.concatenate(pictures), captions, owners, np.array([kind or "" for kind in table.kinds]))


def _from_corpus(folder: Path, clip: ClipEmbedder) -> EmbedPairs:
    """Every stored frame of every record that has a caption."""
    made_with = json.loads((folder / "index.json").read_text(encoding="utf-8")).get("fingerprint")
    if made_with != clip.fingerprint:
        raise FingerprintError(
            f"corpus {folder} was made with CLIP {made_with}, not {clip.fingerprint}: give --clip as at its ingest"
        )
    frames: list[np.ndarray] = []
    texts: list[str] = []
    for tar in find_tars([folder]):
        for _, parts in read_samples(tar):
            text = parts.get("txt", b"").decode("utf-8", "replace").strip()
            if text and "frames.npy" in parts:
                frames.append(np.load(io.BytesIO(parts["frames.npy"]), allow_pickle=False).astype(np.float32))
                texts.append(text)
    if not frames:
        raise CorpusError(f"corpus {folder} has no record with a caption: give tars of pictures and captions")
    counts = [len(rows) for rows in frames]
    captions = np.repeat(_embed_texts(texts, clip), counts, axis=0)
    owners = np.arange(sum(counts))
    return EmbedPairs(np.concatenate(frames), captions, owners, np.full(len(owners), ""))


def _embed_texts(texts: Iterable[str], clip: ClipEmbedder) -> np.ndarray:
    """Equal captions are embedded once."""
    places: dict[str, int] = {}
    rows = [places.setdefault(text, len(places)) for text in texts]
    distinct = list(places)
    starts = tqdm(
        range(0, len(distinct), 256),
        desc="embedding captions",
        file=sys.stderr,
        mininterval=0.5,
        unit_scale=256,
        unit="caption",
    )
    return np.concatenate([clip.embed_texts(distinct[start : start + 256]) for start in starts])[rows]


def _joined(parts: list[EmbedPairs]) -> EmbedPairs:
    offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return EmbedPairs(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.captions for part in parts]),
        np.concatenate([part.owners + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([part.kinds for part in parts]),
    )


def _name_of(sources: Sequence[str | Path], clip: ClipEmbedder) -> str:
    """Names the CLIP and the tars by place, size and time of change."""
    facts = [(str(tar), tar.stat().st_size, tar.stat().st_mtime_ns) for tar in find_tars(sources)]
    return hashlib.blake2b(json.dumps([clip.fingerprint, _MAX_CAPTIONS, facts]).encode(), digest_size=8).hexdigest()


def _read_cache(path: Path, name: str) -> EmbedPairs | None:
    """The cached pairs, or None where there are none, others, or a damaged file."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["name"]) != name:
                return None
            return EmbedPairs(*(stored[key] for key in ("pictures", "captions", "owners", "kinds")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, name: str, pairs: EmbedPairs) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer, name=name, pictures=pairs.pictures, captions=pairs.captions, owners=pairs.owners, kinds=pairs.kinds
    )
    write_whole(path, buffer.getvalue())
