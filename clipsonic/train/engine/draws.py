"""Random numbers for the rows of a batch that one process holds, drawn as if it held the batch of all processes.

Guarantee: process r of n holds rows r, r + n, r + 2n ... of the whole batch and gets what these rows get in a training
with one process, however long the others' are padded: what is drawn by the length of a batch comes last, and after it
nothing can be drawn. Price: every process draws for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from clipsonic.seeding import torch_generator


class Origin(NamedTuple):
    """What decides the draws, see `seeding`."""

    seed: int
    purpose: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Draws:
    """Where draws come from, and for which rows.

    Args:
        generator: drawn from in the order of the calls.
        batch: B, rows that this process holds.
        rank: which process this is.
        world_size: how many processes hold `batch` rows each.
        origin: what the generator was seeded with, for draws aside.
    """

    generator: torch.Generator
    batch: int
    rank: int = 0
    world_size: int = 1
    origin: Origin | None = None
    _spent: list[bool] = field(default_factory=list)

    @classmethod
    def seeded(
        cls, origin: Origin, batch: int, ranks: tuple[int, int] = (0, 1), device: str | torch.device = "cpu"
    ) -> Draws:
        """Draws that are a function of their origin; `ranks` says which process holds the rows, of how many."""
        seed, purpose, indices = origin
        return cls(torch_generator(seed, purpose, *indices, device=str(device)), batch, *ranks, origin)

    def aside(self, name: str) -> Draws:
        """Other draws for the same rows, which neither change these nor depend on what was drawn from them."""
        assert self.origin is not None, "draws that were not seeded here have none aside"
        seed, purpose, indices = self.origin
        origin = Origin(seed, f"{purpose}.{name}", indices)
        return Draws.seeded(origin, self.batch, (self.rank, self.world_size), self.generator.device)

    def uniform(self) -> Tensor:
        """(B,) in [0, 1)."""
        return self.of(lambda count, generator: torch.rand(count, generator=generator, device=generator.device))

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return self.of(
            lambda count, generator: torch.randn(count, *shape, generator=generator, device=generator.device)
        )

    def last_normal(self, length: int, *shape: int) -> Tensor:
        """(B, length, *shape), standard normal; the first n of a row are the same for every length from n up.

        A length that is a padding differs between processes, and with it all that would be drawn later: this ends it.
        """
        drawn = torch.stack([self.normal(*shape) for _ in range(length)], dim=1)
        self._spent.append(True)
        return drawn

    def of(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """These rows of what `draw(rows of all processes, generator)` gives."""
        assert not self._spent, "drawn after a draw whose length depends on padding: draw it before"
        return draw(self.batch * self.world_size, self.generator)[self.rank :: self.world_size]
