"""Training batches for a CLIP as a pure function of (seed, step): which pairs, which phrasing, which small changes.

Guarantee: no caption stands twice in a batch, so no pair is called wrong that is right; every
second batch is drawn from a few kinds only, so that size, count, material and pace have to be told apart as well.
Price: about 20 ms for 256 pictures of 96 x 96.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clipsonic.clip.pairs import PairTable
from clipsonic.seeding import numpy_rng

_SHIFT = 5  # pixels; enough to break memorising, too few to hide what stands at the border


@dataclass(frozen=True)
class CaptionBank:
    """Every distinct caption once: `tokens` (captions, context); `choices[n]` are the captions of pair n."""

    texts: list[str]
    tokens: torch.Tensor
    choices: list[np.ndarray]


def caption_bank(captions: Sequence[tuple[str, ...]], tokenize) -> CaptionBank:  # type: ignore[no-untyped-def]
    """Tokenize every distinct caption once."""
    places: dict[str, int] = {}
    choices = [np.array([places.setdefault(text, len(places)) for text in texts]) for texts in captions]
    texts = list(places)
    chunks = [tokenize(texts[start : start + 4096]).short() for start in range(0, len(texts), 4096)]
    return CaptionBank(texts, torch.cat(chunks), choices)


class BatchMaker:
    """Draws batches from a table.

    Args:
        table: the training pairs.
        bank: their captions.
        batch_size: pairs per batch; a batch is smaller where captions would repeat.
        seed: with the step, decides everything.
        num_kinds: kinds in every second batch.
    """

    def __init__(self, table: PairTable, bank: CaptionBank, batch_size: int, seed: int, num_kinds: int = 5) -> None:
        self._table, self._bank, self._seed = table, bank, seed
        self._batch_size = min(batch_size, len(table))
        self._num_kinds = num_kinds
        names = sorted({kind for kind in table.kinds if kind is not None})
        self._of_kind = [np.array([n for n, kind in enumerate(table.kinds) if kind == name]) for name in names]

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, h, w, 3) uint8 and tokens (B, context) int64 of this step."""
        rng = numpy_rng(self._seed, "clip.batch", step)
        pairs, captions = self._without_repeats(self._draw(step, rng), rng)
        pictures = augmented(self._table.pictures[pairs], rng)
        return torch.from_numpy(pictures), self._bank.tokens[torch.from_numpy(captions)].long()

    def _draw(self, step: int, rng: np.random.Generator) -> np.ndarray:
        if step % 2 == 0 or len(self._of_kind) <= self._num_kinds:
            return rng.permutation(len(self._table))[: self._batch_size]
        kinds = rng.choice(len(self._of_kind), self._num_kinds, replace=False)
        pool = np.concatenate([self._of_kind[kind] for kind in kinds])
        chosen: np.ndarray = rng.choice(pool, min(self._batch_size, len(pool)), replace=False)
        return chosen

    def _without_repeats(self, pairs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        seen: set[int] = set()
        kept: list[tuple[int, int]] = []
        for pair in pairs:
            for caption in rng.permutation(self._bank.choices[pair]):
                if int(caption) not in seen:
                    seen.add(int(caption))
                    kept.append((int(pair), int(caption)))
                    break
        return np.array([pair for pair, _ in kept]), np.array([caption for _, caption in kept])


def augmented(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (B, h, w, 3) uint8, each shifted by a few pixels, its brightness and tint changed a little.

    Never mirrored: a dial read from the wrong side would show another speed.
    """
    count, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    tops, lefts = rng.integers(0, 2 * _SHIFT + 1, (2, count))
    shifted = np.stack(
        [
            padded[n, top : top + height, left : left + width]
            for n, (top, left) in enumerate(zip(tops, lefts, strict=True))
        ]
    )
    gain = rng.uniform(0.8, 1.2, (count, 1, 1, 1)) * rng.uniform(0.93, 1.07, (count, 1, 1, 3))
    changed: np.ndarray = np.clip(shifted * gain.astype(np.float32), 0, 255).astype(np.uint8)
    return changed
