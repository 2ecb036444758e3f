"""From a config to an untrained denoiser, and what its arithmetic costs.

Guarantee: pure functions; equal config and seed give equal weights, and no global random state is left changed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from clipsonic.models.conditioner import Condition
from clipsonic.seeding import seed_for
from clipsonic.specs import SegmentSpec
from clipsonic.train.config import ModelConfig, TrainConfig

if TYPE_CHECKING:
    from clipsonic.models.dit import DiT1D
    from clipsonic.models.unet import MelUNet


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


def flops_per_sample(config: TrainConfig, segment: SegmentSpec, num_tokens: int) -> float:
    """FLOPs of the network's forward and backward pass for one sample, counted on shapes alone.

    Args:
        num_tokens: S, condition tokens of a sample.
    """
    plain = torch.device("meta")
    with plain:
        network = make_denoiser(config.model, config.objective.prediction_type, segment, 0).train()
        network.disable_gradient_checkpointing()
        x_BMF = torch.zeros(1, segment.mel.num_mels, segment.num_mel_frames)
        tokens = torch.zeros(1, num_tokens, segment.embed_width)
        condition = Condition(tokens, torch.zeros(1, num_tokens), torch.ones(1, num_tokens, dtype=torch.bool))
        with FlopCounterMode(display=False) as counter:
            network(x_BMF, torch.zeros(1), condition).sum().backward()
    return float(counter.get_total_flops())
