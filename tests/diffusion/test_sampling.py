"""The solver loop: oracles come back exactly, Gaussians at the solver's order, and the function is pure."""

import itertools
import math

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from clipsonic.diffusion.objective import make_objective, make_scheduler
from clipsonic.diffusion.sampling import initial_noise, num_network_steps, sample
from clipsonic.diffusion.schedulers import check_scheduler
from clipsonic.errors import UsageError
from clipsonic.seeding import torch_generator

SHAPE = (4, 8)
FLOW = [FlowMatchEulerDiscreteScheduler(), FlowMatchEulerDiscreteScheduler(shift=3.0), FlowMatchHeunDiscreteScheduler()]


def generators(count=2, seed=0):
    return [torch_generator(seed, "test.sampling", index) for index in range(count)]


def noise(count=2, seed=0):
    return initial_noise(SHAPE, generators(count, seed))


def flow_oracle(x0):
    """Knows the mel: v = (x_t - x0) / t."""
    return lambda x, timestep, *_: (x - x0) / (timestep / 1000)[:, None, None]


def oracle(name, x0):
    """Knows the mel, says it in the terms of the objective."""
    objective = make_objective(name)

    def denoise(x, timestep, *_):
        t = (timestep + 0.5) / 1000
        alpha, sigma = objective._alpha_sigma(t, x)
        return objective.target(x0, (x - alpha * x0) / sigma, t)

    return denoise


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 37])
@pytest.mark.parametrize("scheduler", FLOW, ids=["euler", "shifted", "heun"])
def test_a_flow_oracle_is_sampled_back_to_x0_for_any_number_of_steps(scheduler, steps):
    x0 = noise(seed=5) * 3
    out = sample(flow_oracle(x0), scheduler, noise(), steps)
    torch.testing.assert_close(out, x0, atol=5e-6, rtol=0)  # 5e-7 measured


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20, 24, 37, 50])
@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", ["ddim", "dpm"])
def test_the_other_oracles_are_sampled_back_to_x0(name, kind, steps):
    scheduler = make_scheduler(name)
    if kind == "dpm":
        scheduler = DPMSolverMultistepScheduler.from_config(scheduler.config)
    x0 = noise(seed=5) * 3
    out = sample(oracle(name, x0), scheduler, noise(), steps)
    torch.testing.assert_close(out, x0, atol=1e-5, rtol=0)  # 1e-6 measured


FLOW_FAMILY = {
    "multistep": DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
    "shifted": DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    "unipc": UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
}


@pytest.mark.parametrize("steps", [2, 5, 20])
@pytest.mark.parametrize("kind", FLOW_FAMILY)
def test_multistep_solvers_told_to_use_flow_sigmas_sample_an_oracle_back(kind, steps):
    scheduler = FLOW_FAMILY[kind]
    check_scheduler(scheduler, "flow")
    x0 = noise(seed=5) * 3
    out = sample(flow_oracle(x0), scheduler, noise(), steps)
    torch.testing.assert_close(out, x0, atol=5e-5, rtol=0)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "solver", [UniPCMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, DDPMScheduler]
)
def test_every_solver_made_from_the_models_config_samples_its_oracle_back(solver, name, steps):
    scheduler = solver.from_config(make_scheduler(name).config)
    check_scheduler(scheduler, name)
    x0 = noise(seed=5) * 3
    out = sample(oracle(name, x0), scheduler, noise(), steps, generators=generators(seed=3))
    torch.testing.assert_close(out, x0, atol=1e-5, rtol=0)  # 1e-6 measured


def gaussian_velocity(mean, std):
    """E[noise - x0 | x_t] for x0 ~ N(mean, std^2), in closed form."""

    def denoise(x, timestep, *_):
        t = (timestep / 1000)[:, None, None].double()
        variance = (1 - t) ** 2 * std**2 + t**2
        return ((t - (1 - t) * std**2) / variance * (x - (1 - t) * mean) - mean).float()

    return denoise


def solution(start, mean, std):
    """Where the probability-flow line of a Gaussian ends: the same quantile of the data."""
    return mean + std * start


def error_of(scheduler, steps, mean=0.7, std=0.4):
    start = noise(8)
    return (
        (sample(gaussian_velocity(mean, std), scheduler, start, steps) - solution(start, mean, std)).abs().max().item()
    )


def test_euler_converges_to_the_gaussian_at_first_order():
    errors = [error_of(FlowMatchEulerDiscreteScheduler(), steps) for steps in (16, 32, 64)]
    for coarse, fine in itertools.pairwise(errors):
        assert 0.8 < math.log2(coarse / fine) < 1.3


def test_heun_converges_to_the_gaussian_at_second_order():
    errors = [error_of(FlowMatchHeunDiscreteScheduler(), steps) for steps in (12, 24, 48)]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.7 < math.log2(coarse / fine) < 2.3


def test_heun_converges_faster_than_euler_with_as_many_network_calls():
    heun, euler = FlowMatchHeunDiscreteScheduler(), FlowMatchEulerDiscreteScheduler()
    calls = num_network_steps(heun, 12)
    assert calls == 23
    assert error_of(heun, 12) < 0.2 * error_of(euler, calls)  # 0.07 measured


