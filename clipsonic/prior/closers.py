"""Closers of the gap between texts and pictures: one call, text embeddings (N, E) -> image embeddings (N, E).

Guarantee: unit vectors in, unit vectors out, of the same space; `zero-shot` uses no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from clipsonic.errors import UsageError
from clipsonic.prior.adapter import TextPrior

CLOSERS = ("auto", "zero-shot", "prior")
"""`auto` is `prior` where there is one, else `zero-shot`."""

Closer = Callable[[torch.Tensor, Sequence[torch.Generator] | torch.Generator], torch.Tensor]


def make_closer(name: str, prior: TextPrior | None = None) -> Closer:
    """The closer of this name: (text embeddings (N, E), generators) -> (N, E) unit vectors.

    Raises:
        UsageError: an unknown name, or `prior` without a prior.
    """
    if name not in CLOSERS:
        raise UsageError(f"closer {name!r} is unknown: choose one of {', '.join(CLOSERS)}")
    if name == "prior" and prior is None:
        raise UsageError(
            "closer 'prior' needs a prior of the model's CLIP space: give --prior FOLDER or --closer zero-shot"
        )
    if name == "zero-shot" or prior is None:
        return _zero_shot
    return prior


def _zero_shot(text_embeds: torch.Tensor, generators: Sequence[torch.Generator] | torch.Generator) -> torch.Tensor:
    """The text's own embedding stands for the image's."""
    return torch.nn.functional.normalize(torch.as_tensor(text_embeds, dtype=torch.float32), dim=-1)
