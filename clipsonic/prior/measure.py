"""How well a closer closes the gap between captions and pictures: nearness to the own picture, naming of its kind.

Guarantee: figures are functions of the pairs and the seed; what must be known of the training pairs is summed up row by
row, in memory that does not depend on their number. Price: that of the closer, a call per caption.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.closers import Closer, make_closer
from clipsonic.seeding import torch_generator


class Pairs(NamedTuple):
    """Captions and their pictures, (N, E) float32 unit vectors each, and the pictures' kinds (N,), "" where unknown."""

    texts: Tensor
    images: Tensor
    kinds: np.ndarray

    def first(self, count: int) -> Pairs:
        """The first so many."""
        return Pairs(self.texts[:count], self.images[:count], self.kinds[:count])


class Known:
    """Means of pairs: of all captions, of all pictures, and of the pictures of each kind."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._texts, self._images = torch.zeros(2, width, dtype=torch.float64)
        self._kinds: dict[str, Tensor] = {}

    def add(self, pairs: Pairs) -> None:
        """Take some more pairs in."""
        self._count += len(pairs.kinds)
        self._texts += pairs.texts.double().sum(dim=0)
        self._images += pairs.images.double().sum(dim=0)
        names, places = np.unique(pairs.kinds, return_inverse=True)
        sums = torch.zeros(len(names), self._images.shape[0], dtype=torch.float64)
        sums.index_add_(0, torch.from_numpy(places), pairs.images.double())
        for name, total in zip(names.tolist(), sums, strict=True):
            if name:
                self._kinds[name] = self._kinds.get(name, 0.0) + total

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean caption and mean picture, (E,) each, not unit vectors."""
        return (self._texts / self._count).float(), (self._images / self._count).float()

    def kind_accuracy(self, vectors_NE: Tensor, kinds: np.ndarray) -> float | None:
        """Share of vectors whose nearest mean picture of a kind is of their own kind; None where kinds are unknown.

        Asked are those whose kind is known, among the kinds that are asked for.
        """
        names = sorted(self._kinds.keys() & set(kinds.tolist()))
        if len(names) < 2:
            return None
        asked = np.isin(kinds, names)
        centres = torch.nn.functional.normalize(torch.stack([self._kinds[name] for name in names]), dim=-1).float()
        nearest = (vectors_NE[torch.from_numpy(asked)] @ centres.T).argmax(dim=1).numpy()
        return float(np.mean(np.array(names)[nearest] == kinds[asked]))


def judge_closer(closer: Closer, known: Known, pairs: Pairs, seed: int = 0) -> dict[str, float]:
    """Mean cosine of each closed caption to its own picture, and how often it names the right kind, where known."""
    generators = [torch_generator(seed, "prior.judge", row) for row in range(len(pairs.texts))]
    closed_NE = closer(pairs.texts, generators).cpu()
    figures = {"cosine": float((closed_NE * pairs.images).sum(dim=1).mean())}
    accuracy = known.kind_accuracy(closed_NE, pairs.kinds)
    return figures if accuracy is None else {**figures, "kind_accuracy": accuracy}


def judge(prior: TextPrior, known: Known, pairs: Pairs) -> dict[str, float]:
    """A prior that keeps its means beside the zero-shot closer, the mean shift and the true pictures."""
    figures: dict[str, float] = {}
    for name in ("zero-shot", "mean-shift", "prior"):
        judged = judge_closer(make_closer(name, prior), known, pairs)
        figures |= {f"{name.replace('-', '_')}_{key}": value for key, value in judged.items()}
    true_accuracy = known.kind_accuracy(pairs.images, pairs.kinds)
    return figures if true_accuracy is None else {**figures, "true_picture_kind_accuracy": true_accuracy}


def table(figures: Mapping[str, float]) -> str:
    """Figures as rows of Markdown."""
    return "\n".join(
        ["| figure | value |", "|---|---|", *(f"| {name} | {value:.3f} |" for name, value in figures.items())]
    )
