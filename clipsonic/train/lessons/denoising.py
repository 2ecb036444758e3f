"""What all lessons about a denoiser share: the network, its mel space, its objective, and what it sees of a batch.

Guarantee: all draws come from what is given, in an order that does not depend on the padding of a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.audio.mel import LogMel
from clipsonic.diffusion.objective import loss_per_item, make_objective, sample_timesteps
from clipsonic.models.conditioner import Condition
from clipsonic.shards.crops import as_float
from clipsonic.specs import SegmentSpec
from clipsonic.train.config import TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Losses
from clipsonic.train.lessons.condition import draw_condition

NUM_BINS = 4
"""Equal parts of the diffusion time whose losses are logged apart."""


class Denoising(nn.Module):
    """A denoiser in training.

    Args:
        config: the run.
        segment: what the model makes.
        denoiser: the network.
        mel_mean, mel_std: (M,) statistics of the training mels; model space is (log_mel - mean) / std.
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(
        self, config: TrainConfig, segment: SegmentSpec, denoiser: Any, mel_mean: Tensor, mel_std: Tensor
    ) -> None:
        super().__init__()
        self.config, self.segment = config, segment
        how = config.objective
        self.objective = make_objective(how.prediction_type, min_snr_gamma=how.min_snr_gamma, logit_mean=how.logit_mean)
        self.denoiser = denoiser
        self.log_mel = LogMel(segment.mel)
        self.register_buffer("mel_mean", mel_mean.clone())
        self.register_buffer("mel_std", mel_std.clone())

    def loss_and_time(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """w(t) || D(x_t, t, c) - target ||^2 of each item and its t, (B,)."""
        x0_BMF = self.to_model_space(self.log_mel(as_float(batch["wave"])))
        t_B = draws.of(partial(sample_timesteps, self.objective))
        noise_BMF = draws.normal(*x0_BMF.shape[1:])
        denoise = partial(self.denoiser, condition=self.seen(batch, draws))
        return loss_per_item(self.objective, denoise, x0_BMF, noise_BMF, t_B), t_B

    def seen(self, batch: Batch, draws: Draws) -> Condition:
        """What each item sees of its frames; in evaluation mode nothing is dropped and no noise is on them."""
        how, learning = self.config.condition, self.training
        return draw_condition(
            batch["frames"], batch["frame_times_s"], batch["frame_mask"], draws,
            shares=how.shares,
            dropout=how.dropout if learning else 0.0,
            embed_noise_std=how.embed_noise_std if learning else 0.0,
        )  # fmt: skip

    def to_model_space(self, log_mel_BMF: Tensor) -> Tensor:
        """(log_mel - mean) / std per mel bin."""
        return (log_mel_BMF - self.mel_mean[:, None]) / self.mel_std[:, None]

    def from_model_space(self, x0_BMF: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        return x0_BMF * self.mel_std[:, None] + self.mel_mean[:, None]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.mel_mean.device

    def identity(self) -> dict[str, Any]:
        """What makes two networks the same: their shape, what they predict, and what they make."""
        model = self.config.to_dict()["model"]
        return {
            "model": {"kind": model["kind"], model["kind"]: model[model["kind"]]},
            "objective": {"prediction_type": self.config.objective.prediction_type},
            "segment": self.segment.to_dict(),
        }


def by_time(loss_B: Tensor, t_B: Tensor) -> Losses:
    """The losses of items at the times t in [0, 1], logged apart for each quarter of the time."""
    bin_B = (t_B * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    inside_KB = functional.one_hot(bin_B, NUM_BINS).T
    names = [f"loss_t/{k / NUM_BINS:g}_to_{(k + 1) / NUM_BINS:g}" for k in range(NUM_BINS)]
    return Losses(loss_B, {name: (loss_B, inside_KB[k]) for k, name in enumerate(names)})
