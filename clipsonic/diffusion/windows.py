"""Mels longer than a network's segment, denoised as one: overlapping windows that agree at every step.

After MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113): there is one long state; at each step every window of it
is predicted, and where windows overlap the state moves by the weighted mean of what they say. Guarantee: pure tensors,
any solver; where all windows say the same, so does the whole. Price: time grows with length / (segment - overlap);
memory beside the state is that of `MAX_WINDOWS` windows, however long the mel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clipsonic.diffusion.objective import DenoiseFn

MAX_WINDOWS = 8
"""Windows that the network sees at once."""
OVERLAP = 0.5
"""Least share of a window that it has in common with the next: a five-minute film of 44 scenes was named 33, 36 and 37
times rightly with 0.25, 0.5 and 0.75 (35 of 43 scenes alone), and three quarters cost twice as much as one half."""

Places = list[tuple[int, int]]
"""Windows as (item of the batch, first column), item by item."""


def window_starts(num_columns: int, length: int) -> tuple[int, ...]:
    """First columns of windows of `length`, evenly spread over `num_columns`, the last one ending with them.

    Neighbours share at least OVERLAP of a window; a mel of one window's length or less has one, at 0.
    """
    if num_columns <= length:
        return (0,)
    spare = num_columns - length
    count = 1 + math.ceil(spare / (length * (1.0 - OVERLAP)))
    return tuple(round(spare * place / (count - 1)) for place in range(count))


def window_weight(length: int) -> Tensor:
    """How much each column of a window has to say, (F,): 1 in the middle, sin^2 ramps of OVERLAP at its ends, not 0."""
    ramp = max(1, round(OVERLAP * length))
    column_F = torch.arange(length, dtype=torch.float32) + 0.5
    nearest_F = torch.minimum(column_F, length - column_F)
    return torch.sin(0.5 * math.pi * (nearest_F / ramp).clamp_max(1.0)).square()


def in_windows(
    bind: Callable[[slice], DenoiseFn], num_items: int, starts: Sequence[int], length: int, num_columns: int
) -> DenoiseFn:
    """A denoiser of (B, M, num_columns) out of one of windows (K, M, length), K at most MAX_WINDOWS.

    Args:
        bind: from a slice of all windows, item by item, to the network with their conditions bound.
        num_items: B.
        starts: of the windows, as `window_starts` gives them.
    """
    places: Places = [(item, start) for item in range(num_items) for start in starts]
    groups = [slice(at, at + MAX_WINDOWS) for at in range(0, len(places), MAX_WINDOWS)]
    networks = [bind(group) for group in groups]
    weight_F = window_weight(length)
    total_F = torch.zeros(num_columns)
    for start in starts:
        total_F[start : start + length] += weight_F

    def denoise(x_BMF: Tensor, timestep_B: Tensor) -> Tensor:
        weight, said_BMF = weight_F.to(x_BMF.device), torch.zeros_like(x_BMF)
        for group, network in zip(groups, networks, strict=True):
            x_KMF = torch.stack([x_BMF[item, :, start : start + length] for item, start in places[group]])
            out_KMF = network(x_KMF, timestep_B[[item for item, _ in places[group]]])
            for (item, start), out_MF in zip(places[group], out_KMF, strict=True):
                said_BMF[item, :, start : start + length] += weight * out_MF
        return said_BMF / total_F.to(x_BMF.device)

    return denoise
