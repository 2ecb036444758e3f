"""How good a CLIP is on pairs it has not seen: naming by captions, and what a linear probe reads from its vectors.

Guarantee: pure functions of unit vectors and labels; captions and pictures come from the judging pairs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsonic.seeding import numpy_rng


def own_caption_accuracy(
    pictures: np.ndarray, captions: np.ndarray, kinds: Sequence[str | None], num_others: int = 24, seed: int = 0
) -> float:
    """Share of pictures nearer to their own caption than to those of `num_others` pictures of other kinds.

    Args:
        pictures, captions: (N, E) unit vectors, row n of both belonging together.
        kinds: the class of each; a different known kind counts as other, without kinds every other picture does.
    """
    labels = np.array([kind if kind is not None else f"\x00{n}" for n, kind in enumerate(kinds)])
    right = 0
    for n in range(len(labels)):
        rng = numpy_rng(seed, "clip.others", n)
        others = _others(labels, n, num_others, rng)
        right += bool(np.all(captions[n] @ pictures[n] > captions[others] @ pictures[n]))
    return right / len(labels)


def _others(labels: np.ndarray, place: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Other pictures, each of another kind where there are enough kinds."""
    order = rng.permutation(np.flatnonzero(labels != labels[place]))
    _, first = np.unique(labels[order], return_index=True)
    distinct = order[np.sort(first)]
    rest = order[~np.isin(order, distinct)]
    return np.concatenate([distinct, rest])[:count]


@dataclass(frozen=True)
class KindNaming:
    """Naming of kinds: the share named rightly, and the confusions, most frequent first (true, named, share)."""

    accuracy: float
    confusions: list[tuple[str, str, float]]
    per_kind: dict[str, float]


def kind_naming(
    pictures: np.ndarray, captions: np.ndarray, owners: np.ndarray, kinds: Sequence[str | None], scale: float = 30.0
) -> KindNaming | None:
    """Name the kind of each picture by a vote of the captions of all *other* pictures, each weighed by its likeness.

    A caption's weight is the softmax that the contrastive loss is made of; each kind has one vote, however many
    captions it has. None where fewer than two kinds have two pictures.

    Args:
        pictures: (N, E) unit vectors.
        captions: (C, E) unit vectors, and `owners` (C,) the picture each belongs to.
        kinds: (N,) the class of each picture; pictures without one are left out.
        scale: the CLIP's logit scale; towards 0 the vote becomes a comparison of mean likeness.
    """
    labels = np.array([kind or "" for kind in kinds])
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    names = names[counts >= 2]
    if len(names) < 2:
        return None
    asked, voting = np.flatnonzero(np.isin(labels, names)), np.isin(labels[owners], names)
    logits = scale * pictures[asked] @ captions[voting].T
    others = asked[:, None] != owners[voting][None]
    weights = np.where(others, np.exp(logits - logits.max(1, keepdims=True)), 0.0)
    of_kind = np.stack([labels[owners[voting]] == name for name in names], axis=1).astype(float)
    votes = (weights @ of_kind) / (others @ of_kind)
    return _summary(labels[asked], names[np.argmax(votes, axis=1)], names)


def _summary(truth: np.ndarray, named: np.ndarray, names: np.ndarray) -> KindNaming:
    per_kind = {str(name): float(np.mean(named[truth == name] == name)) for name in names}
    confusions = [
        (str(true), str(other), float(np.mean(named[truth == true] == other)))
        for true in names
        for other in names
        if true != other and np.any(named[truth == true] == other)
    ]
    confusions.sort(key=lambda row: -row[2])
    return KindNaming(float(np.mean(truth == named)), confusions, per_kind)


def probe_r2(
    train: np.ndarray, train_values: np.ndarray, held_out: np.ndarray, held_out_values: np.ndarray, ridge: float = 1e-3
) -> float:
    """R2 on held-out vectors of a ridge regression (with intercept) fitted on the training vectors."""
    mean, target_mean = train.mean(0), train_values.mean()
    centred = train - mean
    gram = (
        centred.T @ centred + ridge * len(train) * np.eye(train.shape[1]) * np.trace(centred.T @ centred) / centred.size
    )
    weights = np.linalg.solve(gram, centred.T @ (train_values - target_mean))
    predicted = (held_out - mean) @ weights + target_mean
    spread = float(np.sum((held_out_values - held_out_values.mean()) ** 2))
    return 1.0 - float(np.sum((held_out_values - predicted) ** 2)) / spread
