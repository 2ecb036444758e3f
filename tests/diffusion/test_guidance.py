"""Guidance: when it acts, how two predictions are mixed, and what cannot be. With a network: tests/pipeline."""

import pytest
import torch

from clipsonic.diffusion.sampling import Guidance, rescaled
from clipsonic.errors import UsageError
from clipsonic.seeding import torch_generator


def test_guidance_acts_inside_its_interval_borders_included_and_never_at_scale_1():
    guidance = Guidance(2.0, (0.5, 1.0))
    times = torch.linspace(1.0, 1.0 / 16, 16)  # the 16 steps of `base`, in float32
    assert [guidance.acts_at(float(t * 1000) / 1000) for t in times] == [True] * 9 + [False] * 7
    assert not any(Guidance(1.0, (0.0, 1.0)).acts_at(float(t)) for t in times)


def test_rescaling_gives_each_item_the_deviation_of_the_conditional_one():
    """Lin et al. 2023 (arXiv 2305.08891), eq. 15: at share 1 the deviations are equal, at 0 nothing happens."""
    generator = torch_generator(0, "test.rescale")
    conditional, made = (torch.randn(3, 4, 50, generator=generator) * scale for scale in (1.0, 4.0))
    whole = rescaled(made, conditional, 1.0)
    torch.testing.assert_close(whole.std(dim=(1, 2)), conditional.std(dim=(1, 2)), rtol=1e-5, atol=0)
    torch.testing.assert_close(rescaled(made, conditional, 0.0), made, rtol=1e-6, atol=0)
    torch.testing.assert_close(rescaled(made, conditional, 0.25), 0.25 * whole + 0.75 * made, rtol=1e-5, atol=1e-6)
    mixed = Guidance(3.0, rescale=1.0).mixed(torch.zeros_like(conditional), conditional)
    torch.testing.assert_close(mixed, conditional, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((float("nan"),), "guidance_scale nan"),
        ((2.0, (0.6, 0.5)), r"guidance_interval \[0.6, 0.5\]"),
        ((2.0, (0.0, 1.5)), "guidance_interval"),
        ((2.0, (0.5,)), "two diffusion times"),
        ((2.0, (0.0, 1.0), 1.5), "guidance_rescale 1.5"),
    ],
)
def test_an_impossible_guidance_does_not_construct(values, words):
    with pytest.raises(UsageError, match=words):
        Guidance(*values)
