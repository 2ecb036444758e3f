"""Windows over a long mel: they cover it, agree where they overlap, and leave an oracle's answer as it is."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from clipsonic.diffusion.sampling import initial_noise, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.pipeline.denoising import MAX_WINDOWS, OVERLAP, in_windows, window_starts, window_weight
from clipsonic.seeding import torch_generator


@given(length=some.integers(8, 300), more=some.integers(0, 5000))
def test_windows_cover_every_column_end_with_the_last_and_overlap_enough(length, more):
    starts = window_starts(length + more, length)
    assert starts[0] == 0
    assert starts[-1] == more
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(0 < gap <= length * (1 - OVERLAP) + 1 for gap in gaps)  # starts are whole columns
    if len(starts) > 1:
        assert max(gaps) - min(gaps) <= 1
        needed = more / (length * (1 - OVERLAP))
        assert len(starts) - 1 < needed + 1  # and no more of them than that


def test_what_fits_one_window_has_one():
    assert window_starts(256, 256) == window_starts(10, 256) == (0,)


def test_the_weight_is_smooth_symmetric_and_nowhere_zero():
    weight = window_weight(256)
    assert torch.equal(weight, weight.flip(0))
    assert 0.0 < weight.min() < 0.01 < 0.99 < weight.max() <= 1.0
    shared = round(OVERLAP * 256)
    assert weight.diff().abs().max() < 2.0 / shared  # the steepest slope of sin^2 is pi / 2
    crossing = weight[-shared:] + weight[:shared]
    torch.testing.assert_close(crossing, torch.ones(shared), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["flow", "v_prediction"])
def test_an_oracle_in_windows_is_sampled_back_to_the_whole_long_mel(name):
    length, total = 16, 75
    x0 = initial_noise((4, total), [torch_generator(5, "t", item) for item in range(2)])
    starts = window_starts(total, length)
    places = [(item, start) for item in range(2) for start in starts]

    def bind(group):
        clean = torch.stack([x0[item, :, start : start + length] for item, start in places[group]])
        if name == "flow":
            return lambda x, timestep, *_: (x - clean) / (timestep / 1000)[:, None, None]
        alphas = make_scheduler(name).alphas_cumprod

        def velocity(x, timestep, *_):
            alpha = alphas[timestep.long()].sqrt()[:, None, None]
            sigma = (1 - alphas[timestep.long()]).sqrt()[:, None, None]
            return alpha * (x - alpha * clean) / sigma - sigma * clean

        return velocity

    noise = initial_noise((4, total), [torch_generator(0, "t", item) for item in range(2)])
    made = sample(in_windows(bind, 2, starts, length, total), make_scheduler(name), noise, 5)
    torch.testing.assert_close(made, x0, atol=1e-5, rtol=0)  # 1e-6 measured


def test_the_network_gets_at_most_max_windows_each_with_its_own_columns():
    sizes = []
    starts = window_starts(200, 16)
    x = torch.arange(200.0).expand(2, 3, 200).clone()

    def bind(group):
        def network(windows, timestep, t):
            sizes.append(len(windows))
            assert len(timestep) == len(windows)
            assert torch.equal(windows.diff(dim=2), torch.ones(len(windows), 3, 15))
            return windows

        return network

    said = in_windows(bind, 2, starts, 16, 200)(x, torch.tensor([1.0, 1.0]), 0.001)
    torch.testing.assert_close(said, x, atol=1e-4, rtol=0)  # values up to 200: a mean of equal ones is that one
    assert sum(sizes) == 2 * len(starts)
    assert max(sizes) == MAX_WINDOWS
