"""Contrasting what belongs together with what does not, over the rows of all processes.

Guarantee: pure functions but for the gathering; gradients in several processes are those of one. Price: products of all
rows of the batch with each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipsonic.train.engine.draws import Draws

_NEVER = -1e4
"""A logit that takes no part; not infinite, so that a row without any other has a gradient of 0."""


class Weighing(NamedTuple):
    """How what does not belong together counts.

    Args:
        temperature: what cosines are divided by.
        twins: frames of two records at least so alike (a cosine) are never called wrong for each other.
        hardness: how much more those count that are alike, in logits per cosine (Robinson et al. 2021,
            arXiv 2010.04592).
        doubt: q of (1 - p ** q) / q instead of -log p, which counts the less what fits less: pairs that do not belong
            together teach little (Zhang and Sabuncu 2018, arXiv 1805.07836); 0 is -log p.
    """

    temperature: float
    twins: float
    hardness: float
    doubt: float


class _Gather(torch.autograd.Function):
    """The rows of all processes, one process after the other; each has a part in the losses of all, so gradients are
    summed over them (torch's own sends gradients that are not contiguous wrongly)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def of_all(rows: Tensor, draws: Draws) -> Tensor:
    """The rows of all processes, one process after the other, with their gradients.

    Process q gets sum_r dL_r/de_q for its embeddings e_q, where L_r is the mean over the B rows of process r; the mean
    over q that DDP makes of what follows is then (1/n) sum_r dL_r/dw, the gradient of the mean over all n B rows.
    """
    gathered: Tensor = _Gather.apply(rows) if draws.world_size > 1 else rows
    return gathered


def sounds_and_frames(sounds_NE: Tensor, frames_NKE: Tensor, own_B: Tensor, how: Weighing) -> tuple[Tensor, Tensor]:
    """(loss (B,), whether the record's own frame is nearest to its sound (B,)) of the rows `own_B` among N.

    Sound to frames and frames to sounds; each of a record's K frames is right, and no other of its own is wrong for it.
    """
    mine_BKE, count = frames_NKE[own_B], len(frames_NKE)
    to_frames_BNK = torch.einsum("be,nke->bnk", sounds_NE[own_B], frames_NKE) / how.temperature
    to_sounds_BKN = torch.einsum("bke,ne->bkn", mine_BKE, sounds_NE) / how.temperature
    alike_BN = (normalize(mine_BKE.mean(dim=1), dim=-1) @ normalize(frames_NKE.mean(dim=1), dim=-1).T).detach()
    is_own_BN = own_B[:, None] == torch.arange(count, device=own_B.device)
    left_out_BN = is_own_BN | (alike_BN >= how.twins)
    weight_BN = how.hardness * alike_BN
    right_BK = to_frames_BNK[torch.arange(len(own_B), device=own_B.device), own_B]
    wrong_BNK = (to_frames_BNK + weight_BN[..., None]).masked_fill(left_out_BN[..., None], _NEVER)
    by_sound_BK = _surprise(right_BK, wrong_BNK.flatten(1).logsumexp(dim=1, keepdim=True), how.doubt)
    wrong_BKN = (to_sounds_BKN + weight_BN[:, None]).masked_fill(left_out_BN[:, None], _NEVER)
    own_BK = to_sounds_BKN.gather(2, own_B[:, None, None].expand(-1, mine_BKE.shape[1], 1))[..., 0]
    by_frame_BK = _surprise(own_BK, wrong_BKN.logsumexp(dim=2), how.doubt)
    others_B = to_frames_BNK.masked_fill(left_out_BN[..., None], _NEVER).flatten(1).amax(dim=1)
    return 0.5 * (by_sound_BK + by_frame_BK).mean(dim=1), (right_BK.amax(dim=1) > others_B).float()


def _surprise(right: Tensor, wrong: Tensor, doubt: float) -> Tensor:
    """-log p of the right one beside the wrong ones, whose sum is exp(wrong), or what `doubt` makes of it."""
    bits = torch.logaddexp(right, wrong) - right
    return bits if doubt == 0.0 else -torch.expm1(-doubt * bits) / doubt
