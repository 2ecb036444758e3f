"""How good a filled sound is: error in the made cells, the seam at their border, and what had moved of the given.

Guarantee: pure functions of log-mels (N, M, F) of a mel space and masks (N, M, F), True = made; results (N,) in
decibels. None of them alone says that a fill is good: the mean of what is given has a small error, a smooth seam, and
sounds like nothing. Price: none.
"""

from __future__ import annotations

import numpy as np

from clipsonic.specs import MelSpec


def error_db(mels: np.ndarray, true: np.ndarray, made: np.ndarray, mel: MelSpec) -> np.ndarray:
    """Mean absolute difference to the true log-mel over the made cells."""
    return np.asarray(mel.db(_mean_over(np.abs(mels - true), made)))


def seam_db(mels: np.ndarray, made: np.ndarray, mel: MelSpec) -> np.ndarray:
    """Mean absolute step between neighbours, one of them made and one given, in time and in frequency; 0 without."""
    total, count = np.zeros(len(mels)), np.zeros(len(mels))
    for axis in (1, 2):
        border = np.diff(made.astype(np.int8), axis=axis) != 0
        total += (np.abs(np.diff(mels, axis=axis)) * border).sum(axis=(1, 2))
        count += border.sum(axis=(1, 2))
    return np.asarray(mel.db(total / np.maximum(count, 1)))


def drift_db(mels: np.ndarray, true: np.ndarray, made: np.ndarray, mel: MelSpec) -> np.ndarray:
    """Mean absolute difference to the true log-mel over the given cells, before they are put back."""
    return np.asarray(mel.db(_mean_over(np.abs(mels - true), ~made)))


def _mean_over(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.asarray((values * where).sum(axis=(1, 2)) / np.maximum(where.sum(axis=(1, 2)), 1))
