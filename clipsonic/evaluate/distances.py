"""Distances between sets of sounds, seen through a network's features and posteriors: pure functions of arrays.

Guarantee: nothing is drawn at random; equal sets are at distance 0. Price: the Fréchet distance falls with the number
of sounds, so only distances of equal counts may be compared.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist

_TINY = 1e-6


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Between Gaussians fitted to features (N, C) and (K, C) (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the trace of the root by the eigenvalues of the symmetric
    C1^(1/2) C2 C1^(1/2), which exist for any number of features.

    Raises:
        ValueError: a set of fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} sounds have no covariance: give at least two of each")
    covariances = [np.atleast_2d(np.cov(side, rowvar=False).astype(np.float64)) for side in (first, second)]
    root = _symmetric_root(covariances[0])
    eigenvalues = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(min=0.0)
    means = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return max(0.0, float(means @ means) + traces - 2.0 * float(np.sqrt(eigenvalues).sum()))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T)


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Kernel audio distance of features (N, C), (K, C): an unbiased squared MMD (Chung et al. 2025, arXiv 2502.15602).

    With a Gaussian kernel whose width is the median distance within `first`, the reference; it may be below 0, and is
    where the sets are paired and alike.

    Raises:
        ValueError: a set of fewer than two.
    """
    n, k = len(first), len(second)
    if min(n, k) < 2:
        raise ValueError(f"{n} and {k} sounds have no kernel distance: give at least two of each")
    width = max(float(np.median(pdist(first))), _TINY)

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-cdist(left, right, "sqeuclidean") / (2.0 * width**2)))

    within_first = (kernel(first, first).sum() - n) / (n * (n - 1))
    within_second = (kernel(second, second).sum() - k) / (k * (k - 1))
    return float(within_first + within_second - 2.0 * kernel(first, second).mean())


def posterior_kl(true: np.ndarray, made: np.ndarray) -> np.ndarray:
    """KL(true || made) of class probabilities (N, C), pair by pair, in nats: (N,)."""
    return np.asarray((true * (np.log(true + _TINY) - np.log(made + _TINY))).sum(axis=1))
