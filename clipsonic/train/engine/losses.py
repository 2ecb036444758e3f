"""What is remembered of a step's losses until they are logged: one row of numbers, on the device.

Guarantee: no wait for the device; the mean of the rows of several processes is the row of their whole batch.
Price: a number per step, and two for each figure that the lesson logs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipsonic.train.engine.lesson import Losses


def loss_row(losses: Losses) -> Tensor:
    """(1 + 2 K,) for K logged figures: the mean loss, then the weighted sum of each figure, then the sums of weights.

    Sums are per item of the batch, so rows from before and after a change of processes go together.
    """
    loss_B = losses.per_item.detach()
    pairs = [(values.detach().to(loss_B.dtype), weights.to(loss_B.dtype)) for values, weights in losses.logged.values()]
    sums = [(values * weights).mean() for values, weights in pairs]
    return torch.stack([loss_B.mean(), *sums, *(weights.mean() for _, weights in pairs)])


def summary(rows: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Of rows (N, 1 + 2 K) with K names: the mean loss, and the weighted mean of each figure that was met."""
    total = rows[:, 1:].sum(dim=0)
    sums, weights = total[: len(names)], total[len(names) :]
    figures = {name: float(sums[k] / weights[k]) for k, name in enumerate(names) if weights[k] > 0}
    return {"loss": float(rows[:, 0].mean()), **figures}


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
