"""The training step of any lesson under Lightning: its averaged weights, and all that a checkpoint keeps of the run.

Guarantee: every draw is a function of (seed, purpose, place in the stream), so a resumed run on a CPU equals an
unbroken one bit for bit. Price: the averaged weights are one more copy of the network in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from torch import Tensor

from clipsonic.train.engine.adversary import Game
from clipsonic.train.engine.average import Average
from clipsonic.train.engine.clock import Clock
from clipsonic.train.engine.config import EngineConfig
from clipsonic.train.engine.draws import Draws, Origin
from clipsonic.train.engine.guard import FiniteGuard
from clipsonic.train.engine.lesson import Batch, Lesson, Losses
from clipsonic.train.engine.losses import clip_gradient, loss_row
from clipsonic.train.engine.optim import learning_rate, make_optimizer, set_options
from clipsonic.train.engine.sharding import Sharded

STATE_KEY = "clipsonic"
"""Where a checkpoint keeps what is ours: config, identity, position, time, averaged weights."""
LESSON_PREFIX = "lesson."
"""Of the lesson's tensors in a checkpoint's `state_dict`."""


class LessonModule(lightning.LightningModule):
    """A lesson in training.

    Args:
        config: the run.
        lesson: what learns.
        clock: how far the run is.
    """

    def __init__(self, config: EngineConfig, lesson: Lesson, clock: Clock) -> None:
        super().__init__()
        self.config, self.lesson, self.clock = config, lesson.train(), clock
        self.average = Average(lesson.learner, config.ema.decay, self._prefix())
        self.guard = FiniteGuard()
        self.stream: dict[str, Any] = {}
        self.num_steps_before = 0
        self.result: list[Tensor] = []
        self.last_row, self.row_names = torch.zeros(1), tuple[str, ...]()
        self.grad_norm = torch.zeros(())
        self._keys: list[str] = []
        self._game: Game | None = None

    def _prefix(self) -> str:
        (place,) = [name for name, module in self.named_modules() if module is self.lesson.learner]
        return f"{place}."

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        losses = self.losses(batch, "train.step", batch["position"], ranks=(self.global_rank, self.trainer.world_size))
        self.guard.watch("loss", losses.per_item, batch["keys"])
        self.last_row, self.row_names = loss_row(losses), tuple(losses.logged)
        self._keys, self._game = batch["keys"], losses.game
        return losses.per_item.mean()

    def losses(self, batch: Batch, purpose: str, *indices: int, ranks: tuple[int, int] = (0, 1)) -> Losses:
        """The lesson's losses of a batch on its device, with draws seeded by purpose and indices.

        Args:
            ranks: which process holds these rows of how many processes' batch.
        """
        origin = Origin(self.config.run.seed, purpose, indices)
        return self.lesson.loss(batch, Draws.seeded(origin, len(batch["keys"]), ranks, self.device))

    def predict_step(self, call: Callable[[], Any], batch_idx: int) -> Any:
        """What a call gives; through Lightning's strategy, so that under FSDP the root's weights are there."""
        return call()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its rate is set before every step."""
        return make_optimizer(*self.lesson.weights(), self.config.optim)

    def setup(self, stage: str) -> None:
        """The lesson makes what it begins with."""
        self.lesson.begin(self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Averaged weights live where the network lives, in the same shards."""
        self.average.place(self.device, _sharded(self.trainer))
        if self.lesson.adversary is not None:
            self.lesson.adversary.place(self.device)
        if self.config.run.compile:
            self.lesson.learner.compile()

    def on_train_start(self) -> None:
        """A resumed optimiser has its saved settings: the config's count."""
        set_options(self.trainer.optimizers[0], self.config.optim)

    def on_after_backward(self) -> None:
        """An adversary learns from the batch that the lesson has just learned from."""
        game, self._game = self._game, None
        if self.lesson.adversary is not None and game is not None:
            with self.trainer.precision_plugin.forward_context():
                self.lesson.adversary.learn(game)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Set the rate, step (the closure computes loss and gradient), average the weights."""
        config, step = self.config.optim, self.global_step
        rate = learning_rate(config, step, self.clock.progress(step))
        for group in optimizer.param_groups:
            group["lr"] = rate
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.lesson.adversary is not None:
            self.lesson.adversary.step(rate / config.lr)
        self.lesson.after_step()
        self.average.step()

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and refuse losses that are not finite."""
        sharded = _sharded(self.trainer) is not None
        self.grad_norm = clip_gradient(self.lesson.learner, self.config.optim.grad_clip, sharded)
        self.guard.check()
        self.guard.watch("gradient", self.grad_norm, self._keys)
        if self.device.type != "cuda":
            self.guard.check()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Remember the place in the stream (here, since callbacks save before this module's own hook at the end)."""
        self.stream = {**self.stream, "position": batch["position"]}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has its averaged weights and the lesson is in evaluation mode."""
        with self.average.applied():
            self.lesson.eval()
            try:
                yield
            finally:
                self.lesson.train()

    def on_fit_end(self) -> None:
        """Gather what the folder is made of, while all processes are there."""
        self.result = self.average.full()

    @property
    def result_weights(self) -> dict[str, Tensor]:
        """The averaged weights of the run's end by their names in the learner, on the CPU; of the first process."""
        return {name: weight.cpu() for name, weight in zip(self.average.names, self.result, strict=True)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours, as plain values and tensors."""
        adversary = self.lesson.adversary
        checkpoint[STATE_KEY] = {
            "config": self.config.to_dict(),
            "lesson": self.config.lesson,
            "identity": self.lesson.identity(),
            "clock": self.clock.state_dict(),
            "ema": self.average.state_dict(),
            "stream": self.stream,
            **({} if adversary is None else {"adversary": adversary.state_dict()}),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights back; position and time are read before the run begins."""
        state = checkpoint[STATE_KEY]
        self.average.load_state_dict(state["ema"], self.config.ema.decay, checkpoint["state_dict"])
        if self.lesson.adversary is not None and "adversary" in state:
            self.lesson.adversary.load_state_dict(state["adversary"])


def _sharded(trainer: lightning.Trainer) -> Sharded | None:
    return trainer.strategy if isinstance(trainer.strategy, Sharded) else None
