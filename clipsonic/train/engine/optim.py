"""The optimiser of every lesson, and the learning rate of a step.

Guarantee: pure functions.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from clipsonic.train.engine.config import OptimConfig

LONGEST_WARMUP = 0.1
"""Share of a run after which the learning rate has risen, however short the run is."""


def make_optimizer(decayed: list[nn.Parameter], others: list[nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101); only the weights of the first list decay."""
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others}], lr=config.lr, fused=True)
    set_options(optimizer, config)
    return optimizer


def set_options(optimizer: torch.optim.Optimizer, config: OptimConfig) -> None:
    """Give an optimiser of `make_optimizer` the betas and decay of this config; its rate is set at every step."""
    for group, weight_decay in zip(optimizer.param_groups, (config.weight_decay, 0.0), strict=True):
        group.update(betas=tuple(config.betas), eps=config.eps, weight_decay=weight_decay)


def learning_rate(config: OptimConfig, step: int, progress: float) -> float:
    """The rate of optimiser step `step` (from 0) when `progress` (0 to 1) of the run is done."""
    risen = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    rise = min(1.0, max(risen, progress / LONGEST_WARMUP))
    if config.schedule == "constant":
        return config.lr * rise
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.lr * rise * (config.final_lr_share + (1.0 - config.final_lr_share) * fall)
