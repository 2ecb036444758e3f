"""Figures of closers: what is known is summed in pieces, and kinds are named by the nearest mean picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipsonic.prior.closers import zero_shot
from clipsonic.prior.measure import Known, Pairs, judge_closer

WIDTH = 8


def clusters(count: int, seed: int) -> Pairs:
    """Captions of three kinds, far apart, with the same vectors as pictures."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, count)
    rows = np.eye(WIDTH)[kinds] + 0.1 * rng.normal(size=(count, WIDTH))
    vectors = torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1)
    return Pairs(vectors, vectors, np.array([f"k{kind}" for kind in kinds]))


def known_of(*parts: Pairs) -> Known:
    known = Known(WIDTH)
    for part in parts:
        known.add(part)
    return known


def test_means_summed_in_pieces_are_those_of_all_pairs() -> None:
    pairs = clusters(50, 1)
    known = known_of(*(Pairs(*(values[start : start + 20] for values in pairs)) for start in (0, 20, 40)))
    for mean, values in zip(known.means, (pairs.texts, pairs.images), strict=True):
        assert torch.allclose(mean, values.mean(dim=0), atol=1e-6)  # float32


def test_true_pictures_name_their_kind_and_unknown_kinds_give_no_figure() -> None:
    known, pairs = known_of(clusters(60, 1)), clusters(40, 2)
    assert known.kind_accuracy(pairs.images, pairs.kinds) == 1.0
    assert known.kind_accuracy(pairs.images, np.full(40, "")) is None
    assert known.kind_accuracy(pairs.images[:1], pairs.kinds[:1]) is None  # nothing to take it for
    assert known.kind_accuracy(-pairs.images, pairs.kinds) < 0.1


def test_a_closer_that_gives_the_picture_is_at_cosine_one_and_batch_order_does_not_matter() -> None:
    known, pairs = known_of(clusters(60, 1)), clusters(40, 2)
    figures = judge_closer(zero_shot, known, pairs)
    assert figures == {"cosine": pytest.approx(1.0, abs=1e-6), "kind_accuracy": 1.0}
