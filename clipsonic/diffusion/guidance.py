"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): how strong, at which noise levels, how tamed.

Guarantee: it says where two predictions are needed and how they are mixed, and asks no network: that is done in one
place, `pipeline/denoising.py`, for the pipeline and for training alike. Price: guided times need two predictions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipsonic.errors import UsageError

EVERYWHERE = (0.0, 1.0)
"""The interval of all diffusion times."""
_ROUNDING = 1e-6  # timesteps are float32 thousandths: a border that is written as 0.5 is inside


@dataclass(frozen=True)
class Guidance:
    """How a call is guided.

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


def rescaled(guided_BMF: Tensor, conditional_BMF: Tensor, share: float) -> Tensor:
    """Lin et al. 2023 (arXiv 2305.08891), eq. 15 and 16: share x guided x std(conditional) / std(guided), and the rest.

    Deviations are over each item's (M, F); linear predictions only, which all three types are.
    """
    wanted_B11 = conditional_BMF.float().std(dim=(1, 2), keepdim=True)
    found_B11 = guided_BMF.float().std(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return (guided_BMF * (share * wanted_B11 / found_B11 + (1.0 - share))).to(guided_BMF.dtype)
