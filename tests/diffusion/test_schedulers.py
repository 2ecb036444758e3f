"""Which schedulers pass and which are refused, with a reason and a cure."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from clipsonic.diffusion.objective import make_objective, sample_timesteps
from clipsonic.diffusion.sampling import sample
from clipsonic.diffusion.schedulers import check_scheduler, cosine_alphas_cumprod, make_scheduler
from clipsonic.errors import SpecError
from clipsonic.seeding import torch_generator

TYPES = ("flow", "epsilon", "v_prediction")


@pytest.mark.parametrize("prediction_type", TYPES)
def test_the_scheduler_made_for_a_type_passes_for_it_alone(prediction_type):
    for other in TYPES:
        if other == prediction_type:
            check_scheduler(make_scheduler(prediction_type), other)
        else:
            with pytest.raises(SpecError, match=other):
                check_scheduler(make_scheduler(prediction_type), other)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "kind", [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler]
)
def test_solvers_swapped_in_from_its_config_pass(prediction_type, kind):
    check_scheduler(kind.from_config(make_scheduler(prediction_type).config), prediction_type)


@pytest.mark.parametrize("kind", [FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler])
def test_flow_solvers_pass_for_flow(kind):
    check_scheduler(kind(), "flow")


def test_a_solver_told_to_use_flow_sigmas_is_a_flow_solver():
    solver = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    check_scheduler(solver, "flow")
    with pytest.raises(SpecError, match="flow"):
        check_scheduler(solver, "epsilon")


def test_another_noise_schedule_is_refused():
    with pytest.raises(SpecError, match="squaredcos_cap_v2"):
        check_scheduler(DDIMScheduler(clip_sample=False), "epsilon")


def test_clipping_to_one_is_refused():
    with pytest.raises(SpecError, match="clip_sample=False"):
        check_scheduler(DDIMScheduler(beta_schedule="squaredcos_cap_v2"), "epsilon")


def test_unknown_types_are_refused():
    for call in (make_scheduler, lambda name: check_scheduler(make_scheduler("flow"), name)):
        with pytest.raises(SpecError, match="sample"):
            call("sample")


def test_the_cosine_schedule_is_nichol_and_dhariwals():
    """alpha_bar(t) = cos^2((t + 0.008) / 1.008 * pi / 2), betas capped at 0.999 (arXiv 2102.09672, eq. 17)."""
    t = torch.arange(1001, dtype=torch.float64) / 1000
    bar = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    expected = torch.cumprod(1 - (1 - bar[1:] / bar[:-1]).clamp_max(0.999), dim=0)
    # diffusers multiplies 1000 float32 betas: 1000 roundings of 6e-8
    torch.testing.assert_close(cosine_alphas_cumprod().double(), expected, atol=6e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 12, 24, 50, 200])
@pytest.mark.parametrize("prediction_type", TYPES)
def test_sampling_begins_at_the_noisiest_level_that_training_draws_whatever_the_steps(prediction_type, steps):
    asked = []

    def denoise(x, timestep, *_):
        asked.append(timestep[0].item())
        return torch.zeros_like(x)

    sample(denoise, make_scheduler(prediction_type), torch.zeros(1, 2, 2), steps)
    objective = make_objective(prediction_type, **({"logit_mean": 1.4} if prediction_type == "flow" else {}))
    generator = torch_generator(0, "test.noisiest")
    drawn = objective.timestep(torch.cat([sample_timesteps(objective, 64, generator) for _ in range(300)]))
    # flow's times are logit-normal up to 1: the noisiest of 19,200 draws is 0.993; the others' are whole steps
    assert drawn.max().item() == pytest.approx(asked[0], abs=10.0 if prediction_type == "flow" else 0.0)
    assert drawn.max().item() <= asked[0]


@pytest.mark.parametrize(
    "kind", [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler]
)
def test_solvers_swapped_in_begin_there_too(kind):
    for prediction_type, last in (("epsilon", 949), ("v_prediction", 999)):
        solver = kind.from_config(make_scheduler(prediction_type).config)
        solver.set_timesteps(10)
        assert float(solver.timesteps[0]) == last


def test_the_levels_of_epsilon_end_where_its_error_is_not_yet_multiplied_by_much():
    alphas = make_scheduler("epsilon").alphas_cumprod
    assert (1.0 / alphas[-1] - 1.0).sqrt() == pytest.approx(12.8, abs=0.1)
    assert alphas[-1] == pytest.approx(0.0061, abs=1e-4)  # 0.0047 in Stable Diffusion


def test_a_scheduler_that_begins_in_the_middle_of_the_noise_is_refused():
    betas = DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas.tolist()
    with pytest.raises(SpecError, match="squaredcos_cap_v2"):
        check_scheduler(DDIMScheduler(500, trained_betas=betas[:500], clip_sample=False), "epsilon")
    as_epsilon = DDIMScheduler(950, trained_betas=betas[:950], clip_sample=False, prediction_type="v_prediction")
    with pytest.raises(SpecError, match="squaredcos_cap_v2"):
        check_scheduler(as_epsilon, "v_prediction")
    check_scheduler(DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False), "epsilon")  # as saved before


@pytest.mark.parametrize("prediction_type", TYPES)
def test_a_scheduler_survives_saving(tmp_path, prediction_type):
    scheduler = make_scheduler(prediction_type)
    scheduler.save_pretrained(tmp_path)
    check_scheduler(type(scheduler).from_pretrained(tmp_path), prediction_type)
