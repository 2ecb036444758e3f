"""Closers: the right one by name, unit vectors out."""

import pytest
import torch

from clipsonic.errors import UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.closers import make_closer


@pytest.fixture(scope="module")
def prior():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TextPrior(PriorShape(width=16, depth=1, heads=1, head_width=16, num_timesteps=4), "toy/abc")


def texts():
    return torch.nn.functional.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_zero_shot_is_the_text_itself():
    assert (make_closer("zero-shot")(texts(), []) - texts()).abs().max() < 1e-7  # one renormalisation


def test_auto_is_the_prior_where_there_is_one(prior):
    def close(name, given):
        return make_closer(name, given)(texts(), [torch.Generator().manual_seed(n) for n in range(2)])

    assert torch.equal(close("auto", prior), close("prior", prior))
    assert torch.equal(close("auto", None), close("zero-shot", None))
    assert torch.equal(close("zero-shot", prior), close("zero-shot", None))


def test_an_unknown_closer_and_a_missing_prior_are_wrong_usage():
    with pytest.raises(UsageError, match="choose one of auto, zero-shot, prior"):
        make_closer("magic")
    with pytest.raises(UsageError, match="--prior FOLDER"):
        make_closer("prior")
