"""Rows of embedded pairs, wherever they come from: folders of embeddings, tars and corpora embedded for this run.

Guarantee: what is read is unit vectors; rows that are not finite or have no length are left out, which is said; pairs
of different CLIP spaces or widths are refused. Price: tars and corpora are embedded anew by every run and process, in
memory; `clipsonic embed-pairs` does it once.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.open_clip import load_clip
from clipsonic.clip.pair_embeds import INDEX_NAME, PairShard, embed_tar, is_embedded, open_embedded
from clipsonic.clip.pairs import find_tars
from clipsonic.errors import CorpusError, FingerprintError
from clipsonic.options import device_of
from clipsonic.train.engine.lesson import Batch

_REACH = 16  # rows beside one among which others of the same picture or caption are looked for


@dataclass
class Space:
    """The CLIP space that pairs live in; the CLIP of this name is loaded on `device`, as `clipsonic.options.device_of`
    takes it, only where something must be embedded, or to know the space of a folder that says nothing of it."""

    clip: str
    device: str = "auto"
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def embedder(self) -> ClipEmbedder:
        """The CLIP."""
        return load_clip(self.clip, device_of(self.device))

    def open(self, sources: Sequence[str]) -> PairRows:
        """The rows of these sources.

        Raises:
            UsageError: a source is missing.
            CorpusError: a damaged or unfinished folder, or not one pair.
            FingerprintError: they live in several spaces.
        """
        shards = [shard for source in map(Path, sources) for shard in self._shards(source)]
        if not shards:
            raise CorpusError(f"no usable pair in {', '.join(sources)}: each needs a picture and a caption")
        return PairRows(shards)

    def _shards(self, source: Path) -> list[PairShard]:
        if not is_embedded(source):
            return self._embedded(source)
        shards, index = open_embedded(source), source / INDEX_NAME
        if index.is_file():
            facts = json.loads(index.read_text(encoding="utf-8"))
            self._join(facts["fingerprint"], source)
            self.clip = facts["clip"]
            return shards
        self._join(self.embedder.fingerprint, source)
        if shards[0].shape[1] != self.embedder.width:
            raise FingerprintError(
                f"{source} has vectors of width {shards[0].shape[1]}, CLIP {self.clip} of {self.embedder.width}: "
                "name the CLIP that made them with --prior.clip"
            )
        return shards

    def _embedded(self, source: Path) -> list[PairShard]:
        tars = find_tars([source])
        self._join(self.embedder.fingerprint, source)
        shown = tqdm(tars, desc="embedding pairs", unit="tar", file=sys.stderr, mininterval=0.5)
        made = [(f"{tar.parent.name}/{tar.stem}", embed_tar(tar, self.embedder)) for tar in shown]
        unusable = sum(found.unusable for _, found in made)
        self.notes.append(
            f"{source} was embedded for this run alone ({unusable} samples of it cannot be used): "
            "clipsonic embed-pairs does that once"
        )
        return [PairShard(name, found.images, found.texts, found.kinds) for name, found in made if len(found.kinds)]

    def _join(self, fingerprint: str, source: Path) -> None:
        if self.fingerprint not in (None, fingerprint):
            raise FingerprintError(
                f"pairs {source} live in CLIP space {fingerprint}, those before them in {self.fingerprint}: "
                "give pairs of one CLIP, whose name is --prior.clip"
            )
        self.fingerprint = fingerprint


class Rows(NamedTuple):
    """Unit vectors (N, E) float32, and the rows' numbers (N,) int64."""

    texts: Tensor
    images: Tensor
    numbers: Tensor

    def take(self, places: Tensor) -> Rows:
        """The rows at these places."""
        return Rows(self.texts[places], self.images[places], self.numbers[places])

    @classmethod
    def cat(cls, parts: Sequence[Rows]) -> Rows:
        """One after the other."""
        texts, images, numbers = (torch.cat(values) for values in zip(*parts, strict=True))
        return cls(texts, images, numbers)


