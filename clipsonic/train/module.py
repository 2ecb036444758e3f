"""The training step of a sound model: the loss equation, its averaged weights, and all that a checkpoint keeps of it.

Guarantee: every draw is a function of (seed, purpose, place in the stream), so a resumed run on a CPU equals an
unbroken one bit for bit. Price: the averaged weights are one more copy of the network in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning
import torch
from torch import Tensor

from clipsonic.audio.mel import LogMel
from clipsonic.diffusion.guidance import Guidance
from clipsonic.diffusion.objective import loss_per_item, make_objective, make_scheduler, sample_timesteps
from clipsonic.models.conditioner import Condition
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.seeding import torch_generator
from clipsonic.specs import SegmentSpec
from clipsonic.train.average import Average
from clipsonic.train.clock import Clock
from clipsonic.train.condition import draw_condition
from clipsonic.train.config import TrainConfig
from clipsonic.train.draws import Draws
from clipsonic.train.guard import FiniteGuard
from clipsonic.train.losses import clip_gradient, loss_row
from clipsonic.train.network import learning_rate, make_denoiser, make_optimizer, set_options
from clipsonic.train.sharding import Sharded
from clipsonic.train.sounds import generate

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
        self.average = Average(self.denoiser, config.ema.decay)
        self.guard = FiniteGuard()
        self.stream: dict[str, Any] = {}
        self.num_steps_before = 0
        self.result: list[Tensor] = []
        self.last_row, self.grad_norm = loss_row(torch.zeros(1), torch.zeros(1)), torch.zeros(())
        self._keys: list[str] = []

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with these weights of the denoiser; the averaged ones begin there too."""
        self.denoiser.load_state_dict(weights, strict=True)
        self.average.restart()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        ranks = (self.global_rank, self.trainer.world_size)
        loss_B, t_B = self.loss_and_time(batch, "train.step", batch["position"], ranks=ranks)
        self.guard.watch("loss", loss_B, batch["keys"])
        self._keys, self.last_row = batch["keys"], loss_row(loss_B.detach(), t_B)
        return loss_B.mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of each item (B,), the same draws at every validation; through Lightning's strategy (FSDP)."""
        return self.loss(batch, "train.validation", batch_idx, seeing=True)

    def predict_step(self, prompts: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Log-mels (N, M, F) on the CPU for the frames of some records; through Lightning's strategy (FSDP)."""
        return generate(self, prompts)

    def loss(self, batch: dict[str, Any], purpose: str, *indices: int, seeing: bool = False) -> Tensor:
        """As `loss_and_time`, without the times."""
        return self.loss_and_time(batch, purpose, *indices, seeing=seeing)[0]

    def loss_and_time(
        self, batch: dict[str, Any], purpose: str, *indices: int, seeing: bool = False, ranks: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """w(t) || D(x_t, t, c) - target ||^2 of each item and its t, (B,), with draws seeded by purpose and indices.

        Args:
            seeing: no condition dropout and no embedding noise, for validation.
            ranks: which process holds these rows of how many processes' batch.
        """
        generator = torch_generator(self.config.run.seed, purpose, *indices, device=str(self.device))
        x0_BMF = self.to_model_space(self.log_mel(batch["wave"]))
        draws = Draws(generator, len(x0_BMF), *ranks)
        t_B = draws.of(partial(sample_timesteps, self.objective))
        noise_BMF = draws.normal(*x0_BMF.shape[1:])
        condition = self._condition(batch, draws, seeing)
        denoise = partial(self.denoiser, condition=condition)
        return loss_per_item(self.objective, denoise, x0_BMF, noise_BMF, t_B), t_B

    def to_model_space(self, log_mel_BMF: Tensor) -> Tensor:
        """(log_mel - mean) / std per mel bin."""
        return (log_mel_BMF - self.mel_mean[:, None]) / self.mel_std[:, None]

    def from_model_space(self, x0_BMF: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        return x0_BMF * self.mel_std[:, None] + self.mel_mean[:, None]

    def _condition(self, batch: dict[str, Any], draws: Draws, seeing: bool) -> Condition:
        config = self.config.condition
        return draw_condition(
            batch["frames"], batch["frame_times_s"], batch["frame_mask"], draws,
            shares=config.shares,
            dropout=0.0 if seeing else config.dropout,
            embed_noise_std=0.0 if seeing else config.embed_noise_std,
        )  # fmt: skip

    def pipeline_of(self, denoiser: Any, clip_name: str) -> ClipSonicPipeline:
        """The pipeline that this run leaves, around this network."""
        how = self.config.objective
        return ClipSonicPipeline(
            denoiser, make_scheduler(how.prediction_type, flow_shift=how.flow_shift), self.segment,
            self.mel_mean.tolist(), self.mel_std.tolist(), clip_name, **how.sampling,
        )  # fmt: skip

    def sampling(self) -> tuple[Any, int, Guidance]:
        """Scheduler, steps and guidance of the pipeline that this run leaves."""
        pipeline = self.pipeline_of(self.denoiser, clip_name="")
        return pipeline.solver, *pipeline.sampling()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its rate is set before every step."""
        return make_optimizer(self.denoiser, self.config.optim)

    def on_fit_start(self) -> None:
        """Averaged weights live where the network lives, in the same shards."""
        self.average.place(self.device, _sharded(self.trainer))
        if self.config.run.compile:
            self.denoiser.compile()

    def on_train_start(self) -> None:
        """A resumed optimiser has its saved settings: the config's count."""
        set_options(self.trainer.optimizers[0], self.config.optim)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Set the rate, step (the closure computes loss and gradient), average the weights."""
        step = self.global_step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optim, step, self.clock.progress(step))
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.average.step()

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and refuse losses that are not finite."""
        self.grad_norm = clip_gradient(self.denoiser, self.config.optim.grad_clip, _sharded(self.trainer) is not None)
        self.guard.check()
        self.guard.watch("gradient", self.grad_norm, self._keys)
        if self.device.type != "cuda":
            self.guard.check()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Remember the place in the stream (here, since callbacks save before this module's own hook at the end)."""
        self.stream = {**self.stream, "position": batch["position"]}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has its averaged weights and is in evaluation mode."""
        with self.average.applied():
            self.denoiser.eval()
            try:
                yield
            finally:
                self.denoiser.train()

    def on_fit_end(self) -> None:
        """Gather what the pipeline is made of, while all processes are there."""
        self.result = self.average.full()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours, as plain values and tensors."""
        checkpoint[STATE_KEY] = {
            "config": self.config.to_dict(),
            "segment": self.segment.to_dict(),
            "clock": self.clock.state_dict(),
            "ema": self.average.state_dict(),
            "stream": self.stream,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights back; position and time are read before the run begins."""
        self.average.load_state_dict(checkpoint[STATE_KEY]["ema"], self.config.ema.decay)


def _sharded(trainer: lightning.Trainer) -> Sharded | None:
    return trainer.strategy if isinstance(trainer.strategy, Sharded) else None
