"""Pictures with captions from tars, decoded as they are needed: endless, exactly resumable, of any number of pairs.

Guarantee: which pairs, which phrasing and which small changes are a function of (seed, position), whatever the number
of ranks, workers and the memory given; every batch is full. A picture that cannot be decoded is replaced by that of the
next pair, and counted. Every second batch is drawn from a few kinds only, so that size, count, material and pace have
to be told apart as well. Price: 1 to 2 ms for a picture that is not in memory; pairs are drawn anew for each batch, so
there are no epochs.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch

from clipsonic.clip.catalogue import Catalogue
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.pairs import open_picture
from clipsonic.errors import CorpusError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.endless import Batch, Endless

_SHIFT = 5  # pixels; enough to break memorising, too few to hide what stands at the border
_TEXT_BYTES = 2048  # what a pair's tokens and its place in the cache may take


class Sample(NamedTuple):
    """A pair as a CLIP takes it: its picture (h, w, 3) uint8, the tokens (P, context) of its phrasings."""

    key: str
    picture: np.ndarray
    tokens: torch.Tensor


class PictureStream(Endless):
    """Batches of `pictures` (B, h, w, 3) uint8, `tokens` (B, S) int64 up to the longest caption, `spoken` (B,) int64,
    which is equal where captions are, `keys` and `position`.

    Args:
        catalogue: where the pairs lie.
        rows: of the catalogue, those that are learned from.
        clip: resizes and tokenizes; its weights are not used.
        batch_size: pairs per batch over all ranks; at most the number of pairs, and of a multiple of the ranks.
        seed: with the position, decides everything.
        kinds_together: kinds in every second batch, more where these have too few pairs.
        num_workers: threads that make batches ahead.
        cache_mb: memory for pictures at the model's size, in MiB; the least recently used make room.
    """

    reads = "pairs"

    def __init__(
        self,
        catalogue: Catalogue,
        rows: np.ndarray,
        clip: ClipEmbedder,
        batch_size: int,
        seed: int,
        kinds_together: int = 5,
        num_workers: int = 0,
        cache_mb: float = 1024,
    ) -> None:
        self.catalogue, self.rows, self._clip = catalogue, rows.astype(np.int32), clip
        self._kinds, self._together = _Kinds(catalogue.kinds[rows]), kinds_together
        super().__init__(min(batch_size, len(rows)), seed, num_workers)
        size = clip.resized([np.zeros((1, 1, 3), np.uint8)]).nbytes + _TEXT_BYTES
        self._sample = lru_cache(maxsize=int(cache_mb * 2**20) // size)(self._decoded)
        self.damaged: set[int] = set()
        self.report |= {"used": len(rows), "refused": catalogue.refused}

    @property
    def digest(self) -> str:
        """Names the pairs and which of them are learned from."""
        return hashlib.blake2b(self.catalogue.digest.encode() + self.rows.tobytes(), digest_size=8).hexdigest()

    def batch_at(self, position: int) -> Batch:
        """This rank's pairs of the batch at a position."""
        drawn = self._drawn(position)[self.rank :: self.world_size]
        items = [self._item(int(nth), place) for nth, place in zip(drawn, self.places(position), strict=True)]
        keys, pictures, tokens = zip(*items, strict=True)
        pixels = torch.from_numpy(np.stack(pictures))
        return {"pictures": pixels, **spoken(torch.stack(tokens)), "keys": list(keys)}

    def _drawn(self, position: int) -> np.ndarray:
        """Numbers (B,) of the pairs of a whole batch."""
        rng = numpy_rng(self.seed, "clip.batch", position)
        if position // self.stride % 2:
            return self._kinds.drawn(self.stride, self._together, rng)
        return rng.choice(len(self.rows), self.stride, replace=False)

    def _item(self, nth: int, place: int) -> tuple[str, np.ndarray, torch.Tensor]:
        sample, rng = self._usable(nth), numpy_rng(self.seed, "clip.item", place)
        return sample.key, augmented(sample.picture, rng), sample.tokens[rng.integers(len(sample.tokens))]

    def _usable(self, nth: int) -> Sample:
        for further in range(len(self.rows)):
            row = int(self.rows[(nth + further) % len(self.rows)])
            if (sample := self._sample(row)) is not None:
                return sample
            self.damaged.add(row)
        raise CorpusError(f"none of the {len(self.rows)} pictures can be decoded: bring pictures that can")

    def _decoded(self, row: int) -> Sample | None:
        pair = self.catalogue.read(row)
        image = open_picture(pair.picture)
        if image is None:
            return None
        return Sample(pair.key, self._clip.resized([image])[0], self._clip.tokenize(list(pair.captions)).int())


class _Kinds:
    """Pairs by their kinds (N,), -1 for those that have none."""

    def __init__(self, kinds: np.ndarray) -> None:
        self._order = np.argsort(kinds, kind="stable").astype(np.int32)
        _, starts, counts = np.unique(kinds[self._order], return_index=True, return_counts=True)
        known = slice(int(np.any(kinds < 0)), None)
        self._starts, self._counts, self._num_pairs = starts[known], counts[known], len(kinds)

    def drawn(self, count: int, together: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers (count,) of different pairs of few kinds; of all pairs where there are few kinds or few pairs."""
        if len(self._counts) <= together or self._counts.sum() < count:
            return rng.choice(self._num_pairs, count, replace=False)
        kinds = rng.permutation(len(self._counts))
        ends = self._counts[kinds].cumsum()
        enough = max(together, int(np.searchsorted(ends, count)) + 1)
        places = rng.choice(int(ends[enough - 1]), count, replace=False)
        nth = np.searchsorted(ends, places, side="right")
        chosen: np.ndarray = self._order[self._starts[kinds[nth]] + places - ends[nth] + self._counts[kinds[nth]]]
        return chosen


def spoken(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """`tokens` (B, S) int64 without the padding after the longest caption, and `spoken` (B,), equal where they are."""
    names = [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big", signed=True)
        for row in tokens.int().numpy()
    ]
    longest = int(tokens.argmax(1).max()) + 1  # the end token has the highest number
    return {"tokens": tokens[:, :longest].long(), "spoken": torch.tensor(names)}


def augmented(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture (h, w, 3) uint8 shifted by a few pixels, its brightness and tint changed a little.

    Never mirrored: a dial read from the wrong side would show another speed.
    """
    height, width, _ = picture.shape
    padded = cv2.copyMakeBorder(picture, _SHIFT, _SHIFT, _SHIFT, _SHIFT, cv2.BORDER_REPLICATE)
    top, left = rng.integers(0, 2 * _SHIFT + 1, 2)
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, (1, 1, 3))
    table = np.clip(np.arange(256)[:, None, None] * gain, 0, 255).astype(np.uint8)
    changed: np.ndarray = cv2.LUT(padded[top : top + height, left : left + width], table)
    return changed
