"""What each training sample sees of its frames: one of them, their mean, all of them with their times, or nothing.

Drawing the three kinds lets one model serve picture, text and video prompts; seeing nothing lets it be guided.
Guarantee: a pure function of its arguments, on the device of the frames, without waiting for it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.models.conditioner import Condition, pooled_condition
from clipsonic.specs import GLOBAL_TIME_S

GLOBAL, POOLED, TIMED = range(3)


def draw_condition(
    frames_BSE: Tensor,
    times_s_BS: Tensor,
    mask_BS: Tensor,
    generator: torch.Generator,
    *,
    shares: tuple[float, float, float] = (1.0, 1.0, 1.0),
    dropout: float = 0.0,
    embed_noise_std: float = 0.0,
) -> Condition:
    """A condition per sample, (B, S) tokens; global ones stand at index 0.

    Args:
        frames_BSE: unit vectors.
        mask_BS: True where there is a frame; every row has one.
        generator: on the frames' device.
        shares: relative weights of one global frame, pooled frames, timed frames.
        dropout: probability of seeing nothing.
        embed_noise_std: expected length of the noise added to each unit vector before it is made one again.
    """
    frames_BSE = add_embed_noise(frames_BSE, embed_noise_std, generator)
    kind_B = draw_kinds(len(frames_BSE), shares, generator)
    picked_B1E = _one_frame(frames_BSE, mask_BS, generator)
    pooled_B1E = pooled_condition(frames_BSE, mask_BS).tokens
    global_B1E = torch.where((kind_B == GLOBAL)[:, None, None], picked_B1E, pooled_B1E)
    timed_B = kind_B == TIMED
    first_only_BS = functional.one_hot(torch.zeros_like(kind_B), mask_BS.shape[1]).bool()
    drawn = Condition(
        torch.where(timed_B[:, None, None], frames_BSE, global_B1E),
        torch.where(timed_B[:, None], times_s_BS, GLOBAL_TIME_S),
        torch.where(timed_B[:, None], mask_BS, first_only_BS),
    )
    return drawn.keep_where(_uniform(len(frames_BSE), generator) >= dropout)


def draw_kinds(batch: int, shares: tuple[float, float, float], generator: torch.Generator) -> Tensor:
    """GLOBAL, POOLED or TIMED for each sample, (B,) int64, with probabilities in proportion to `shares`."""
    edges = torch.tensor(shares, dtype=torch.float64).cumsum(0) / sum(shares)
    first, second = (float(edge) for edge in edges[:2])
    uniform_B = _uniform(batch, generator)
    return (uniform_B >= first).long() + (uniform_B >= second).long()


def add_embed_noise(frames_BSE: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Unit vectors turned by Gaussian noise whose expected length is `std`."""
    if std == 0.0:
        return frames_BSE
    noise_BSE = torch.randn(frames_BSE.shape, generator=generator, device=frames_BSE.device)
    return functional.normalize(frames_BSE + noise_BSE * (std / frames_BSE.shape[-1] ** 0.5), dim=-1)


def _one_frame(frames_BSE: Tensor, mask_BS: Tensor, generator: torch.Generator) -> Tensor:
    """One of each sample's frames, uniformly, (B, 1, E)."""
    lot_BS = torch.rand(mask_BS.shape, generator=generator, device=mask_BS.device)
    index_B = lot_BS.masked_fill(~mask_BS, -1.0).argmax(dim=1)
    return frames_BSE.gather(1, index_B[:, None, None].expand(-1, 1, frames_BSE.shape[-1]))


def _uniform(batch: int, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, generator=generator, device=generator.device)
