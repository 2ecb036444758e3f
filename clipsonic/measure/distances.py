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

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The trace of the root is the nuclear norm of X Y^T / ((N-1)(K-1))^(1/2)
    for the centred features X and Y, whose C1 = X^T X / (N-1); with many sounds it is taken from C1 and C2.

    Raises:
        ValueError: a set of fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} sounds have no covariance: give at least two of each")
    means = [side.mean(axis=0, dtype=np.float64) for side in (first, second)]
    scaled = [(side - mean) / np.sqrt(len(side) - 1.0) for side, mean in zip((first, second), means, strict=True)]
    traces = sum(float(np.square(side).sum()) for side in scaled)
    shift = means[0] - means[1]
    return max(0.0, float(shift @ shift) + traces - 2.0 * _trace_of_root(*scaled))


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    """tr (X^T X Y^T Y)^(1/2) of X (N, C) and Y (K, C), by whichever side is the smaller matrix."""
    if min(len(first), len(second)) <= first.shape[1]:
        return float(np.linalg.svd(first @ second.T, compute_uv=False).sum())
    values, vectors = np.linalg.eigh(first.T @ first)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ (second.T @ second) @ root)
    return float(np.sqrt(eigenvalues.clip(min=0.0)).sum())


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
