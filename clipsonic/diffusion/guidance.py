"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).

Guarantee: scale 1 is the conditional prediction and scale 0 the unconditional one, bit for bit, each with a single
call of the network. Price: any other scale calls it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

C = TypeVar("C")


def guided(
    denoise: Callable[[Tensor, Tensor, C], Tensor],
    x_BMF: Tensor,
    timestep_B: Tensor,
    condition: C,
    null_condition: C,
    scale: float,
) -> Tensor:
    """null + scale (conditional - null), (B, M, F).

    Args:
        denoise: (x, timestep, condition) to a prediction; for every prediction type the combination is linear.
        null_condition: what to move away from: nothing, or a negative prompt.
        scale: above 1 follows the prompt more closely at the cost of variety.
    """
    if scale == 1.0:
        return denoise(x_BMF, timestep_B, condition)
    if scale == 0.0:
        return denoise(x_BMF, timestep_B, null_condition)
    null_BMF = denoise(x_BMF, timestep_B, null_condition)
    return torch.lerp(null_BMF, denoise(x_BMF, timestep_B, condition), scale)