class PairRows:
    """All rows of some shards, one after the other.

    Raises:
        CorpusError: shards of different widths.
    """

    def __init__(self, shards: Sequence[PairShard]) -> None:
        widths = {shard.shape[1]: shard.name for shard in shards}
        if len(widths) != 1:
            words = " and ".join(f"{name} of width {width}" for width, name in widths.items())
            raise CorpusError(f"pairs of one CLIP have one width, not {words}: give those of one CLIP")
        self.shards, (self.width,) = shards, widths
        self.starts = np.cumsum([0, *(shard.shape[0] for shard in shards)])
        self._said: set[str] = set()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def blocks(self, size: int) -> np.ndarray:
        """Where blocks (n, 2) of at most `size` rows begin and end, each within a shard."""
        begins = [np.arange(start, stop, size) for start, stop in itertools.pairwise(self.starts.tolist())]
        ends = [np.minimum(begin + size, stop) for begin, stop in zip(begins, self.starts[1:].tolist(), strict=True)]
        return np.stack([np.concatenate(begins), np.concatenate(ends)], axis=1)

    def read(self, start: int, stop: int, without: Iterable[tuple[int, int]] = ()) -> Rows:
        """The usable ones of these rows of one shard, but for some spans; reads them in one piece."""
        shard, first = self._place(start)
        keep = torch.ones(stop - start, dtype=torch.bool)
        for low, high in without:
            keep[max(0, low - start) : max(0, high - start)] = False
        texts, images = (self._unit(shard, what, first, first + stop - start, keep) for what in ("texts", "images"))
        return Rows(texts, images, torch.arange(start, stop)).take(keep)

    def kinds(self, rows: Rows) -> np.ndarray:
        """The kinds (N,) of rows of one shard, "" where unknown."""
        numbers = rows.numbers.numpy()
        shard, first = self._place(int(numbers[0]))
        all_of_them = shard.read("kinds", first, first + int(numbers[-1] - numbers[0]) + 1)
        kinds: np.ndarray = all_of_them[numbers - numbers[0]]
        return kinds

    def alike(self, row: int) -> tuple[int, int]:
        """The span of rows around a row that share its picture or its caption."""
        shard, place = self._place(row)
        low, high = max(0, place - _REACH), min(shard.shape[0], place + _REACH + 1)
        images, texts = (shard.read(what, low, high) for what in ("images", "texts"))
        at = place - low
        same = (images == images[at]).all(axis=1) | (texts == texts[at]).all(axis=1)
        same[at] = True
        before, after = np.flatnonzero(~same[:at]), np.flatnonzero(~same[at:])
        first = int(before[-1]) + 1 if len(before) else 0
        return row - at + first, row + (int(after[0]) if len(after) else high - place)

    def keys(self, rows: Rows) -> list[str]:
        """A name for each row."""
        numbers = rows.numbers.numpy()
        shards = np.searchsorted(self.starts, numbers, "right") - 1
        return [
            f"{self.shards[shard].name}:{number}"
            for shard, number in zip(shards.tolist(), (numbers - self.starts[shards]).tolist(), strict=True)
        ]

    def one_of_each(self, numbers: Iterable[int], batch_size: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """Batches of single rows with their kinds, for a look at them."""
        found = [rows for number in numbers if len((rows := self.read(number, number + 1)).numbers)]
        for start in range(0, len(found), batch_size):
            part = found[start : start + batch_size]
            rows = Rows.cat(part)
            batch = {"texts": rows.texts, "images": rows.images, "keys": self.keys(rows), "position": 0}
            yield batch, np.concatenate([self.kinds(row) for row in part])

    def spread(self, count: int) -> list[int]:
        """Rows evenly from all, the first of its picture or caption each."""
        places = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))
        return sorted({self.alike(int(place))[0] for place in places})

    def _place(self, row: int) -> tuple[PairShard, int]:
        number = int(np.searchsorted(self.starts, row, "right")) - 1
        return self.shards[number], row - int(self.starts[number])

    def _unit(self, shard: PairShard, what: str, start: int, stop: int, keep: Tensor) -> Tensor:
        """These rows as unit vectors; those that are none are no longer in `keep`."""
        values = torch.from_numpy(shard.read(what, start, stop)).float()
        lengths = values.norm(dim=1, keepdim=True)
        usable = (lengths.isfinite() & (lengths > 0)).squeeze(1)
        if not bool(usable.all()):
            self._say(shard.name, start + int(usable.int().argmin()))
        keep &= usable
        unit: Tensor = values / lengths
        return unit

    def _say(self, name: str, row: int) -> None:
        if name not in self._said:
            self._said.add(name)
            why = "is not finite or has no length: such rows are left out"
            print(f"clipsonic train: row {row} of {name} {why}", file=sys.stderr)
