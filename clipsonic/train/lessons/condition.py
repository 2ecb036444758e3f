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
from clipsonic.train.engine.draws import Draws

GLOBAL, POOLED, TIMED = range(3)


def draw_condition(
    frames_BSE: Tensor,
    times_s_BS: Tensor,
    mask_BS: Tensor,
    draws: Draws,
    *,
    shares: tuple[float, float, float] = (1.0, 1.0, 1.0),
    dropout: float = 0.0,
    embed_noise_std: float = 0.0,
) -> Condition:
    """A condition per sample, (B, S) tokens; global ones stand at index 0.

    Args:
        frames_BSE: unit vectors.
        mask_BS: True where there is a frame; every row has one.
        draws: on the frames' device; what a row draws does not depend on S, the padding of its batch. With noise on
            the embeddings it is the last to draw from them.
        shares: relative weights of one global frame, pooled frames, timed frames.
        dropout: probability of seeing nothing.
        embed_noise_std: expected length of the noise added to each unit vector before it is made one again.
    """
    kind_B, lot_B, kept_B = draw_kinds(draws, shares), draws.uniform(), draws.uniform() >= dropout
    if embed_noise_std > 0.0:
        frames_BSE = turned(frames_BSE, draws.last_normal(*frames_BSE.shape[1:]), embed_noise_std)
    picked_B1E = _one_frame(frames_BSE, mask_BS, lot_B)
    pooled_B1E = pooled_condition(frames_BSE, mask_BS).tokens
    global_B1E = torch.where((kind_B == GLOBAL)[:, None, None], picked_B1E, pooled_B1E)
    timed_B = kind_B == TIMED
    first_only_BS = functional.one_hot(torch.zeros_like(kind_B), mask_BS.shape[1]).bool()
    drawn = Condition(
        torch.where(timed_B[:, None, None], frames_BSE, global_B1E),
        torch.where(timed_B[:, None], times_s_BS, GLOBAL_TIME_S),
        torch.where(timed_B[:, None], mask_BS, first_only_BS),
    )
    return drawn.keep_where(kept_B)


def draw_kinds(draws: Draws, shares: tuple[float, float, float]) -> Tensor:
    """GLOBAL, POOLED or TIMED for each sample, (B,) int64, with probabilities in proportion to `shares`."""
    edges = torch.tensor(shares, dtype=torch.float64).cumsum(0) / sum(shares)
    first, second = (float(edge) for edge in edges[:2])
    uniform_B = draws.uniform()
    return (uniform_B >= first).long() + (uniform_B >= second).long()


def turned(vectors: Tensor, noise: Tensor, std: float) -> Tensor:
    """Unit vectors (..., E) turned by standard normal noise (..., E), scaled to an expected length of `std`."""
    return functional.normalize(vectors + noise * (std / vectors.shape[-1] ** 0.5), dim=-1)


def _one_frame(frames_BSE: Tensor, mask_BS: Tensor, lot_B: Tensor) -> Tensor:
    """One of each sample's frames, (B, 1, E): with n of them number floor(n * lot), so each as often."""
    number_B = (lot_B * mask_BS.sum(dim=1)).long()
    chosen_BS = mask_BS & (mask_BS.cumsum(dim=1) - 1 == number_B[:, None])
    index_B = chosen_BS.long().argmax(dim=1)
    return frames_BSE.gather(1, index_B[:, None, None].expand(-1, 1, frames_BSE.shape[-1]))
