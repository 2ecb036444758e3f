"""An adversary: networks that learn to tell true from made while what they judge learns to pass.

It stands beside the lesson, not in it: an optimiser of its own, gradients averaged over the processes here, its state
in the checkpoint under its own name. Guarantee: before it joins it costs nothing and draws nothing; what the lesson
pays leaves no gradient on the judges; two processes learn what one learns. Price: a pass over the made and the true for
the lesson, and two with gradients for the judges: three times a judge's forward and backward pass in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.train.engine.config import AdversaryConfig

_LARGEST_SCALE = 1e4
_TINY = 1e-4

Heard = list[tuple[Tensor, list[Tensor]]]
"""Of each judge its scores (B, ...) and its features, each (B, ...)."""


class Game(NamedTuple):
    """What an adversary tells apart: (B, ...) of each, row by row the same item."""

    true: Tensor
    made: Tensor


class Toll(NamedTuple):
    """What the lesson pays for being told apart: (B,) to add to its loss, and what to log of it."""

    per_item: Tensor
    logged: dict[str, tuple[Tensor, Tensor]]


class Adversary:
    """Judges and their optimiser.

    Args:
        judges: each takes (B, ...) and gives scores (B, ...), high for true, and a list of features (B, ...).
        config: weights, start and optimiser.
        last: the weight of the lesson's last layer, for `config.adaptive`.
    """

    def __init__(self, judges: Sequence[nn.Module], config: AdversaryConfig, last: Tensor | None = None) -> None:
        self.judges, self.config, self.last = nn.ModuleList(judges), config, last
        self.optimizer = torch.optim.AdamW(self.judges.parameters(), lr=config.lr, betas=config.betas, fused=True)
        self.num_steps, self._num_games = 0, 0

    @property
    def plays(self) -> bool:
        """Whether it has joined."""
        return self.num_steps >= self.config.start

    def place(self, device: Any) -> None:
        """Move the networks and their optimiser."""
        self.judges.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # it moves what it keeps to where the weights are

    def toll(self, game: Game, rest_B: Tensor) -> Toll:
        """The hinge loss of passing (Lim and Ye 2017, arXiv 1705.02894; as in Vocos, arXiv 2306.00814, section 3.3) and
        the distance of features relative to the true ones' size (Defossez et al. 2022, arXiv 2210.13438, eq. 2).

        Args:
            rest_B: the rest of the lesson's loss, which an adaptive weight is measured by.
        """
        with self._unlearning():
            with torch.no_grad():
                true = self._hear(game.true)
            made = self._hear(game.made)
        passing_B = _mean([functional.relu(1.0 - scores).flatten(1).mean(dim=1) for scores, _ in made])
        distance_B = _mean([
            _relative_distance(one, other)
            for (_, ones), (_, others) in zip(made, true, strict=True) for one, other in zip(ones, others, strict=True)
        ])  # fmt: skip
        told_B = _mean([t.flatten(1).mean(1) - m.flatten(1).mean(1) for (t, _), (m, _) in zip(true, made, strict=True)])
        scale = self._scale(rest_B, passing_B) if self.config.adaptive else rest_B.new_ones(())
        toll_B = self.config.weight * scale * passing_B + self.config.features_weight * distance_B
        figures = {"passing": passing_B, "features": distance_B, "told_apart": told_B, "scale": scale.expand_as(told_B)}
        return Toll(toll_B, logged(figures, len(rest_B), rest_B))

    def no_toll(self, rest_B: Tensor) -> Toll:
        """What is paid before it joins: nothing, logged under the same names with no weight."""
        return Toll(torch.zeros_like(rest_B), logged({}, len(rest_B), rest_B))

    def learn(self, game: Game) -> None:
        """Add the gradient of telling these apart (made is taken as it is, without its gradient)."""
        true, made = self._hear(game.true.detach()), self._hear(game.made.detach())
        losses = [
            functional.relu(1.0 - t).mean() + functional.relu(1.0 + m).mean()
            for (t, _), (m, _) in zip(true, made, strict=True)
        ]
        torch.autograd.backward(_mean(losses))
        self._num_games += 1

    def step(self, rate_share: float) -> None:
        """One step of its optimiser on the gradients of all processes, at this share of its highest rate."""
        if self._num_games:
            weights = list(self.judges.parameters())
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            _sum_over_processes(gradients)
            torch._foreach_div_(gradients, float(self._num_games * _num_processes()))
            nn.utils.clip_grad_norm_(weights, self.config.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * rate_share
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.num_steps, self._num_games = self.num_steps + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser and the steps that were made, with it or before it joined."""
        judges, optimizer = self.judges.state_dict(), self.optimizer.state_dict()
        return {"judges": judges, "optimizer": optimizer, "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse; betas stay those of the config."""
        self.judges.load_state_dict(state["judges"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["betas"] = self.config.betas
        self.num_steps = int(state["num_steps"])

    def _hear(self, sounds: Tensor) -> Heard:
        """Verdicts in float32, as losses are: a network's own may be rounded."""
        return [(scores.float(), features) for scores, features in (judge(sounds) for judge in self.judges)]

    @contextmanager
    def _unlearning(self) -> Iterator[None]:
        """Inside, what goes through the judges will leave no gradient on them."""
        self.judges.requires_grad_(False)
        try:
            yield
        finally:
            self.judges.requires_grad_(True)

    def _scale(self, rest_B: Tensor, passing_B: Tensor) -> Tensor:
        """|d rest / d w| / (|d passing / d w| + 1e-4) for the last layer's weight w, of the batch of all processes
        (Esser et al. 2021, arXiv 2012.09841, eq. 7)."""
        assert self.last is not None, "an adaptive weight needs the lesson's last layer"
        gradients = [
            torch.autograd.grad(loss_B.mean(), self.last, retain_graph=True)[0].clone()
            for loss_B in (rest_B, passing_B)
        ]
        _sum_over_processes(gradients)
        rest, passing = (gradient.norm() / _num_processes() for gradient in gradients)
        scale: Tensor = (rest / (passing + _TINY)).clamp_max(_LARGEST_SCALE)
        return scale.detach()


LOGGED = ("passing", "features", "told_apart", "scale")


def logged(figures: dict[str, Tensor], count: int, like: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Figures (B,) by name as a lesson logs them; those that are not there have no weight."""
    none = like.new_zeros(count)
    return {
        f"adversary/{name}": (figures[name].detach(), torch.ones_like(none)) if name in figures else (none, none)
        for name in LOGGED
    }


def _relative_distance(made: Tensor, true: Tensor) -> Tensor:
    made, true = made.float(), true.float()
    distance_B = (made - true).abs().flatten(1).mean(dim=1)
    return distance_B / true.abs().flatten(1).mean(dim=1).clamp_min(_TINY)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(dim=0)


def _num_processes() -> int:
    return torch.distributed.get_world_size() if _together() else 1


def _together() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _sum_over_processes(tensors: list[Tensor]) -> None:
    """In place, in one message."""
    if not _together():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
