"""Objectives: identities between x_t, targets and x0, agreement with diffusers, and the distribution of times."""

import math

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from clipsonic.diffusion.objective import (
    PREDICTION_TYPES,
    loss_per_item,
    make_objective,
    sample_timesteps,
    spread_uniform,
)
from clipsonic.errors import SpecError
from clipsonic.seeding import torch_generator

SHAPE = (6, 4, 8)


def draw(*shape, seed=0):
    return torch.randn(shape or SHAPE, generator=torch_generator(seed, "test.objective"))


def times(count=6):
    return torch.linspace(0.05, 0.95, count)


@pytest.mark.parametrize("name", PREDICTION_TYPES)
def test_a_network_without_error_has_no_loss_and_gives_x0_back(name):
    objective, x0, noise = make_objective(name), draw(seed=1), draw(seed=2)
    target = objective.target(x0, noise, times())
    assert torch.equal(loss_per_item(objective, lambda x, t: target, x0, noise, times()), torch.zeros(6))
    back = objective.x0_from(target, objective.add_noise(x0, noise, times()), times())
    # 2e-7 measured, times 1 / alpha = 13 at t = 0.95 for epsilon
    torch.testing.assert_close(back, x0, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", PREDICTION_TYPES)
def test_the_loss_is_the_mean_square_of_each_item_alone(name):
    objective, x0, noise = make_objective(name), draw(seed=1), draw(seed=2)
    prediction = draw(seed=3)
    losses = loss_per_item(objective, lambda x, t: prediction, x0, noise, times())
    for index in range(6):
        target = objective.target(x0, noise, times())[index]
        torch.testing.assert_close(losses[index], ((prediction[index] - target) ** 2).mean())


def test_flow_ends_in_the_mel_and_in_the_noise():
    objective, x0, noise = make_objective("flow"), draw(seed=1), draw(seed=2)
    assert torch.equal(objective.add_noise(x0, noise, torch.zeros(6)), x0)
    assert torch.equal(objective.add_noise(x0, noise, torch.ones(6)), noise)


def test_flow_noises_as_diffusers_scheduler_does():
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    objective, x0, noise = make_objective("flow"), draw(seed=1), draw(seed=2)
    t = scheduler.timesteps[3:4] / 1000
    expected = scheduler.scale_noise(x0, scheduler.timesteps[3:4], noise)
    torch.testing.assert_close(objective.add_noise(x0, noise, t.expand(6)), expected)


@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
def test_the_others_noise_as_diffusers_scheduler_does(name):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    objective, x0, noise = make_objective(name), draw(seed=1), draw(seed=2)
    steps = objective.timestep(times()).long()
    torch.testing.assert_close(objective.add_noise(x0, noise, times()), scheduler.add_noise(x0, noise, steps))
    if name == "v_prediction":
        torch.testing.assert_close(objective.target(x0, noise, times()), scheduler.get_velocity(x0, noise, steps))


@pytest.mark.parametrize("name", PREDICTION_TYPES)
def test_timesteps_run_from_0_to_1000_with_t(name):
    timestep = make_objective(name).timestep(torch.tensor([0.0, 0.5, 1.0]))
    assert timestep.tolist() == ([0.0, 500.0, 1000.0] if name == "flow" else [0.0, 500.0, 999.0])
    assert timestep.dtype == torch.float32


@pytest.mark.parametrize("mean", [0.0, 1.2])
def test_training_times_of_flow_are_logit_normal(mean):
    generator = torch_generator(0, "test")
    t = torch.cat([sample_timesteps(make_objective("flow", logit_mean=mean), 7, generator) for _ in range(1000)])
    logits = torch.logit(t)
    # 1000 independent shifts, 7 draws each: standard error of mean and deviation below 0.03
    assert abs(logits.mean().item() - mean) < 0.06
    assert abs(logits.std().item() - 1.0) < 0.06
    assert ((t > 0) & (t < 1)).all()


@pytest.mark.parametrize("batch", [1, 5, 32])
def test_spread_times_are_uniform_one_by_one_and_even_together(batch):
    generator = torch_generator(1, "test")
    draws = torch.stack([spread_uniform(batch, generator) for _ in range(2000)])
    assert ((draws >= 0) & (draws < 1)).all()
    quartiles = torch.histc(draws[:, 0], 4, 0, 1) / 2000
    assert (quartiles - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 2000)  # binomial, 4.5 sigma
    gaps = draws.sort(dim=1).values.diff(dim=1)
    assert torch.allclose(gaps, torch.full_like(gaps, 1 / batch), atol=1e-6)


@pytest.mark.parametrize("name", PREDICTION_TYPES)
def test_times_are_a_function_of_the_generator_alone(name):
    objective = make_objective(name)
    first, second = (sample_timesteps(objective, 16, torch_generator(3, "t", 7)) for _ in range(2))
    torch.manual_seed(99)
    assert torch.equal(first, second)
    assert not torch.equal(first, sample_timesteps(objective, 16, torch_generator(3, "t", 8)))


def test_min_snr_weights_make_epsilon_and_v_the_same_loss_on_x0():
    """Both are min(snr, gamma) |x0_hat - x0|^2 (Hang et al., eq. 8), whatever is predicted."""
    x0, noise, wrong_x0 = draw(seed=1), draw(seed=2), draw(seed=3)
    losses = []
    for name in ("epsilon", "v_prediction"):
        objective = make_objective(name, min_snr_gamma=5.0)
        x = objective.add_noise(x0, noise, times())
        alpha, sigma = objective._alpha_sigma(times(), x0)
        wrong_noise = (x - alpha * wrong_x0) / sigma
        prediction = wrong_noise if name == "epsilon" else alpha * wrong_noise - sigma * wrong_x0
        losses.append(loss_per_item(objective, lambda x, t, p=prediction: p, x0, noise, times()))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)  # 1e-6 measured
    snr = (alpha / sigma).square().flatten()
    expected = snr.clamp_max(5.0) * (wrong_x0 - x0).square().mean(dim=(1, 2))
    torch.testing.assert_close(losses[0], expected, rtol=1e-4, atol=1e-6)


def test_nothing_writes_to_its_arguments():
    x0, noise, t = draw(seed=1), draw(seed=2), times()
    copies = x0.clone(), noise.clone(), t.clone()
    for name in PREDICTION_TYPES:
        objective = make_objective(name)
        loss_per_item(objective, lambda x, s: x.mul(2), x0, noise, t)
        objective.x0_from(noise, x0, t)
    assert all(torch.equal(a, b) for a, b in zip(copies, (x0, noise, t), strict=True))


def test_unknown_names_and_options_that_do_not_apply_are_refused():
    with pytest.raises(SpecError, match="flow, epsilon, v_prediction"):
        make_objective("x0")
    with pytest.raises(SpecError, match="min_snr_gamma"):
        make_objective("flow", min_snr_gamma=5.0)
