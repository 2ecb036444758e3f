"""Turns in proportion to weights: never off by a whole one, found without those before, and refused where unclear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsonic.errors import UsageError
from clipsonic.shards.interleave import Interleave


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_after_any_number_of_turns_each_has_had_its_share_to_within_one(weights: list[int], start: int) -> None:
    turns = Interleave([weight / 100 for weight in weights])
    had = np.zeros(len(weights))
    for turn in range(2 * turns.period + 3):
        number, before = turns.at(turn)
        assert before == had[number]
        had[number] += 1
        off = had - (turn + 1) * np.array(weights) / sum(weights)
        assert np.abs(off).max() <= max(0.5, 1 - 1 / max(1, 2 * len(weights) - 2)) + 1e-6  # Tijdeman's bound
    number, before = turns.at(start)
    assert turns.first_turns(number, before + 1)[-1] == start if before < 10**5 else True


def test_a_weight_means_the_decimal_that_it_is_written_as() -> None:
    assert Interleave([0.7, 0.3]).period == 10
    assert Interleave([0.1, 0.2]).shares == [1 / 3, 2 / 3]
    assert [Interleave([7, 3]).at(turn) for turn in range(40)] == [
        Interleave([0.7, 0.3]).at(turn) for turn in range(40)
    ]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5, 0.0], "data.weights holds 0: every weight must be above 0"),
        ([0.5, float("nan")], "data.weights holds nan"),
        ([1, 0.12345678], "at most 100000: round the weights"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: list[float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Interleave(weights)
