"""Guidance: the identities that define it, bit for bit, and how often the network is called."""

import pytest
import torch

from clipsonic.diffusion.guidance import guided
from clipsonic.seeding import torch_generator


class Network:
    """Counts its calls; the prediction depends on every argument."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, timestep, condition):
        self.calls += 1
        return x * condition + timestep[:, None, None] / 7


def arguments():
    generator = torch_generator(0, "test.guidance")
    x = torch.randn(3, 4, 5, generator=generator)
    condition, null = (torch.randn(3, 1, 1, generator=generator) for _ in range(2))
    return x, torch.tensor([1.0, 500.0, 999.0]), condition, null


@pytest.mark.parametrize(("scale", "which"), [(1.0, 2), (0.0, 3), (1, 2), (0, 3)])
def test_scale_1_is_the_conditional_and_0_the_unconditional_bit_for_bit_in_one_call(scale, which):
    network, values = Network(), arguments()
    out = guided(network, *values, scale)
    assert network.calls == 1
    assert torch.equal(out, Network()(values[0], values[1], values[which]))


def test_other_scales_go_along_the_line_and_call_twice():
    network, (x, t, condition, null) = Network(), arguments()
    given = Network()(x, t, condition)
    nothing = Network()(x, t, null)
    for scale in (0.5, 3.0, -1.0):
        out = guided(network, x, t, condition, null, scale)
        torch.testing.assert_close(out, nothing + scale * (given - nothing), atol=1e-4, rtol=1e-5)  # values up to 140
    assert network.calls == 6


def test_equal_conditions_make_every_scale_the_same_bit_for_bit():
    x, t, condition, _ = arguments()
    plain = guided(Network(), x, t, condition, condition, 1.0)
    assert torch.equal(guided(Network(), x, t, condition, condition, 4.5), plain)
