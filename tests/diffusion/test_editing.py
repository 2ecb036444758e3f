"""Sampling with a given sound: known cells stay, made ones go with them as well as mathematics says they can."""

import itertools

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from clipsonic.diffusion import editing
from clipsonic.diffusion.editing import (
    Given,
    levels_above,
    levels_below,
    restyled,
    sample_given,
    sample_replacing,
    start_of,
    time_of_share,
)
from clipsonic.diffusion.objective import make_objective, make_scheduler
from clipsonic.diffusion.sampling import initial_noise, levels, sample
from clipsonic.errors import SpecError, UsageError
from clipsonic.seeding import torch_generator

KINDS = ["flow", "epsilon", "v_prediction"]
M, F = 8, 48
CORRELATION = 0.8 ** (torch.arange(F)[:, None] - torch.arange(F)).abs().double()
"""Of the columns: a first-order autoregressive process in each band, AR(1), of deviation 1."""


def generators(count, seed=0):
    return [torch_generator(seed, "test.editing", index) for index in range(count)]


def noise(count, seed=0):
    return initial_noise((M, F), generators(count, seed))


def data(count, seed=5):
    return noise(count, seed) @ torch.linalg.cholesky(CORRELATION).float().T


def gap(start=20, end=24):
    made = torch.zeros(1, 1, F, dtype=torch.bool)
    made[..., start:end] = True
    return made


def times_of(name, steps):
    return levels(make_scheduler(name), steps).tolist()


def amplitudes(objective, t):
    one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    t_1 = torch.tensor([t])
    return float(objective.add_noise(one, zero, t_1)), float(objective.add_noise(zero, one, t_1))


def knowing(objective, correlation=CORRELATION, mean=0.0):
    """The network without error for Gaussian data of this covariance along time and this mean."""
    values, vectors = torch.linalg.eigh(correlation)

    def denoise(x, timestep, t):
        alpha, sigma = amplitudes(objective, t)
        gain = alpha * values / (alpha**2 * values + sigma**2)
        x0 = mean + ((x - alpha * mean).double() @ vectors * gain @ vectors.T).float()
        return objective.target(x0, (x - alpha * x0) / sigma, torch.full((len(x),), t))

    return denoise


def conditional_mean(x0, made):
    known = ~made.flatten()
    weights = torch.linalg.solve(CORRELATION[known][:, known], CORRELATION[known][:, ~known])
    return x0.double()[..., known] @ weights


