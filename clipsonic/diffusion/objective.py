"""What a denoiser learns: how a mel is noised at time t, what the network must then say, and the loss.

Time t in [0, 1] runs from clean (0) to noise (1) for every objective; the network is told `timestep(t)`, a float in
[0, 1000]. Guarantee: everything here agrees with the diffusers schedulers that `make_scheduler` gives, so that a
network without error is sampled back to x0. Price: none, it is arithmetic in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from clipsonic.diffusion.schedulers import (
    NUM_LEVELS,
    NUM_TRAIN_TIMESTEPS,
    PREDICTION_TYPES,
    check_scheduler,
    cosine_alphas_cumprod,
    make_scheduler,
)
from clipsonic.errors import SpecError

__all__ = [
    "PREDICTION_TYPES",
    "DenoiseFn",
    "Epsilon",
    "Objective",
    "RectifiedFlow",
    "VPrediction",
    "check_scheduler",
    "loss_per_item",
    "make_objective",
    "make_scheduler",
    "sample_timesteps",
    "spread_uniform",
]

DenoiseFn = Callable[[Tensor, Tensor], Tensor]
"""A network with its condition bound: (x_BMF, timestep_B) to its prediction (B, M, F)."""


class Objective(Protocol):
    """One way of noising, and what is predicted of it."""

    prediction_type: str

    def add_noise(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """x_t, the noised mel."""

    def target(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """What the network must say of x_t."""

    def x0_from(self, prediction_BMF: Tensor, x_BMF: Tensor, t_B: Tensor) -> Tensor:
        """The clean mel that a prediction at x_t implies."""

    def timestep(self, t_B: Tensor) -> Tensor:
        """The time as the network and the scheduler count it: float in [0, 1000]."""

    def sample_t(self, batch: int, generator: torch.Generator) -> Tensor:
        """Times (B,) for training, on the generator's device."""

    def weight(self, t_B: Tensor) -> Tensor:
        """Weight (B,) of the squared error."""


