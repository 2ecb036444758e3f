"""From a config to an untrained denoiser, its optimiser, and the learning rate of a step.

Guarantee: pure functions; equal config and seed give equal weights, and no global random state is left changed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from clipsonic.seeding import seed_for
from clipsonic.specs import SegmentSpec
from clipsonic.train.config import ModelConfig, OptimConfig

if TYPE_CHECKING:
    from clipsonic.models.dit import DiT1D
    from clipsonic.models.unet import MelUNet


LONGEST_WARMUP = 0.1
"""Share of a run after which the learning rate has risen, however short the run is."""


def make_denoiser(config: ModelConfig, prediction_type: str, segment: SegmentSpec, seed: int) -> DiT1D | MelUNet:
    """The network of this config for this segment, with weights drawn from the seed.

    Raises:
        SpecError: the segment does not divide as the network needs.
    """
    common = {
        "num_mels": segment.mel.num_mels,
        "num_mel_frames": segment.num_mel_frames,
        "embed_width": segment.embed_width,
        "prediction_type": prediction_type,
        "segment_seconds": segment.seconds,
    }
    network: DiT1D | MelUNet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "train.weights"))
        if config.kind == "dit":
            from clipsonic.models.dit import DiT1D

            network = DiT1D(**common, **dataclasses.asdict(config.dit))
        else:
            from clipsonic.models.unet import MelUNet

            network = MelUNet(**common, **dataclasses.asdict(config.unet))
    if config.checkpoint_blocks:
        network.enable_gradient_checkpointing()
    return network


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101); only matrices of linear and convolution layers decay."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
    matrices = {id(module.weight) for module in network.modules() if isinstance(module, kinds)}
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    decayed = [weight for weight in learning if id(weight) in matrices]
    others = [weight for weight in learning if id(weight) not in matrices]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others}], lr=config.lr, fused=True)
    set_options(optimizer, config)
    return optimizer


def set_options(optimizer: torch.optim.Optimizer, config: OptimConfig) -> None:
    """Give an optimiser of `make_optimizer` the betas and decay of this config; its rate is set at every step."""
    for group, weight_decay in zip(optimizer.param_groups, (config.weight_decay, 0.0), strict=True):
        group.update(betas=tuple(config.betas), weight_decay=weight_decay)


def learning_rate(config: OptimConfig, step: int, progress: float) -> float:
    """The rate of optimiser step `step` (from 0) when `progress` (0 to 1) of the run is done."""
    risen = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    rise = min(1.0, max(risen, progress / LONGEST_WARMUP))
    if config.schedule == "constant":
        return config.lr * rise
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.lr * rise * (config.final_lr_share + (1.0 - config.final_lr_share) * fall)
