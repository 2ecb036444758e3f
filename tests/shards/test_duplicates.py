"""Near-duplicates by their hashes: copies are found, unrelated and silent records are not."""

import numpy as np
import pytest

from clipsonic.seeding import numpy_rng
from clipsonic.shards.duplicates import near_duplicates


def code(seed):
    return int(numpy_rng(seed, "test.duplicates").integers(0, 2**63)) * 2 + 1


def record(key, sound, picture, **facts):
    return {"key": key, "sound_hash": f"{sound:016x}", "picture_hash": f"{picture:016x}", "rms_db": -20.0, **facts}


def flipped(value, count, seed=0):
    for place in numpy_rng(seed, "test.flips").choice(64, count, replace=False):
        value ^= 1 << int(place)
    return value


@pytest.mark.parametrize("seed", range(20))
def test_a_copy_of_up_to_three_bits_is_always_found(seed):
    copy = record("b", flipped(code(1), 3, seed), flipped(code(2), 5, seed + 100))
    assert near_duplicates([record("a", code(1), code(2)), copy]) == {"b": "a"}


@pytest.mark.parametrize(("sound_bits", "picture_bits"), [(7, 0), (0, 7), (30, 30)])
def test_what_differs_more_in_sight_or_sound_is_no_copy(sound_bits, picture_bits):
    other = record("b", flipped(code(1), sound_bits), flipped(code(2), picture_bits))
    assert near_duplicates([record("a", code(1), code(2)), other]) == {}


def test_several_copies_name_the_first_and_unrelated_records_none():
    unrelated = [record(f"u{seed}", code(10 + seed), code(5000 + seed)) for seed in range(2000)]
    copies = [record(f"c{place}", flipped(code(1), 2, place), code(2)) for place in range(5)]
    found = near_duplicates([record("a", code(1), code(2)), *unrelated, *copies])
    assert found == {f"c{place}": "a" for place in range(5)}


def test_silent_records_and_those_without_hashes_have_no_copies():
    silent = [record(key, 0, code(2), rms_db=-120.0) for key in "ab"]
    old = [{"key": key, "rms_db": -20.0} for key in "cd"]
    assert near_duplicates([*silent, *old]) == {}


def test_many_sounds_alike_do_not_take_quadratic_time():
    facts = [record(str(place), code(1), int(value)) for place, value in enumerate(
        numpy_rng(0, "test.alike").integers(0, 2**63, 20_000)
    )]  # fmt: skip
    assert len(near_duplicates(facts)) < 20
    assert np.unique([item["sound_hash"] for item in facts]).size == 1
