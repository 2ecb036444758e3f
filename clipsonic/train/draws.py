"""Random numbers for the rows of a batch that one process holds, drawn as if it held the batch of all processes.

Guarantee: process r of n holds rows r, r + n, r + 2n ... of the whole batch and gets what these rows get in a training
with one process, however long the others' are padded: what is drawn by the length of a batch comes last, and after it
nothing can be drawn. Price: every process draws for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Where draws come from, and for which rows.

    Args:
        generator: drawn from in the order of the calls.
        batch: B, rows that this process holds.
        rank: which process this is.
        world_size: how many processes hold `batch` rows each.
    """

    generator: torch.Generator
    batch: int
    rank: int = 0
    world_size: int = 1
    _spent: list[bool] = field(default_factory=list)

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
