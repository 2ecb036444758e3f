"""The training step of a sound model: the loss equation, its averaged weights, and all that a checkpoint keeps of it.

Guarantee: every draw is a function of (seed, purpose, place in the stream), so a resumed run on a CPU equals an
unbroken one bit for bit. Price: the averaged weights are one more copy of the network in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from clipsonic.audio.mel import LogMel
from clipsonic.diffusion.objective import loss_per_item, make_objective, sample_timesteps
from clipsonic.models.conditioner import Condition
from clipsonic.seeding import torch_generator
from clipsonic.specs import SegmentSpec
from clipsonic.train.clock import Clock
from clipsonic.train.condition import draw_condition
from clipsonic.train.config import TrainConfig
from clipsonic.train.guard import FiniteGuard
from clipsonic.train.network import learning_rate, make_denoiser, make_optimizer, set_options

STATE_KEY = "clipsonic"
"""Where a checkpoint keeps what is ours: config, segment, position, time, averaged weights."""


class SoundModule(lightning.LightningModule):
    """A denoiser in training.

    Args:
        config: the run.
        segment: what the model makes.
        mel_mean, mel_std: (M,) statistics of the training mels; model space is (log_mel - mean) / std.
        clock: how far the run is.
    """

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(
        self, config: TrainConfig, segment: SegmentSpec, mel_mean: Tensor, mel_std: Tensor, clock: Clock
    ) -> None:
        super().__init__()
        self.config, self.segment, self.clock = config, segment, clock
        self.objective = make_objective(
            config.objective.prediction_type,
            min_snr_gamma=config.objective.min_snr_gamma,
            logit_mean=config.objective.logit_mean,
        )
        self.denoiser = make_denoiser(config.model, self.objective.prediction_type, segment, config.run.seed)
        self.log_mel = LogMel(segment.mel)
        self.register_buffer("mel_mean", mel_mean.clone())
        self.register_buffer("mel_std", mel_std.clone())
        self.begin_averaging()
        self.guard = FiniteGuard()
        self.stream: dict[str, Any] = {}
        self.num_steps_before = 0
        self.last_loss, self.grad_norm = torch.zeros(()), torch.zeros(())
        self._keys: list[str] = []

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with these weights of the denoiser; the averaged ones begin there too."""
        self.denoiser.load_state_dict(weights, strict=True)
        self.begin_averaging()

    def trained(self) -> list[torch.nn.Parameter]:
        """The weights that learn: all of the denoiser's, or its adapter's."""
        return [weight for weight in self.denoiser.parameters() if weight.requires_grad]

    def begin_averaging(self) -> None:
        """The averaged weights are those of now."""
        self.ema = EMAModel(self.trained(), decay=self.config.ema.decay, foreach=True)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        loss_B = self.loss(batch, "train.step", batch["position"], self.global_rank)
        self.guard.watch("loss", loss_B, batch["keys"])
        self._keys, self.last_loss = batch["keys"], loss_B.detach().mean()
        return loss_B.mean()

    def loss(self, batch: dict[str, Any], purpose: str, *indices: int, seeing: bool = False) -> Tensor:
        """w(t) || D(x_t, t, c) - target ||^2 of each item, (B,), with draws seeded by purpose and indices.

        Args:
            seeing: no condition dropout and no embedding noise, for validation.
        """
        generator = torch_generator(self.config.run.seed, purpose, *indices, device=str(self.device))
        x0_BMF = self.to_model_space(self.log_mel(batch["wave"]))
        condition = self._condition(batch, generator, seeing)
        t_B = sample_timesteps(self.objective, len(x0_BMF), generator)
        noise_BMF = torch.randn(x0_BMF.shape, generator=generator, device=x0_BMF.device)
        return loss_per_item(self.objective, lambda x, t: self.denoiser(x, t, condition), x0_BMF, noise_BMF, t_B)

    def to_model_space(self, log_mel_BMF: Tensor) -> Tensor:
        """(log_mel - mean) / std per mel bin."""
        return (log_mel_BMF - self.mel_mean[:, None]) / self.mel_std[:, None]

    def from_model_space(self, x0_BMF: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        return x0_BMF * self.mel_std[:, None] + self.mel_mean[:, None]

    def _condition(self, batch: dict[str, Any], generator: torch.Generator, seeing: bool) -> Condition:
        config = self.config.condition
        return draw_condition(
            batch["frames"], batch["frame_times_s"], batch["frame_mask"], generator,
            shares=config.shares,
            dropout=0.0 if seeing else config.dropout,
            embed_noise_std=0.0 if seeing else config.embed_noise_std,
        )  # fmt: skip

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its rate is set before every step."""
        return make_optimizer(self.denoiser, self.config.optim)

    def on_fit_start(self) -> None:
        """Averaged weights live where the network lives."""
        self.ema.to(self.device)

    def on_train_start(self) -> None:
        """A resumed optimiser has its saved settings: the config's count."""
        set_options(self.trainer.optimizers[0], self.config.optim)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Set the rate, step (the closure computes loss and gradient), average the weights."""
        step = self.global_step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optim, step, self.clock.progress(step))
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ema.step(self.trained())

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Refuse losses that are not finite, then clip the gradient's norm."""
        self.guard.check()
        self.grad_norm = torch.nn.utils.clip_grad_norm_(self.trained(), self.config.optim.grad_clip)
        self.guard.watch("gradient", self.grad_norm, self._keys)
        if self.device.type != "cuda":
            self.guard.check()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Remember the place in the stream (here, since callbacks save before this module's own hook at the end)."""
        self.stream = {**self.stream, "position": batch["position"]}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has its averaged weights and is in evaluation mode."""
        self.ema.store(self.trained())
        self.ema.copy_to(self.trained())
        self.denoiser.eval()
        try:
            yield
        finally:
            self.ema.restore(self.trained())
            self.denoiser.train()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours, as plain values and tensors."""
        checkpoint[STATE_KEY] = {
            "config": self.config.to_dict(),
            "segment": self.segment.to_dict(),
            "clock": self.clock.state_dict(),
            "ema": self.ema.state_dict(),
            "stream": self.stream,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights back; position and time are read before the run begins."""
        self.ema.load_state_dict(checkpoint[STATE_KEY]["ema"])
        self.ema.decay = self.config.ema.decay
