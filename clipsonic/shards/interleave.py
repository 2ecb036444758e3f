"""Whose turn is it? Several sequences as one, each drawn in proportion to its weight, nothing drawn at random.

Guarantee: after any n turns each sequence has had its weight's share of n to within one turn (1 - 1/(2K - 2) for K of
them: Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32); any turn is found without those before
it. Price: a table as long as the weights' common denominator, at most 100,000 turns, after which it repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from clipsonic.errors import UsageError

LONGEST_PERIOD = 100_000


class Interleave:
    """Turns of `len(weights)` sequences.

    Args:
        weights: above 0; 0.7 means exactly seven tenths. They are divided by their sum.

    Raises:
        UsageError: a weight that is not above 0, or weights whose common denominator is beyond `LONGEST_PERIOD`.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        counts = _whole_shares(weights)
        self.period = sum(counts)
        self.shares = [count / self.period for count in counts]
        self._turns = np.array(_turns(counts), dtype=np.int32)
        self._places = [np.flatnonzero(self._turns == number) for number in range(len(counts))]
        self._nth = np.zeros(self.period, dtype=np.int32)  # how often had it its turn before in this period?
        for places in self._places:
            self._nth[places] = np.arange(len(places))

    def at(self, turn: int) -> tuple[int, int]:
        """Which sequence has this turn, and how many it has had before."""
        periods, place = divmod(turn, self.period)
        number = int(self._turns[place])
        return number, periods * len(self._places[number]) + int(self._nth[place])

    def first_turns(self, number: int, count: int) -> np.ndarray:
        """The first `count` turns of one sequence, rising."""
        places = self._places[number]
        periods, nth = np.divmod(np.arange(count), len(places))
        turns: np.ndarray = periods * self.period + places[nth]
        return turns


def _whole_shares(weights: Sequence[float]) -> list[int]:
    """The smallest whole numbers in the proportion of the weights, each taken as the decimal that it is written as."""
    if wrong := [weight for weight in weights if not (math.isfinite(weight) and weight > 0.0)]:
        raise UsageError(f"data.weights holds {wrong[0]:g}: every weight must be above 0; leave that corpus out")
    exact = [Fraction(repr(float(weight))) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in exact))
    whole = [int(fraction * scale) for fraction in exact]
    counts = [count // math.gcd(*whole) for count in whole]
    if sum(counts) > LONGEST_PERIOD:
        raise UsageError(
            f"data.weights {', '.join(f'{weight:g}' for weight in weights)} are the shares {counts} of {sum(counts)}, "
            f"which must be at most {LONGEST_PERIOD}: round the weights, four digits are enough"
        )
    return counts


def _turns(counts: Sequence[int]) -> list[int]:
    """One period: of those who have waited long enough, the one whose turn is overdue first (Tijdeman's rule).

    In whole numbers: all is multiplied by (2K - 2) and by the period.
    """
    period, slack = sum(counts), max(2 * len(counts) - 2, 1)
    waited, turns = [0] * len(counts), []
    for _ in range(period):
        waited = [lag + slack * count for lag, count in zip(waited, counts, strict=True)]
        ready = [number for number, lag in enumerate(waited) if lag >= period]
        chosen = min(ready, key=lambda number: Fraction((slack - 1) * period - waited[number], counts[number]))
        waited[chosen] -= slack * period
        turns.append(chosen)
    return turns
