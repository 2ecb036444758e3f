"""Batch normalisation over the batch of all processes, on CPUs too, where torch's SyncBatchNorm is refused.

Guarantee: on one process it is nn.BatchNorm2d bit for bit, with the same names in the state dict; on several,
statistics and gradients are those of the whole batch to rounding, and the buffers of all processes are equal. Price:
two small sums over the processes in each layer, and two more for their gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d (Ioffe and Szegedy 2015, arXiv 1502.03167) whose batch is that of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """x (B, C, H, W) to the same shape, B and H W the same in all processes."""
        several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        if not (self.training and several):
            return super().forward(input)
        count = input.numel() // input.shape[1] * torch.distributed.get_world_size()
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            mean = _mean(x, count)
            centred = x - mean
            variance = _mean(centred.square(), count)
            self._remember(mean.flatten(), variance.flatten() * count / (count - 1))
            scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
            return (centred * scale + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        for buffer, value in ((self.running_mean, mean_C), (self.running_var, variance_C)):
            assert isinstance(buffer, Tensor)
            buffer.lerp_(value, self.momentum or 0.0)
        assert isinstance(self.num_batches_tracked, Tensor)
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each has a part in the losses of all, so gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def _mean(x: Tensor, count: int) -> Tensor:
    """(1, C, 1, 1), over all processes."""
    mean: Tensor = _Sum.apply(x.sum(dim=(0, 2, 3), keepdim=True)) / count
    return mean


def over_processes(network: nn.Module) -> nn.Module:
    """The network with every nn.BatchNorm2d in it exchanged, weights and buffers kept."""
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = BatchNorm2d(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(network, name, shared)
        else:
            over_processes(child)
    return network
