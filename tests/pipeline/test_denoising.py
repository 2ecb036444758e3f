"""Guidance of a network: the identities that define it, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clipsonic.diffusion.sampling import Guidance
from clipsonic.models.conditioner import Condition, global_condition
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.seeding import torch_generator


def network(x_BMF: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
    """Depends on every argument."""
    seen_B = (condition.tokens * condition.mask[..., None]).sum(dim=(1, 2))
    return x_BMF * (1.0 + seen_B[:, None, None]) + timestep_B[:, None, None] / 7


def arguments() -> tuple[Tensor, Tensor, Condition, Condition]:
    """A state, times, a condition and a negative one."""
    generator = torch_generator(0, "test.guidance")
    x_BMF = torch.randn(3, 4, 5, generator=generator)
    given, other = (global_condition(torch.randn(3, 6, generator=generator)) for _ in range(2))
    return x_BMF, torch.full((3,), 500.0), given, other


@pytest.mark.parametrize(("scale", "which"), [(1.0, 0), (0.0, 1), (1, 0), (0, 1)])
def test_scale_1_is_the_conditional_and_0_the_other_one_bit_for_bit(scale: float, which: int) -> None:
    x_BMF, t_B, *conditions = arguments()
    out_BMF = guided_in_one_batch(network, *conditions, Guidance(scale))(x_BMF, t_B)
    assert torch.equal(out_BMF, network(x_BMF, t_B, conditions[which]))


@pytest.mark.parametrize("scale", [0.5, 3.0, -1.0])
def test_other_scales_go_along_the_line(scale: float) -> None:
    x_BMF, t_B, given, other = arguments()
    out_BMF = guided_in_one_batch(network, given, other, Guidance(scale))(x_BMF, t_B)
    there, away = network(x_BMF, t_B, given), network(x_BMF, t_B, other)
    torch.testing.assert_close(out_BMF, away + scale * (there - away), atol=1e-4, rtol=1e-5)  # values up to 100


def test_equal_conditions_make_every_scale_the_same_bit_for_bit() -> None:
    x_BMF, t_B, given, _ = arguments()
    out_BMF = guided_in_one_batch(network, given, given, Guidance(4.5))(x_BMF, t_B)
    assert torch.equal(out_BMF, network(x_BMF, t_B, given))
