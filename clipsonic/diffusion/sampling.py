"""From noise to a mel: the solver loop and its guidance, shared by the pipeline and by training's previews.

Guarantee: a pure function. The scheduler it is given is copied, the noise is not written to, every draw comes from
the generators passed in, so batched equals single. Noise levels are numbers of the host, so no step waits for the
device. Guidance says where two predictions are needed and how they are mixed, and asks no network: that is done in one
place, `pipeline/denoising.py`. Price: the copy of a scheduler (about 0.1 ms); guided times need two predictions.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.schedulers import NUM_TRAIN_TIMESTEPS, is_flow_scheduler
from clipsonic.errors import UsageError

StepFn = Callable[[Tensor, Tensor, float], Tensor]
"""A network with its condition bound, (x_BMF, timestep_B, t) to its prediction; t in [0, 1] is the level of all items,
as a number of the host."""
Observer = Callable[[int, int, Tensor], None]
"""Called after every solver step with (steps done, steps in all, x_BMF)."""

EVERYWHERE = (0.0, 1.0)
"""The interval of all diffusion times."""
_FIRST_ORDER = (
    "FlowMatchEulerDiscreteScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
)
_ROUNDING = 1e-6  # timesteps are float32 thousandths: a border that is written as 0.5 is inside


@dataclass(frozen=True)
class Guidance:
    """How a call is guided, without a classifier (Ho and Salimans 2022, arXiv 2207.12598).

    Args:
        scale: 1 is without guidance; above it the prompt is followed more closely, at the cost of variety.
        interval: diffusion times (low, high) in which it acts, 0 clean and 1 noise; outside of it the network is asked
            once, with the prompt alone (Kynkaanniemi et al. 2024, arXiv 2404.07724).
        rescale: share of the guided prediction that gets the deviation of the conditional one, 0 to 1, against
            overdriven sound at large scales (Lin et al. 2023, arXiv 2305.08891, section 3.4).

    Raises:
        UsageError: a number out of its range.
    """

    scale: float = 1.0
    interval: Sequence[float] = EVERYWHERE
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise UsageError(
                f"guidance_scale {self.scale} must be a finite number: 1 is without guidance, 1.5 to 4 are usual"
            )
        if len(self.interval) != 2 or not 0.0 <= self.interval[0] <= self.interval[1] <= 1.0:
            raise UsageError(
                f"guidance_interval {list(self.interval)} must be two diffusion times, 0 (clean) <= low <= high <= 1 "
                "(noise): give 0 1 to guide everywhere"
            )
        if not 0.0 <= self.rescale <= 1.0:
            raise UsageError(f"guidance_rescale {self.rescale} must be from 0 to 1: 0 leaves the prediction as it is")

    def acts_at(self, t: float) -> bool:
        """Whether both predictions are needed at this diffusion time, 0 clean and 1 noise."""
        low, high = self.interval
        return self.scale != 1.0 and low - _ROUNDING <= t <= high + _ROUNDING

    def mixed(self, away_BMF: Tensor, conditional_BMF: Tensor) -> Tensor:
        """away + scale (conditional - away), then the deviation of each item led back by `rescale`."""
        guided_BMF = torch.lerp(away_BMF, conditional_BMF, self.scale)
        return rescaled(guided_BMF, conditional_BMF, self.rescale) if self.rescale else guided_BMF


def initial_noise(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise (B, *shape), float32 on the CPU, item b from generators[b]: the same in any batch."""
    return torch.stack(
        [torch.randn(tuple(shape), generator=generator, device=generator.device).cpu() for generator in generators]
    )


@torch.no_grad()
def sample(
    denoise: StepFn,
    scheduler: Any,
    noise_BMF: Tensor,
    num_inference_steps: int,
    *,
    generators: Sequence[torch.Generator] | None = None,
    observer: Observer | None = None,
) -> Tensor:
    """Solve from noise to x0, (B, M, F) float32.

    Args:
        denoise: the network with condition and guidance bound.
        scheduler: a diffusers scheduler that `check_scheduler` accepts; it is not changed.
        noise_BMF: one standard normal draw per item.
        num_inference_steps: solver steps; a second-order solver such as Heun calls the network nearly twice as often.
        generators: one per item, needed only by solvers that add noise on the way.
        observer: sees every step; it must not write to x.

    Raises:
        UsageError: num_inference_steps is below 1, or more than the scheduler has levels.
    """
    solver = _solver(scheduler, num_inference_steps)
    options = _step_options(solver, generators)
    x_BMF = noise_BMF.float() * float(solver.init_noise_sigma if hasattr(solver, "init_noise_sigma") else 1.0)
    times = _network_times(solver).tolist()
    for index, (timestep, time) in enumerate(zip(solver.timesteps, times, strict=True)):
        scaled_BMF = solver.scale_model_input(x_BMF, timestep) if hasattr(solver, "scale_model_input") else x_BMF
        prediction_BMF = denoise(
            scaled_BMF, torch.full((len(x_BMF),), time, device=x_BMF.device), time / NUM_TRAIN_TIMESTEPS
        )
        x_BMF = solver.step(prediction_BMF.float(), timestep, x_BMF, return_dict=False, **options)[0]
        if observer is not None:
            observer(index + 1, len(times), x_BMF)
    return x_BMF


