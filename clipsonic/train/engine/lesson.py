"""What the engine asks of whatever is to learn: a loss per item, figures, something to look at, a folder to leave.

A lesson is one file that composes its parts (networks, a stream, a loss) and inherits nothing but the answers that most
lessons give. Guarantee: the engine knows nothing else of it, so checkpoints, resuming, several processes, averaging,
clipping, limits, logs and dry runs are the same for every lesson.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from clipsonic.train.engine.adversary import Adversary, Game
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.health import Health

Batch = dict[str, Any]
"""Tensors by name, and `keys` (a name for each item) and `position` (the stream's state after it)."""


class Losses(NamedTuple):
    """What a lesson says of a batch.

    Args:
        per_item: (B,), its mean is the loss; in every process for the rows that it holds.
        logged: by name values (B,) and weights (B,), logged as weighted means; the same names at every step.
        game: what an adversary is to tell apart, where the lesson has one.
    """

    per_item: Tensor
    logged: Mapping[str, tuple[Tensor, Tensor]] = MappingProxyType({})
    game: Game | None = None


class Shown(NamedTuple):
    """Something to look at or to listen to, for the log.

    Args:
        name: `what/number`, such as `generated/0`.
        picture: (H, W, 3) uint8.
        sound: (T,) float32 in [-1, 1] at `rate_hz`.
        text: Markdown.
    """

    name: str
    picture: np.ndarray | None = None
    sound: np.ndarray | None = None
    rate_hz: int = 0
    text: str | None = None


@dataclass(frozen=True)
class Held:
    """A look at held-out items, on the averaged weights in evaluation mode, without gradients.

    Args:
        step: optimiser steps that are done.
        batches: the held-out batches, on the CPU.
        loss_N: the loss of each of their items, in order, on the CPU.
        loss: the loss of each item (B,) of a batch, with the draws of the held-out batch of this number.
        health: hears what is wrong.
    """

    step: int
    batches: Sequence[Batch]
    loss_N: Tensor
    loss: Callable[[Batch, int], Tensor]
    health: Health


class Stream(Protocol):
    """An endless stream of batches whose state is its position."""

    batch_size: int
    report: dict[str, Any]

    @property
    def digest(self) -> str:
        """Names the data: a position means the same under equal digests only."""

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from its position; it never ends."""

    def shard(self, rank: int, world_size: int) -> Self:
        """One rank's part: rows rank, rank + world_size ... of every batch; `batch_size` is then that of a rank."""

    def state_dict(self) -> dict[str, Any]:
        """`position`, `digest`, and what else a position depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position."""


class Lesson(nn.Module, ABC):
    """Something that is taught. Its state dict is what a checkpoint keeps, so all of its tensors are registered."""

    adversary: Adversary | None = None
    """Who tells true from made; it learns beside the lesson, by an optimiser of its own."""

    @property
    def learner(self) -> nn.Module:
        """The network whose weights that require gradients are trained, clipped and averaged; by default the part of
        this name."""
        network = self._modules["learner"]
        assert network is not None
        return network

    @abstractmethod
    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """The loss of each item of a batch on the lesson's device; in evaluation mode (`self.training` is False) as it
        is to be compared between steps, without what only serves learning."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Plain values that decide whether a checkpoint's weights mean the same here."""

    @abstractmethod
    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """Write the folder that a run leaves, from the averaged weights (by their name in `learner`, on the CPU).

        Only the first process comes here. `told` is what `training.json` says of the run: steps, minutes,
        samples_per_s, data_wait_share, train_loss, val_loss, best, warnings, corpus, init. What is returned is added to
        it and to the answer; `next` in it, a sentence that says what to do with the folder, ends the message.
        """

    def weights(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Weights that decay, and those that do not: by default matrices of linear and convolution layers decay."""
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
        matrices = {id(module.weight) for module in self.learner.modules() if isinstance(module, kinds)}
        learning = [weight for weight in self.learner.parameters() if weight.requires_grad]
        decayed = [weight for weight in learning if id(weight) in matrices]
        return decayed, [weight for weight in learning if id(weight) not in matrices]

    def units(self) -> set[type[nn.Module]]:
        """Kinds of modules whose weights are gathered together under FSDP."""
        return {type(self.learner)}

    def begin(self, device: torch.device) -> None:
        """What takes long to make and is made where the lesson will learn: called in every process once these know of
        each other, before a session's first step, while the lesson is still whole and on the CPU."""

    def after_step(self) -> None:
        """What is done to weights after each optimiser step, before they are averaged."""

    def figures(self, held: Held) -> dict[str, float]:
        """Figures on held-out items beside their loss, by name."""
        return {}

    def show(self, held: Held) -> Iterable[Shown]:
        """What is to be seen and heard of the averaged weights."""
        return ()

    def truth(self, batches: Sequence[Batch]) -> Iterable[Shown]:
        """What `show` is to be compared with; it is shown once."""
        return ()

    def flops_per_item(self) -> float:
        """FLOPs of the network's forward and backward pass for an item; 0 where nobody counts them."""
        return 0.0

    def facts(self) -> dict[str, Any]:
        """What else `training.json` is to say."""
        return {}


@dataclass
class Course:
    """Everything a run needs: what learns, what it reads, what it is judged by.

    Args:
        lesson: what learns.
        stream: what is trained on.
        held_out: batches that are never trained on (unless `notes` says so), the same at every validation.
        notes: what the user should know.
        summary: of the data, for the report.
        init: what the weights began with, for the report.
    """

    lesson: Lesson
    stream: Stream
    held_out: list[Batch]
    notes: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
