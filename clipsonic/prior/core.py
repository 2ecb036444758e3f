"""What every kind of prior has inside: a network, how it is sampled, and noise that belongs to the items.

Guarantee: a core draws from the noise it is given only, so a batch gives what its items give alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from clipsonic.clip.encodings import TextEncodings
from clipsonic.errors import UsageError


@dataclass(frozen=True)
class Spoken:
    """Captions as a prior sees them that reads their tokens.

    Args:
        captions: of N captions.
        nothing: of the empty caption (one row), which guidance moves away from.
    """

    captions: TextEncodings
    nothing: TextEncodings

    def repeated(self, count: int) -> Spoken:
        """Every caption `count` times in turn."""
        return Spoken(self.captions.repeated(count), self.nothing)

    def to(self, device: torch.device) -> Spoken:
        """The same on another device."""
        return Spoken(self.captions.to(device), self.nothing.to(device))


class ItemNoise:
    """Standard normal (N * candidates, E), drawn item by item from the items' own generators."""

    def __init__(self, generators: Sequence[torch.Generator], num_candidates: int, device: torch.device) -> None:
        self._generators, self._num_candidates, self._device = generators, num_candidates, device

    @property
    def rows(self) -> list[torch.Generator]:
        """The generator of every row, for libraries that draw themselves."""
        return [generator for generator in self._generators for _ in range(self._num_candidates)]

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        """Fresh noise for `like` (N * candidates, E)."""
        shape = (self._num_candidates, like.shape[1])
        return torch.cat([torch.randn(shape, generator=generator) for generator in self._generators]).to(self._device)


class PriorCore(Protocol):
    """A network and the walk from noise to a picture's embedding.

    Args:
        network: what is saved.
        whole: what is moved: the network and its schedule.
        width: E of the CLIP space.
        reads_tokens: whether `sample` needs the captions' tokens.
        default_steps, default_guidance: as its publisher samples it.
    """

    network: torch.nn.Module
    whole: torch.nn.Module
    width: int
    reads_tokens: bool
    default_steps: int
    default_guidance: float

    def check(self, steps: int, guidance: float) -> None:
        """Raises UsageError for steps or guidance that this kind cannot take."""

    def sample(
        self, texts_NE: torch.Tensor, spoken: Spoken | None, noise: ItemNoise, steps: int, guidance: float
    ) -> torch.Tensor:
        """Pictures' embeddings (N, E) for unit vectors of texts, of any length."""


def check_steps(steps: int, total: int) -> None:
    """Raises UsageError for a number of steps that a prior of `total` timesteps cannot take."""
    if not 2 <= steps <= total:
        raise UsageError(f"prior steps {steps} must lie between 2 and its {total} timesteps")


def refuse_guidance(guidance: float, why: str) -> None:
    """Raises UsageError for a guidance that would change nothing or was never trained; `why` is the rule."""
    if guidance != 1.0:
        raise UsageError(f"guidance {guidance:g} of the prior is not possible, {why}: leave it at 1")