def num_network_steps(scheduler: Any, num_inference_steps: int) -> int:
    """How many solver steps (calls of `denoise`) `sample` will make: for a progress bar."""
    return len(_solver(scheduler, num_inference_steps).timesteps)


def levels(scheduler: Any, num_inference_steps: int) -> Tensor:
    """The diffusion times t that a scheduler of first order walks through, (steps + 1,) float32, from noise to 0.

    Raises:
        UsageError: a solver of higher order, which does not go from one level to the next on its own.
    """
    solver = _solver(scheduler, num_inference_steps)
    if not (type(scheduler).__name__ in _FIRST_ORDER or solver.config.get("solver_order") == 1):
        raise UsageError(
            f"scheduler {type(scheduler).__name__} takes steps of higher order, and here its levels alone are used: "
            f"take one of {', '.join(_FIRST_ORDER)}, or solver_order=1"
        )
    if is_flow_scheduler(scheduler):
        sigmas: Tensor = solver.sigmas
        return sigmas.float()
    times = (solver.timesteps.float().floor() + 0.5) / NUM_TRAIN_TIMESTEPS  # in the middle, so that it is this step
    return torch.cat([times, torch.zeros(1)])


def num_evaluations(scheduler: Any, num_inference_steps: int, guidance: Guidance) -> int:
    """How many predictions of the network one sound costs: two at each guided time, one elsewhere."""
    times = _solver(scheduler, num_inference_steps).timesteps / NUM_TRAIN_TIMESTEPS
    return sum(2 if guidance.acts_at(float(t)) and guidance.scale != 0.0 else 1 for t in times)


def _solver(scheduler: Any, num_inference_steps: int) -> Any:
    """A private copy with its timesteps set, on the host, to walk through from the first.

    FlowMatchEuler's own default runs to sigma 0.001 and then spends a whole step on the last thousandth; uniform
    sigmas 1, 1 - 1/N, ..., 1/N (shifted if its config says so) make N equal steps. Where the levels are no multiple of
    the steps, diffusers may add one at -1, which means the noisiest.
    """
    if num_inference_steps < 1:
        raise UsageError(f"num_inference_steps {num_inference_steps} must be at least 1")
    solver = copy.deepcopy(scheduler)
    if type(solver).__name__ == "FlowMatchEulerDiscreteScheduler":
        solver.set_timesteps(sigmas=torch.linspace(1.0, 1.0 / num_inference_steps, num_inference_steps).tolist())
    else:
        try:
            solver.set_timesteps(num_inference_steps)
        except ValueError as error:
            raise UsageError(f"num_inference_steps {num_inference_steps} cannot be ({error}): give fewer") from None
    if type(solver).__name__ == "DDIMScheduler" and not solver.config.get("clip_sample", False):
        solver = _by_place(solver)
    if bool((solver.timesteps < 0).any()):
        raise UsageError(
            f"num_inference_steps {num_inference_steps} cannot be spaced by {type(solver).__name__}: "
            "give one more or less"
        )
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(0)  # else it looks for the first timestep among all
    return solver


def _by_place(ddim: Any) -> Any:
    """The solver that goes from each of DDIM's timesteps to its next, and from the last to no noise.

    Diffusers' own goes down by the levels per step without their fraction, past or short of where it is asked next, and
    may end in noise. DPM-Solver++ of first order is DDIM (Lu et al. 2022, arXiv 2211.01095, section 4.1).
    """
    from diffusers import DPMSolverMultistepScheduler

    config = {**ddim.config, "solver_order": 1, "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}
    solver: Any = DPMSolverMultistepScheduler.from_config(config)
    solver.set_timesteps(timesteps=[int(t) for t in ddim.timesteps if t >= 0])
    return solver


def _network_times(solver: Any) -> Tensor:
    """What the network is told at each step, float32.

    Solvers made for flow by `use_flow_sigmas` count their steps in whole thousandths, 999 where the noise level is 1:
    the network is told the level itself, which their arithmetic uses (an oracle is off by 1e-2 otherwise).
    """
    timesteps, sigmas = solver.timesteps.float(), getattr(solver, "sigmas", None)
    if not solver.config.get("use_flow_sigmas", False) or sigmas is None or len(sigmas) != len(timesteps) + 1:
        return timesteps
    times: Tensor = sigmas[:-1].float() * NUM_TRAIN_TIMESTEPS
    return times


def _step_options(solver: Any, generators: Sequence[torch.Generator] | None) -> dict[str, Any]:
    if generators is None or "generator" not in inspect.signature(solver.step).parameters:
        return {}
    return {"generator": list(generators)}


def rescaled(guided_BMF: Tensor, conditional_BMF: Tensor, share: float) -> Tensor:
    """Lin et al. 2023 (arXiv 2305.08891), eq. 15 and 16: share x guided x std(conditional) / std(guided), and the rest.

    Deviations are over each item's (M, F); linear predictions only, which all three types are.
    """
    wanted_B11 = conditional_BMF.float().std(dim=(1, 2), keepdim=True)
    found_B11 = guided_BMF.float().std(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return (guided_BMF * (share * wanted_B11 / found_B11 + (1.0 - share))).to(guided_BMF.dtype)
