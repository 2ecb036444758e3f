"""The stop on a number that is not finite, before the optimiser can put it into the weights.

Guarantee: a loss that is not finite never reaches the weights, and the message names its records.
Price on a GPU: the copy of a few numbers; the wait is for the forward pass only and falls while the backward pass
runs, so the device never idles. A gradient that overflows under a finite loss is therefore seen one step later there
(at once on a CPU); no checkpoint is written in between.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clipsonic.errors import TrainingError


class _Watched(NamedTuple):
    what: str
    values: Tensor
    keys: list[str]
    ready: torch.cuda.Event | None


class FiniteGuard:
    """Watches numbers on the device, judges them when asked."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def watch(self, what: str, values: Tensor, keys: list[str]) -> None:
        """Start to bring `values`, one per key or one for all of them, to the CPU."""
        values = values.detach().reshape(-1)
        if values.device.type != "cuda":
            self._watched.append(_Watched(what, values.cpu(), keys, None))
            return
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values, non_blocking=True)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        self._watched.append(_Watched(what, here, keys, ready))

    def check(self) -> None:
        """Judge everything watched since the last check.

        Raises:
            TrainingError: something is not finite; the message names the records.
        """
        watched, self._watched = self._watched, []
        for item in watched:
            if item.ready is not None:
                item.ready.synchronize()
            finite = torch.isfinite(item.values)
            if not bool(finite.all()):
                raise TrainingError(_sentence(item, finite))


def _sentence(item: _Watched, finite: Tensor) -> str:
    bad = item.keys
    if len(item.keys) == len(finite):
        bad = [key for key, is_finite in zip(item.keys, finite.tolist(), strict=True) if not is_finite]
    named = ", ".join(bad[:8]) + (f" and {len(bad) - 8} more" if len(bad) > 8 else "")
    return (
        f"the {item.what} is not finite for the records {named}: training stopped and no checkpoint holds it; "
        "look at these records with clipsonic inspect, or lower --optim.lr, then run the same command to resume"
    )
