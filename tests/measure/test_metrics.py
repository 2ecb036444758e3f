"""The figures agree with closed forms and with what they promise of a model that knows nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from clipsonic.measure.metrics import (
    bootstrap_interval,
    confusion,
    derangement,
    mean_abs_log_mel,
    most_confused,
    own_ranks,
    pairwise_mel_difference,
    resampled_interval,
    wilson_interval,
)
from clipsonic.seeding import numpy_rng
from clipsonic.specs import MelSpec


@pytest.mark.parametrize(("hits", "total"), [(0, 20), (1, 25), (120, 200), (200, 200)])
def test_wilsons_interval_agrees_with_scipy(hits: int, total: int) -> None:
    theirs = scipy.stats.binomtest(hits, total).proportion_ci(0.95, method="wilson")
    ours = wilson_interval(hits, total)
    # equal formulas in double precision
    assert ours == pytest.approx((hits / total, theirs.low, theirs.high), abs=1e-12)


def test_wilsons_interval_of_nothing_seen_still_reaches_above_zero() -> None:
    share = wilson_interval(0, 10)
    assert share.value == share.low == 0.0
    assert share.high == pytest.approx(1.959963984540054**2 / (10 + 1.959963984540054**2), abs=1e-12)


def test_a_share_of_no_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="0 hits of 0"):
        wilson_interval(0, 0)


def test_the_bootstrap_interval_of_a_normal_mean_is_its_standard_error_wide() -> None:
    values = numpy_rng(1, "values").normal(3.0, 2.0, size=400)
    interval = bootstrap_interval(values, numpy_rng(1, "bootstrap"), 4000)
    half = 1.96 * values.std() / math.sqrt(400)
    # the quantiles of 4000 resamples are themselves uncertain by about 4 % of the half width
    assert interval.high - interval.value == pytest.approx(half, rel=0.15)
    assert interval.value - interval.low == pytest.approx(half, rel=0.15)


def test_the_bootstrap_interval_of_equal_values_is_that_value() -> None:
    assert bootstrap_interval(np.full(7, 2.5), numpy_rng(0, "b")) == (2.5, 2.5, 2.5)


def test_the_bootstrap_interval_of_a_median_ignores_one_wild_value() -> None:
    values = np.concatenate([np.linspace(0.9, 1.1, 99), [1e6]])
    interval = bootstrap_interval(values, numpy_rng(0, "test"), statistic=np.median)
    assert 0.95 < interval.low < interval.value < interval.high < 1.05


def test_the_interval_of_a_distance_is_the_bootstraps_spread_around_the_value() -> None:
    values = numpy_rng(0, "test").normal(size=400)
    interval = resampled_interval(5.0, lambda at: float(values[at].mean()) + 3.0, 400, numpy_rng(1, "test"), 1000)
    assert interval.value == 5.0
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.parametrize(
    ("mel", "doubled"), [(MelSpec(), math.log(2.0)), (MelSpec(logarithm="log10"), math.log10(2.0))]
)
def test_doubling_the_amplitude_is_a_log_mel_difference_of_six_decibels(mel: MelSpec, doubled: float) -> None:
    values = numpy_rng(2, "mel").normal(size=(3, 8, 10))
    # float64 rounding
    assert mean_abs_log_mel(values, values + doubled, mel) == pytest.approx(np.full(3, 20 * math.log10(2)), abs=1e-9)


def test_every_pair_is_the_difference_of_its_two_spectrograms() -> None:
    made, true = (numpy_rng(seed, "mel").normal(size=(count, 4, 6)) for seed, count in ((3, 5), (4, 7)))
    table = pairwise_mel_difference(made, true, MelSpec())
    assert table.shape == (5, 7)
    assert table[3, 6] == mean_abs_log_mel(made[3], true[6], MelSpec())


def test_a_perfect_model_ranks_every_own_sound_first() -> None:
    true = numpy_rng(5, "mel").normal(size=(9, 4, 6))
    assert (own_ranks(pairwise_mel_difference(true, true, MelSpec())) == 1.0).all()


def test_a_model_that_ignores_its_prompt_ranks_its_own_sounds_in_the_middle() -> None:
    true = numpy_rng(6, "mel").normal(size=(11, 4, 6))
    constant = np.repeat(true.mean(axis=0, keepdims=True), 11, axis=0)
    # ranks 1..11 each once, so their mean is (11 + 1) / 2 exactly
    assert own_ranks(pairwise_mel_difference(constant, true, MelSpec())).mean() == 6.0


def test_equal_distances_share_the_middle_rank() -> None:
    assert own_ranks(np.zeros((5, 5))).tolist() == [3.0] * 5


def test_the_score_of_a_constant_model_is_the_same_with_shuffled_conditions() -> None:
    kinds = numpy_rng(7, "kinds").integers(5, size=50)
    named = np.full(50, 2)
    order = derangement([str(place) for place in range(50)], numpy_rng(7, "order"))
    assert (named == kinds).mean() == (named[order] == kinds).mean()


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_a_derangement_is_a_permutation_that_moves_everything(count: int) -> None:
    order = derangement([str(place) for place in range(count)], numpy_rng(8, "order", count))
    assert sorted(order.tolist()) == list(range(count))
    assert (order != np.arange(count)).all()


def test_a_single_item_cannot_be_moved() -> None:
    assert derangement(["only"], numpy_rng(0, "order")).tolist() == [0]


def test_a_derangement_gives_every_item_one_of_another_group() -> None:
    groups = [name for name, size in (("a", 5), ("b", 3), ("c", 2)) for _ in range(size)]
    for seed in range(20):
        order = derangement(groups, numpy_rng(seed, "order"))
        assert sorted(order.tolist()) == list(range(10))
        assert all(groups[place] != groups[index] for place, index in enumerate(order))


def test_confusion_counts_rows_as_what_it_was() -> None:
    table = confusion(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2]), 3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert most_confused(table, ["a", "b", "c"]) == [("c", "a", pytest.approx(2 / 3)), ("a", "b", 0.5)]
