"""CLIP embeddings of a stream of pictures, always in batches of one size.

Guarantee: the batches are those of the stream's order, the last one filled up with its last picture, because a CLIP's
float32 rounding depends on the batch it is in: so a picture's vector depends on the pictures of its stream only.
Price: at most BATCH_PICTURES - 1 wasted pictures per stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from clipsonic.errors import SpecError

BATCH_PICTURES = 32


class Embedder(Protocol):
    """What ingest needs of a CLIP; `clipsonic.clip.embedder.ClipEmbedder` is one."""

    @property
    def fingerprint(self) -> str:
        """Name of its space."""

    @property
    def width(self) -> int:
        """Length E of its vectors."""

    def embed_pictures(self, pictures: Sequence[np.ndarray], batch_size: int = ...) -> np.ndarray:
        """(N, E) float32 unit vectors."""


class PictureBatches:
    """Pictures in, their vectors out in the same order."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._pictures: list[np.ndarray] = []
        self._embedded: list[np.ndarray] = []

    def add(self, pictures: Sequence[np.ndarray]) -> None:
        """Take pictures (H, W, 3) uint8; full batches are embedded now.

        Raises:
            SpecError: the CLIP gives something else than finite vectors of its width.
        """
        self._pictures.extend(pictures)
        while len(self._pictures) >= BATCH_PICTURES:
            self._embed()

    def flush(self) -> None:
        """Embed what is left: the stream has ended."""
        while self._pictures:
            self._embed()

    def take(self, count: int) -> np.ndarray | None:
        """The next vectors (count, E) float16, or None while not all of them are there."""
        if count > len(self._embedded):
            return None
        vectors, self._embedded = np.stack(self._embedded[:count]).astype(np.float16), self._embedded[count:]
        return vectors

    def _embed(self) -> None:
        batch, self._pictures = self._pictures[:BATCH_PICTURES], self._pictures[BATCH_PICTURES:]
        filled = batch + [batch[-1]] * (BATCH_PICTURES - len(batch))
        vectors = np.asarray(self._embedder.embed_pictures(filled, batch_size=BATCH_PICTURES), np.float32)
        if vectors.shape != (BATCH_PICTURES, self._embedder.width) or not np.isfinite(vectors).all():
            raise SpecError(
                f"CLIP {self._embedder.fingerprint} gave {vectors.shape} embeddings, not all finite or not of shape "
                f"{(BATCH_PICTURES, self._embedder.width)}: use another CLIP"
            )
        self._embedded.extend(vectors[: len(batch)])
