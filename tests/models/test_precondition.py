"""The flow assembly v = a x + b F: what F then is, at both ends and for data of that deviation."""

import pytest
import torch

from clipsonic.models.dit import flow_coefficients
from clipsonic.seeding import torch_generator


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_at_noise_the_network_says_the_mel_and_near_the_mel_the_noise(sigma):
    generator = torch_generator(0, "test.precondition")
    x0, noise = torch.randn(2, 50, generator=generator)
    for t, x, expected in ((1.0, noise, x0), (0.0, x0, -sigma * noise)):
        a, b = flow_coefficients(torch.tensor([t]), sigma)
        inner = (noise - x0 - a * x) / b
        torch.testing.assert_close(inner, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_saying_nothing_is_best_for_data_of_deviation_sigma(sigma):
    """With F = 0 the velocity is the least-squares one of x0 ~ N(0, sigma^2): a = cov(v, x_t) / var(x_t)."""
    t = torch.linspace(0.0, 1.0, 21)
    a, _ = flow_coefficients(t, sigma)
    expected = (t - (1 - t) * sigma**2) / ((1 - t) ** 2 * sigma**2 + t**2)
    torch.testing.assert_close(a, expected)


def test_nothing_is_infinite_anywhere():
    a, b = flow_coefficients(torch.linspace(0.0, 1.0, 1001), 0.3)
    assert torch.isfinite(a).all()
    assert b.abs().max() <= (1 + 0.3**2) ** 0.5 / 0.3 + 1e-4  # its largest value, at t = s^2 / (1 + s^2)
