"""The shape of a prior of the unCLIP family, apart from its network so that reading a config loads no diffusers.

Guarantee: a frozen fact. Price: none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class UnclipShape:
    """A published prior of the family.

    Args:
        network: the arguments of diffusers' PriorTransformer.
        scheduler: the arguments of UnCLIPScheduler, or None for a prior that answers in one pass (ECLIPSE).
    """

    network: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None

    @property
    def width(self) -> int:
        """E of the CLIP space."""
        return int(self.network.get("clip_embed_dim") or self.network.get("embedding_dim", 768))
