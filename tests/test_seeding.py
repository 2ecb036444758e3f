"""Randomness is a pure function of (seed, purpose, indices)."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsonic.seeding import numpy_rng, seed_for, torch_generator


@given(st.integers(0, 2**31), st.text(max_size=8), st.lists(st.integers(0, 10**9), max_size=3))
def test_equal_arguments_give_equal_seeds_within_63_bits(seed: int, purpose: str, indices: list[int]) -> None:
    assert seed_for(seed, purpose, *indices) == seed_for(seed, purpose, *indices)
    assert 0 <= seed_for(seed, purpose, *indices) < 2**63


def test_every_argument_and_its_place_matters() -> None:
    seeds = {
        seed_for(0, "a"),
        seed_for(1, "a"),
        seed_for(0, "b"),
        seed_for(0, "a", 0),
        seed_for(0, "a", 1),
        seed_for(0, "a", 1, 2),
        seed_for(0, "a", 2, 1),
        seed_for(0, "a", 12),
    }
    assert len(seeds) == 8


def _global_state() -> tuple:
    return (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_global_random_state_is_neither_read_nor_written() -> None:
    before = _global_state()
    first = (numpy_rng(3, "x").random(), torch.rand(1, generator=torch_generator(3, "x")).item())
    assert _global_state() == before
    torch.rand(5)
    second = (numpy_rng(3, "x").random(), torch.rand(1, generator=torch_generator(3, "x")).item())
    assert first == second
