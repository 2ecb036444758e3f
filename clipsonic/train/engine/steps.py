"""Training steps outside a run, on batches that are in memory already: what a dry run and the benchmark measure.

Guarantee: the arithmetic is that of `LessonModule` under Lightning, without data, logging and checkpoints; nothing is
written. Price: weights, optimiser and averaged weights of one more network.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.train.engine.lesson import Batch, Losses
from clipsonic.train.engine.losses import clip_gradient
from clipsonic.train.engine.module import LessonModule
from clipsonic.train.engine.pace import synchronise


class BareSteps:
    """A module's optimiser steps, one after the other.

    Args:
        module: on its device.
        rounded: compute products in bfloat16, as `run.precision` does on a GPU.
    """

    def __init__(self, module: LessonModule, rounded: bool = False) -> None:
        self.module, self._rounded = module, rounded
        self._optimizer = module.configure_optimizers()
        self._count = 0

    def begin(self) -> None:
        """Make what the optimisers keep, by steps from gradients of zero, which move nothing but by their decay."""
        adversary = self.module.lesson.adversary
        for optimizer in [self._optimizer, *([] if adversary is None else [adversary.optimizer])]:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    weight.grad = torch.zeros_like(weight)
            optimizer.step()
            optimizer.zero_grad()

    def step(self, batch: Batch) -> Tensor:
        """Loss, gradient, clipping, AdamW, averaging; gives the mean loss that it learned from."""
        self._count += 1
        with self._precision():
            losses = self._losses(batch)
        loss = losses.per_item.mean()
        torch.autograd.backward(loss)
        lesson = self.module.lesson
        if lesson.adversary is not None and losses.game is not None:
            with self._precision():
                lesson.adversary.learn(losses.game)
            lesson.adversary.step(1.0)
        clip_gradient(lesson.learner, self.module.config.optim.grad_clip, sharded=False)
        self._optimizer.step()
        self._optimizer.zero_grad()
        lesson.after_step()
        self.module.average.step()
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, which nothing learns from."""
        with self._precision():
            return self._losses(batch).per_item.mean()

    def seconds(self, batch: Batch, count: int) -> float:
        """The shortest of `count` steps; a shared machine only ever makes them longer."""
        times_s = []
        for _ in range(count):
            synchronise(self.module.device)
            begin_s = time.perf_counter()
            self.step(batch)
            synchronise(self.module.device)
            times_s.append(time.perf_counter() - begin_s)
        return min(times_s)

    def _losses(self, batch: Batch) -> Losses:
        return self.module.losses(batch, "train.step", self._count)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.module.device.type, torch.bfloat16) if self._rounded else nullcontext()


def rows(batch: Batch, count: int, device: torch.device) -> Batch:
    """`count` items of a batch, its own over and over, on a device."""
    index = torch.arange(count) % len(batch["keys"])
    tensors = {name: value[index].to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    return {**batch, **tensors, "keys": [batch["keys"][place] for place in index.tolist()]}


def num_parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