class RectifiedFlow:
    """Straight lines from noise to data (Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747).

    x_t = (1 - t) x0 + t noise; v = noise - x0. Training times are logit-normal (Esser et al. 2024, arXiv 2403.03206,
    section 3.1), which puts the effort where v is hardest to say.

    Args:
        logit_mean, logit_std: of logit(t).
    """

    prediction_type = "flow"

    def __init__(self, logit_mean: float = 0.0, logit_std: float = 1.0) -> None:
        self.logit_mean = logit_mean
        self.logit_std = logit_std

    def add_noise(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """(1 - t) x0 + t noise."""
        t = _column(t_B, x0_BMF)
        return (1.0 - t) * x0_BMF + t * noise_BMF

    def target(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """noise - x0, whatever the time."""
        return noise_BMF - x0_BMF

    def x0_from(self, prediction_BMF: Tensor, x_BMF: Tensor, t_B: Tensor) -> Tensor:
        """x_t - t v."""
        return x_BMF - _column(t_B, x_BMF) * prediction_BMF

    def timestep(self, t_B: Tensor) -> Tensor:
        """1000 t."""
        return t_B * float(NUM_TRAIN_TIMESTEPS)

    def sample_t(self, batch: int, generator: torch.Generator) -> Tensor:
        """Logit-normal times, spread evenly over the batch in probability."""
        quantile = spread_uniform(batch, generator).clamp(1e-6, 1.0 - 1e-6)
        normal = torch.special.ndtri(quantile)
        return torch.sigmoid(self.logit_mean + self.logit_std * normal)

    def weight(self, t_B: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t_B)


class _CosineDiffusion(nn.Module):
    """Variance-preserving noise on diffusers' `squaredcos_cap_v2` schedule (Nichol and Dhariwal, arXiv 2102.09672).

    A module, so that its table lies where the network lies; it is not saved.

    Args:
        min_snr_gamma: clip the weight at this signal-to-noise ratio (Hang et al. 2023, arXiv 2303.09556, eq. 8);
            None weighs all times alike.
    """

    prediction_type = ""
    alphas_cumprod: Tensor

    def __init__(self, min_snr_gamma: float | None = None) -> None:
        super().__init__()
        self.register_buffer("alphas_cumprod", cosine_alphas_cumprod(), persistent=False)
        self.min_snr_gamma = min_snr_gamma

    def add_noise(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """alpha x0 + sigma noise."""
        alpha, sigma = self._alpha_sigma(t_B, x0_BMF)
        return alpha * x0_BMF + sigma * noise_BMF

    def timestep(self, t_B: Tensor) -> Tensor:
        """The step 0 .. 999 that t falls into."""
        return _step(t_B).to(t_B.dtype)

    def sample_t(self, batch: int, generator: torch.Generator) -> Tensor:
        """Uniform times up to the level that sampling begins at, spread evenly over the batch."""
        return spread_uniform(batch, generator) * (NUM_LEVELS[self.prediction_type] / NUM_TRAIN_TIMESTEPS)

    def _alpha_sigma(self, t_B: Tensor, like_BMF: Tensor) -> tuple[Tensor, Tensor]:
        squared = self.alphas_cumprod[_step(t_B)]
        return _column(squared.sqrt(), like_BMF), _column((1.0 - squared).sqrt(), like_BMF)

    def _clipped_snr_over(self, t_B: Tensor, *, plus_one: bool) -> Tensor:
        if self.min_snr_gamma is None:
            return torch.ones_like(t_B)
        squared = self.alphas_cumprod[_step(t_B)]
        snr = squared / (1.0 - squared)
        return snr.clamp_max(self.min_snr_gamma) / (snr + 1.0 if plus_one else snr)


class Epsilon(_CosineDiffusion):
    """The network says the noise (Ho et al. 2020, arXiv 2006.11239, eq. 14)."""

    prediction_type = "epsilon"

    def target(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """The noise itself."""
        return noise_BMF

    def x0_from(self, prediction_BMF: Tensor, x_BMF: Tensor, t_B: Tensor) -> Tensor:
        """(x_t - sigma eps) / alpha; an error of eps is multiplied by up to 13 in the times that are trained on."""
        alpha, sigma = self._alpha_sigma(t_B, x_BMF)
        return (x_BMF - sigma * prediction_BMF) / alpha

    def weight(self, t_B: Tensor) -> Tensor:
        """min(snr, gamma) / snr."""
        return self._clipped_snr_over(t_B, plus_one=False)


class VPrediction(_CosineDiffusion):
    """The network says v = alpha noise - sigma x0 (Salimans and Ho 2022, arXiv 2202.00512)."""

    prediction_type = "v_prediction"

    def target(self, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
        """alpha noise - sigma x0."""
        alpha, sigma = self._alpha_sigma(t_B, x0_BMF)
        return alpha * noise_BMF - sigma * x0_BMF

    def x0_from(self, prediction_BMF: Tensor, x_BMF: Tensor, t_B: Tensor) -> Tensor:
        """alpha x_t - sigma v."""
        alpha, sigma = self._alpha_sigma(t_B, x_BMF)
        return alpha * x_BMF - sigma * prediction_BMF

    def weight(self, t_B: Tensor) -> Tensor:
        """min(snr, gamma) / (snr + 1)."""
        return self._clipped_snr_over(t_B, plus_one=True)


def make_objective(name: str, *, min_snr_gamma: float | None = None, logit_mean: float = 0.0) -> Objective:
    """The objective of this name: flow, epsilon or v_prediction; `logit_mean` is flow's.

    Raises:
        SpecError: an unknown name, or min_snr_gamma with flow.
    """
    if name == "flow":
        if min_snr_gamma is not None:
            raise SpecError(f"min_snr_gamma {min_snr_gamma} is for epsilon and v_prediction: leave it out with flow")
        return RectifiedFlow(logit_mean)
    if name == "epsilon":
        return Epsilon(min_snr_gamma)
    if name == "v_prediction":
        return VPrediction(min_snr_gamma)
    raise SpecError(f"objective {name!r} is unknown: choose one of {', '.join(PREDICTION_TYPES)}")


def sample_timesteps(objective: Objective, batch: int, generator: torch.Generator) -> Tensor:
    """Training times t (B,) in [0, 1], on the generator's device."""
    return objective.sample_t(batch, generator)


def loss_per_item(objective: Objective, denoise: DenoiseFn, x0_BMF: Tensor, noise_BMF: Tensor, t_B: Tensor) -> Tensor:
    """Weighted mean squared error of each item, (B,) float32: w(t) mean |denoise(x_t, timestep) - target|^2."""
    prediction_BMF = denoise(objective.add_noise(x0_BMF, noise_BMF, t_B), objective.timestep(t_B))
    error_BMF = prediction_BMF.float() - objective.target(x0_BMF, noise_BMF, t_B).float()
    return objective.weight(t_B).float() * error_BMF.square().mean(dim=(1, 2))


def spread_uniform(batch: int, generator: torch.Generator) -> Tensor:
    """(B,) uniform in [0, 1), evenly spaced with one random shift (Kingma et al. 2021, arXiv 2107.00630, app. I.1).

    Each entry alone is uniform; together they cover all times in every batch, which makes the loss less noisy.
    """
    device = generator.device
    shift = torch.rand(1, generator=generator, device=device)
    return (shift + torch.arange(batch, device=device) / batch) % 1.0


def _step(t_B: Tensor) -> Tensor:
    return (t_B * NUM_TRAIN_TIMESTEPS).long().clamp(0, NUM_TRAIN_TIMESTEPS - 1)


def _column(values_B: Tensor, like_BMF: Tensor) -> Tensor:
    return values_B.to(like_BMF.device, like_BMF.dtype).view(-1, *(1,) * (like_BMF.ndim - 1))
