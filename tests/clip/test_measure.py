"""Measures of a CLIP: right on made vectors whose answers are known."""

import numpy as np
import pytest

from clipsonic.clip.measure import kind_naming, own_caption_accuracy, probe_r2


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_perfect_captions_are_always_told_from_those_of_other_kinds():
    vectors = unit(np.random.default_rng(0).normal(size=(40, 16)))
    kinds = [f"k{n % 8}" for n in range(40)]
    assert own_caption_accuracy(vectors, vectors, kinds) == 1.0


def test_random_captions_are_right_as_often_as_chance():
    rng = np.random.default_rng(1)
    pictures, captions = unit(rng.normal(size=(600, 32))), unit(rng.normal(size=(600, 32)))
    kinds = [f"k{n % 25}" for n in range(600)]
    accuracy = own_caption_accuracy(pictures, captions, kinds, num_others=24)
    assert abs(accuracy - 1 / 25) < 4 * np.sqrt(0.04 * 0.96 / 600)  # four standard errors


def test_pictures_of_the_same_kind_are_never_among_the_others():
    pictures = np.eye(3)[[0, 0, 1]]
    captions = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert own_caption_accuracy(pictures, captions, ["a", "a", "b"]) == 1.0


def named(pictures, captions, kinds, scale=30.0):
    return kind_naming(pictures, captions, np.arange(len(captions)), kinds, scale)


@pytest.mark.parametrize("scale", [30.0, 1e-2])
def test_naming_counts_kinds_and_lists_the_worst_confusion_first(scale):
    centres = np.eye(3)
    kinds = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    captions = np.repeat(centres, 4, axis=0)
    pictures = captions.copy()
    pictures[[4, 5, 6, 8]] = centres[0]  # three of b and one of c look like a
    naming = named(pictures, captions, kinds, scale)
    assert naming.accuracy == pytest.approx(8 / 12)
    assert naming.per_kind == {"a": 1.0, "b": 0.25, "c": 0.75}
    assert naming.confusions[0] == ("b", "a", 0.75)


def test_a_pictures_own_caption_has_no_vote():
    pictures = np.eye(4)
    naming = named(pictures, pictures, ["a", "a", "b", "b"])  # only the own caption tells anything
    tied = named(pictures, np.full((4, 4), 0.5), ["a", "a", "b", "b"])
    assert naming.accuracy == tied.accuracy == 0.5


def test_a_kind_with_many_captions_has_no_more_votes_than_one_with_few():
    pictures = np.array([[1.0, 0.0]] * 20 + [[0.8, 0.6]] * 2)
    kinds = ["many"] * 20 + ["few"] * 2
    assert named(pictures, pictures, kinds).per_kind["few"] == 1.0


def test_naming_without_two_kinds_is_absent():
    assert named(np.eye(2), np.eye(2), [None, None]) is None


def test_a_probe_reads_a_linear_number_and_not_noise():
    rng = np.random.default_rng(2)
    train, held_out = rng.normal(size=(600, 8)), rng.normal(size=(300, 8))
    weights = rng.normal(size=8)
    assert probe_r2(train, train @ weights + 3, held_out, held_out @ weights + 3) > 0.999  # the ridge costs 1e-6
    assert abs(probe_r2(train, rng.normal(size=600), held_out, rng.normal(size=300))) < 0.1  # 8 of 600 degrees, tenfold
