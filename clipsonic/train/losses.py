"""What is remembered of a step's losses until they are logged: one row of numbers, on the device.

Guarantee: no wait for the device; the mean of the rows of several processes is the row of their whole batch.
Price: nine numbers per step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_BINS = 4
"""Equal parts of the diffusion time whose losses are logged apart."""


def loss_row(loss_B: Tensor, t_B: Tensor) -> Tensor:
    """(1 + 2 * NUM_BINS,): the mean loss, then for each bin of t in [0, 1] the sum of its losses, then their number.

    Sums and numbers are per record of the batch, so rows from before and after a change of processes go together.
    """
    bin_B = (t_B * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    inside_BK = functional.one_hot(bin_B, NUM_BINS).to(loss_B.dtype)
    return torch.cat([loss_B.mean()[None], loss_B @ inside_BK / len(loss_B), inside_BK.mean(dim=0)])


def summary(rows: Tensor) -> dict[str, float]:
    """Of rows (N, 1 + 2 * NUM_BINS): the mean loss, and the mean loss in each bin that was met."""
    sums, counts = rows[:, 1 : 1 + NUM_BINS].sum(dim=0), rows[:, 1 + NUM_BINS :].sum(dim=0)
    bins = {
        f"loss_t/{index / NUM_BINS:g}_to_{(index + 1) / NUM_BINS:g}": float(sums[index] / counts[index])
        for index in range(NUM_BINS)
        if counts[index] > 0
    }
    return {"loss": float(rows[:, 0].mean()), **bins}


def clip_gradient(network: nn.Module, largest: float, sharded: bool) -> Tensor:
    """Scale the gradients so that their norm is at most `largest`; the result is the norm they had, of all shards."""
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    if not sharded:
        return torch.nn.utils.clip_grad_norm_(weights, largest)
    gradients = [weight.grad for weight in weights if weight.grad is not None and weight.grad.numel()]
    device = next(network.parameters()).device
    squared = (
        torch.nn.utils.get_total_norm(gradients).to(device).square() if gradients else torch.zeros((), device=device)
    )
    torch.distributed.all_reduce(squared)
    norm = squared.sqrt()
    torch.nn.utils.clip_grads_with_norm_(weights, largest, norm)
    return norm