def test_euler_takes_equal_steps_and_asks_the_network_at_them_with_their_levels_as_numbers():
    asked = []

    def denoise(x, timestep, t):
        asked.append((timestep[0].item(), t))
        return torch.zeros_like(x)

    sample(denoise, FlowMatchEulerDiscreteScheduler(), noise(), 4)
    assert asked == [(1000.0, 1.0), (750.0, 0.75), (500.0, 0.5), (250.0, 0.25)]


def test_a_shift_puts_the_steps_at_higher_noise_as_esser_et_al_do():
    """t -> s t / (1 + (s - 1) t) (arXiv 2403.03206, eq. 23)."""
    asked = []

    def denoise(x, timestep, *_):
        asked.append(timestep[0].item() / 1000)
        return torch.zeros_like(x)

    sample(denoise, make_scheduler("flow", flow_shift=3.0), noise(), 4)
    uniform = [1.0, 0.75, 0.5, 0.25]
    assert asked == pytest.approx([3 * t / (1 + 2 * t) for t in uniform], abs=1e-6)


def test_a_scheduler_with_scaled_noise_is_fed_rightly():
    """EulerDiscrete counts noise in sigma = sigma_t / alpha_t and scales the network's input."""
    scheduler = EulerDiscreteScheduler.from_config(make_scheduler("v_prediction").config)
    x0 = noise(seed=5)
    out = sample(oracle("v_prediction", x0), scheduler, noise(), 20)
    torch.testing.assert_close(out, x0, atol=1e-5, rtol=0)  # 3e-7 measured


def test_batched_equals_single_bit_for_bit_with_one_generator_each():
    scheduler = DDPMScheduler.from_config(make_scheduler("v_prediction").config)

    def denoise(x, timestep, *_):
        return torch.tanh(x) * 0.3

    batched = sample(denoise, scheduler, noise(3), 5, generators=generators(3, seed=1))
    for index in range(3):
        single = sample(
            denoise, scheduler, noise(3)[index : index + 1], 5, generators=generators(3, seed=1)[index : index + 1]
        )
        assert torch.equal(batched[index], single[0])


def test_it_is_pure():
    scheduler, start = make_scheduler("flow"), noise()
    before, state = start.clone(), dict(vars(scheduler))
    first = sample(lambda x, *_: x.sin(), scheduler, start, 5)
    torch.manual_seed(123)
    second = sample(lambda x, *_: x.sin(), scheduler, start, 5)
    assert torch.equal(first, second)
    assert torch.equal(start, before)
    assert all(vars(scheduler)[name] is value for name, value in state.items())


def test_the_observer_sees_every_step():
    seen = []
    out = sample(
        lambda x, *_: x,
        make_scheduler("flow"),
        noise(),
        3,
        observer=lambda done, total, x: seen.append((done, total, x)),
    )
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(seen[-1][2], out)


def test_initial_noise_of_an_item_depends_on_its_generator_alone():
    assert torch.equal(noise(3)[1], initial_noise(SHAPE, generators(3)[1:2])[0])


def test_a_half_precision_network_does_not_make_the_state_half_precision():
    out = sample(lambda x, *_: x.bfloat16() * 0.1, make_scheduler("flow"), noise(), 3)
    assert out.dtype == torch.float32


def test_no_steps_are_refused():
    with pytest.raises(UsageError, match="num_inference_steps 0"):
        sample(lambda x, *_: x, make_scheduler("flow"), noise(), 0)


@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
def test_more_steps_than_the_scheduler_has_levels_are_refused_in_one_sentence(name):
    with pytest.raises(UsageError, match=r"num_inference_steps 1001 cannot be .*: give fewer"):
        sample(lambda x, *_: x, make_scheduler(name), noise(), 1001)


@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
def test_every_step_ends_where_the_network_is_asked_next(name):
    """A network that says x0 = 0: all that is left of the noise is the noise level, which each timestep names."""
    objective, asked, left = make_objective(name), [], [1.0]

    def denoise(x, timestep, *_):
        asked.append(timestep[0])
        t = (timestep + 0.5) / 1000
        return objective.target(torch.zeros_like(x), x / objective._alpha_sigma(t, x)[1], t)

    start = noise()
    sample(denoise, make_scheduler(name), start, 24, observer=lambda _, __, x: left.append((x / start).mean().item()))
    sigmas = [objective._alpha_sigma((t[None] + 0.5) / 1000, start[:1])[1].item() for t in asked]
    assert left[1:] == pytest.approx([sigma / sigmas[0] for sigma in [*sigmas[1:], 0.0]], abs=1e-5)


def test_steps_that_diffusers_spaces_down_to_minus_one_are_made_rightly_or_refused():
    """61 of 1,000: its own list has a 62nd at -1, which as an index is the noisiest level."""
    x0 = noise(seed=5) * 3
    torch.testing.assert_close(
        sample(oracle("v_prediction", x0), make_scheduler("v_prediction"), noise(), 61), x0, atol=1e-5, rtol=0
    )
    other = DPMSolverMultistepScheduler.from_config(make_scheduler("v_prediction").config)
    with pytest.raises(
        UsageError, match=r"num_inference_steps 61 cannot be spaced by DPMSolver.*: give one more or less"
    ):
        sample(oracle("v_prediction", x0), other, noise(), 61)