def misses(sampler, name, steps, monkeypatch):
    """How far the sampler's mean is from the exact one, over its norm; a linear sampler's mean is its answer to 0."""
    monkeypatch.setattr(editing, "initial_noise", lambda shape, given: torch.zeros(len(given), *shape))
    objective, x0, made = make_objective(name), data(8), gap()
    mean = sampler(
        knowing(objective), objective, times_of(name, steps), torch.zeros_like(x0), generators(8), Given(x0, made)
    )
    exact = conditional_mean(x0, made)
    return float((mean[..., made.flatten()] - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", KINDS)
def test_a_gap_in_gaussian_data_is_filled_with_the_exact_conditional_mean_which_replacing_misses(name, monkeypatch):
    assert misses(sample_given, name, 800, monkeypatch) < 0.05  # 0.037 to 0.042 measured
    assert misses(sample_replacing, name, 800, monkeypatch) > 0.5  # 0.62 measured, however many the steps


@pytest.mark.parametrize("name", KINDS)
def test_four_times_the_steps_halve_the_error_and_do_not_help_replacing(name, monkeypatch):
    few, many = (misses(sample_given, name, steps, monkeypatch) for steps in (50, 200))
    assert many < 0.55 * few  # 0.46 to 0.50 measured
    few, many = (misses(sample_replacing, name, steps, monkeypatch) for steps in (50, 200))
    assert many > 0.98 * few


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("start", [1.0, 0.6])
def test_what_is_kept_comes_back_bit_for_bit_whatever_the_network_says(name, start):
    objective, x0 = make_objective(name), data(2)
    silly = lambda x, timestep, t: torch.full_like(x, 17.0)  # noqa: E731
    for made in (gap(), torch.zeros(1, 1, 1, dtype=torch.bool)):
        out = sample_given(silly, objective, times_of(name, 5), noise(2), generators(2), Given(x0, made, start))
        kept = ~made.expand_as(x0)
        assert torch.equal(out[kept], x0[kept])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("steps", [1, 5, 24])
def test_where_all_is_made_it_is_what_the_solver_makes(name, steps):
    objective, scheduler = make_objective(name), make_scheduler(name)
    denoise = knowing(objective)
    whole = torch.ones(1, 1, 1, dtype=torch.bool)
    out = sample_given(denoise, objective, times_of(name, steps), noise(2), generators(2), Given(data(2), whole))
    expected = sample(denoise, scheduler, noise(2), steps)
    torch.testing.assert_close(out, expected, atol=2e-4, rtol=0)  # 2e-5 measured


@pytest.mark.parametrize("pull", [0.0, 3.0])
def test_a_batch_gives_what_its_items_give_alone_whole_ones_too(pull):
    objective, x0, times = make_objective("flow"), data(3), times_of("flow", 6)
    made = torch.cat([gap(), torch.ones(1, 1, F, dtype=torch.bool), gap(0, 10)])
    together = sample_given(knowing(objective), objective, times, noise(3), generators(3), Given(x0, made), pull=pull)
    for item in range(3):
        one = slice(item, item + 1)
        given = Given(x0[one], made[one])
        alone = sample_given(knowing(objective), objective, times, noise(3)[one], generators(3)[one], given, pull=pull)
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=0)  # of the matrix products


def test_pull_leads_the_made_cells_towards_what_the_known_ones_ask_for():
    """A network that errs in all cells alike is corrected where its error is seen."""
    objective, x0 = make_objective("flow"), data(4)
    wrong = lambda x, timestep, t: knowing(objective)(x, timestep, t) - 0.2 * x.mean(2, keepdim=True)  # noqa: E731
    times, given = times_of("flow", 12), Given(x0, gap())
    exact = conditional_mean(x0, gap())
    made = gap().flatten()
    errors = [
        float(
            (sample_given(wrong, objective, times, noise(4), generators(4), given, pull=pull)[..., made] - exact).norm()
        )
        for pull in (0.0, 0.2)
    ]
    assert errors[1] < errors[0]


def test_pull_has_no_say_where_nothing_is_known():
    objective, whole = make_objective("flow"), torch.ones(1, 1, 1, dtype=torch.bool)
    denoise, given = knowing(objective), Given(data(2), whole)
    outs = [
        sample_given(denoise, objective, times_of("flow", 4), noise(2), generators(2), given, pull=pull)
        for pull in (0.0, 10.0)
    ]
    torch.testing.assert_close(*outs, atol=1e-6, rtol=0)
    assert torch.isfinite(outs[1]).all()


@pytest.mark.parametrize("name", KINDS)
def test_the_less_noise_at_the_start_the_nearer_it_stays_to_the_given(name):
    objective, x0, whole = make_objective(name), data(4), torch.ones(1, 1, 1, dtype=torch.bool)
    away = [
        float(
            (
                sample_given(
                    knowing(objective), objective, times_of(name, 40), noise(4), generators(4), Given(x0, whole, start)
                )
                - x0
            ).norm()
        )
        for start in (0.05, 0.3, 0.6, 0.9)
    ]
    assert all(less < more for less, more in itertools.pairwise(away))
    assert away[0] < 0.1 * float(x0.norm())


@pytest.mark.parametrize("name", KINDS)
def test_restyling_from_a_prompt_to_itself_returns_the_source_exactly(name):
    objective, x0 = make_objective(name), data(2)
    given = Given(x0, torch.ones(1, 1, 1, dtype=torch.bool), start_of(0.9))
    same = knowing(objective)
    assert torch.equal(restyled(same, same, objective, times_of(name, 8), noise(2), generators(2), given), x0)


@pytest.mark.parametrize("name", ["flow", "v_prediction"])  # epsilon's noisiest level still holds 8 % of the source
def test_restyling_carries_a_sound_from_one_mean_to_another_and_keeps_its_shape(name):
    """Of two Gaussians that differ in their mean alone, the map of x0 that keeps the rest is adding the difference."""
    objective, x0 = make_objective(name), data(2)
    given = Given(x0, torch.ones(1, 1, 1, dtype=torch.bool), 1.0)
    networks = knowing(objective, mean=2.0), knowing(objective)
    out = restyled(*networks, objective, times_of(name, 100), noise(2), generators(2), given)
    torch.testing.assert_close(out - x0, torch.full_like(x0, 2.0), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_restyling_leaves_what_is_kept_bit_for_bit(name):
    objective, x0, made = make_objective(name), data(2), gap(10, 30)
    networks = knowing(objective, mean=2.0), knowing(objective)
    out = restyled(*networks, objective, times_of(name, 10), noise(2), generators(2), Given(x0, made))
    assert torch.equal(out[~made.expand_as(x0)], x0[~made.expand_as(x0)])
    assert float((out - x0)[made.expand_as(x0)].mean()) > 1.0


@pytest.mark.parametrize(("strength", "share"), [(0.3, 0.55), (0.5, 0.73), (0.7, 0.89), (0.9, 0.97), (1.0, 1.0)])
def test_strength_is_the_noise_share_of_audioldms_own_schedule(strength, share):
    assert start_of(strength) == pytest.approx(share, abs=0.025)  # 0.0204 measured at 0.5


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
def test_a_strength_out_of_its_range_is_refused(strength):
    with pytest.raises(UsageError, match="above 0"):
        start_of(strength)


@pytest.mark.parametrize("name", KINDS)
def test_the_levels_below_a_share_begin_with_it_and_are_the_schedulers_own(name):
    objective, own = make_objective(name), times_of(name, 20)
    assert levels_below(own, 1.0, objective) == own
    for share in (0.2, 0.5, 0.8):
        found = levels_below(own, share, objective)
        alpha, sigma = amplitudes(objective, found[0])
        assert sigma / (alpha + sigma) == pytest.approx(share, abs=2e-3)
        assert found[0] == time_of_share(share, objective)
        assert found[1:] == [t for t in own if t < found[0]]
        assert found[-1] == 0.0


@pytest.mark.parametrize("name", KINDS)
def test_the_levels_above_a_share_are_the_schedulers_own_and_then_none(name):
    objective, own = make_objective(name), times_of(name, 20)
    found = levels_above(own, objective, 0.4)
    assert found[:-1] == own[: len(found) - 1]
    assert found[-1] == 0.0
    shares = [sigma / (alpha + sigma) for alpha, sigma in (amplitudes(objective, t) for t in own[:-1])]
    assert len(found) - 1 == sum(share >= 0.4 for share in shares)
    assert 1 < len(found) < len(own)


def test_a_share_above_the_noisiest_level_begins_there():
    own = times_of("epsilon", 20)  # whose schedule ends at a share of 0.93
    assert levels_below(own, 0.99, make_objective("epsilon")) == own


@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchHeunDiscreteScheduler(),
        UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
        HeunDiscreteScheduler.from_config(make_scheduler("v_prediction").config),
        DPMSolverMultistepScheduler.from_config(make_scheduler("epsilon").config),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_solver_of_higher_order_is_refused_in_a_sentence(scheduler):
    with pytest.raises(UsageError, match=r"higher order.*take one of") as refusal:
        levels(scheduler, 8)
    assert "\n" not in str(refusal.value)


def test_solvers_of_first_order_give_their_levels():
    config = make_scheduler("epsilon").config
    expected = times_of("epsilon", 10)
    first_order = DPMSolverMultistepScheduler.from_config(config, solver_order=1)
    for scheduler in (DDPMScheduler.from_config(config), first_order):
        found = levels(scheduler, 10)
        assert len(found) == len(expected)
        assert found[-1] == 0.0
        assert bool((found[:-1] > found[1:]).all())


@pytest.mark.parametrize("name", KINDS)
def test_a_network_is_told_the_timesteps_of_the_solver_itself(name):
    scheduler, seen = make_scheduler(name), []
    sample(lambda x, timestep, t: seen.append(timestep[0]) or x, scheduler, noise(1), 7)
    told = make_objective(name).timestep(levels(scheduler, 7)[:-1])
    torch.testing.assert_close(told, torch.stack(seen), atol=1e-3, rtol=0)


def test_given_that_cannot_be_is_refused():
    x0 = data(2)
    with pytest.raises(SpecError, match="must be bool"):
        Given(x0, torch.ones(1, 1, F))
    with pytest.raises(SpecError, match="go with"):
        Given(x0, torch.ones(3, M, F, dtype=torch.bool))
    with pytest.raises(SpecError, match="share of noise"):
        Given(x0, gap(), 0.0)


def test_nothing_given_is_written_to():
    x0, first = data(2), noise(2)
    copies = x0.clone(), first.clone()
    objective = make_objective("flow")
    sample_given(knowing(objective), objective, times_of("flow", 3), first, generators(2), Given(x0, gap()), pull=1.0)
    assert torch.equal(x0, copies[0])
    assert torch.equal(first, copies[1])
