"""Distances of sets: closed forms, and what must be 0, must grow, must not depend on order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from clipsonic.measure.distances import frechet_distance, kernel_distance, posterior_kl
from clipsonic.seeding import numpy_rng


def draw(count: int, width: int = 4, seed: int = 0) -> np.ndarray:
    return numpy_rng(seed, "test.distances").normal(size=(count, width))


def test_equal_sets_are_at_no_distance_in_any_order() -> None:
    features = draw(50)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0.0, abs=1e-9)
    assert posterior_kl(*[np.full((3, 5), 0.2)] * 2) == pytest.approx(np.zeros(3))


def test_the_frechet_distance_of_moved_and_scaled_gaussians_has_its_closed_form() -> None:
    features = draw(200)
    assert frechet_distance(features, features + 2.0) == pytest.approx(4 * 2.0**2)
    # covariance C against s^2 C: tr(C) (1 - s)^2
    centred = features - features.mean(0)
    expected = np.trace(np.cov(centred, rowvar=False)) * (1 - 3.0) ** 2
    assert frechet_distance(centred, 3.0 * centred) == pytest.approx(expected)


def test_fewer_sounds_than_features_still_have_a_finite_distance() -> None:
    assert 0.0 < frechet_distance(draw(6, 30), draw(6, 30, seed=1)) < np.inf


def test_the_kernel_distance_is_centred_at_0_for_equal_laws_and_grows_with_a_shift() -> None:
    same = [kernel_distance(draw(60, seed=2 * n), draw(60, seed=2 * n + 1)) for n in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    near, far = (kernel_distance(draw(60), draw(60, seed=1) + shift) for shift in (0.5, 2.0))
    assert max(same) < near < far


def test_the_divergence_of_two_coins_is_known() -> None:
    true, made = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    assert posterior_kl(true, made)[0] == pytest.approx(0.5 * np.log(2.0) + 0.5 * np.log(2.0 / 3.0), abs=1e-5)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_a_single_sound_has_no_distance(distance) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="at least two"):
        distance(draw(1), draw(5))


@pytest.mark.parametrize("count", [20, 60])
def test_both_ways_to_the_trace_of_the_root_agree_with_scipys_square_root(count: int) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(count, 30)), 1.5 * rng.normal(size=(count + 5, 30)) + 0.2
    covariances = [np.cov(side, rowvar=False) for side in (first, second)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    # a product of singular covariances has a root to about the square root of the rounding only
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-5)
