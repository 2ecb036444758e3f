"""The figures of a report, as pure functions of arrays.

Guarantee: no randomness but the generator that is passed, no audio, no network; every figure has a closed form that
its test checks. Price: `pairwise_mel_difference` is N x K passes over one spectrogram (200 x 200: about 3 seconds).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from clipsonic.specs import MelSpec

_Z_95 = 1.959963984540054


class Interval(NamedTuple):
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def wilson_interval(hits: int, total: int, z: float = _Z_95) -> Interval:
    """The share hits / total with Wilson's score interval (Wilson 1927), right even at 0 and at 1.

    Raises:
        ValueError: no trial, or more hits than trials.
    """
    if total < 1 or not 0 <= hits <= total:
        raise ValueError(f"{hits} hits of {total} is no share: need 0 <= hits <= total and total >= 1")
    share, z2 = hits / total, z * z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def bootstrap_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    num_resamples: int = 2000,
    statistic: Callable[..., np.ndarray] = np.mean,
) -> Interval:
    """The mean (or np.median) of values (N,) with the percentile interval of resampled ones (Efron 1979).

    Raises:
        ValueError: no value.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise ValueError("a mean of no values has no interval: give at least one")
    picks = rng.integers(values.size, size=(num_resamples, values.size))
    low, high = np.quantile(statistic(values[picks], axis=1), (0.025, 0.975))
    return Interval(float(statistic(values)), float(low), float(high))


def resampled_interval(
    value: float, of: Callable[[np.ndarray], float], count: int, rng: np.random.Generator, num_resamples: int = 100
) -> Interval:
    """A distance between sets with the spread of its bootstrap: `of(places)` is the distance over these items.

    A resample repeats items, which by itself moves a distance of covariances; so its spread around its own mean is
    laid around the true value.
    """
    draws = np.array([of(rng.integers(count, size=count)) for _ in range(num_resamples)])
    low, high = np.quantile(draws - draws.mean(), (0.025, 0.975))
    return Interval(value, value + float(low), value + float(high))


def mean_abs_log_mel(first: np.ndarray, second: np.ndarray, mel: MelSpec) -> np.ndarray:
    """Mean absolute difference of log-mels (..., M, F) of a mel space, per item, in decibels: shape (...)."""
    return np.asarray(mel.db(np.abs(first - second).mean(axis=(-2, -1))))


def pairwise_mel_difference(made: np.ndarray, true: np.ndarray, mel: MelSpec) -> np.ndarray:
    """`mean_abs_log_mel` of every made (N, M, F) with every true (K, M, F) spectrogram: (N, K)."""
    return np.stack([mean_abs_log_mel(one[None], true, mel) for one in made])


def own_ranks(distances: np.ndarray) -> np.ndarray:
    """Rank of the own target, 1 = nearest, for distances (N, N) whose diagonal is the own one; ties share a rank.

    A model that ignores its condition ranks its own sound at (N + 1) / 2 on average.
    """
    own = np.diagonal(distances)[:, None]
    others = ~np.eye(len(distances), dtype=bool)
    nearer = ((distances < own) & others).sum(axis=1)
    equal = ((distances == own) & others).sum(axis=1)
    return np.asarray(1.0 + nearer + 0.5 * equal)


def confusion(true: np.ndarray, named: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C): row = what it was, column = what it was called."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (np.asarray(true), np.asarray(named)), 1)
    return table


def most_confused(table: np.ndarray, names: list[str], limit: int = 10) -> list[tuple[str, str, float]]:
    """The largest (was, called, share of was) off the diagonal, largest first; empty where nothing is confused."""
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    pairs = [
        (names[row], names[column], float(shares[row, column]))
        for row in range(len(names))
        for column in range(len(names))
        if row != column and table[row, column]
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:limit]


def derangement(groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """A random permutation (N,) that gives every item one of another group, where no group is above half of all.

    Items are lined up group by group, groups and items in random order, and the line is turned by the size of the
    largest group. Where that is more than half, items are at least never their own; a single item stays.
    """
    order = rng.permutation(len(groups))
    sizes = Counter(groups)
    places = {group: place for place, group in enumerate(dict.fromkeys(groups[index] for index in order))}
    line = sorted(order.tolist(), key=lambda index: places[groups[index]])
    largest = max(sizes.values())
    turn = largest if largest < len(line) else 1
    result = np.empty(len(line), dtype=np.int64)
    result[line] = np.roll(line, -turn)
    return result
