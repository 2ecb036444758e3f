"""The averaged weights of a run: kept as the network is kept, whole or in shards, and saved whole.

Guarantee: only what learns is averaged; what is saved is the list of whole tensors in the order of the network's
parameters, whichever way it was kept. Price: one more copy of the network in memory; under FSDP each process keeps its
shards of it only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from clipsonic.train.engine.sharding import Sharded


class Average:
    """diffusers' exponential moving average of a network's parameters.

    Args:
        network: whose parameters are averaged.
        decay: share kept per step.
        prefix: of the network's weights in the names of the module that FSDP wraps.
    """

    def __init__(self, network: nn.Module, decay: float, prefix: str = "") -> None:
        self._network, self._decay, self._prefix = network, decay, prefix
        self.names = [name for name, weight in network.named_parameters() if weight.requires_grad]
        self._sharded: Sharded | None = None
        self.restart()

    def restart(self) -> None:
        """Begin with the network's present weights."""
        self.ema = EMAModel(self._trained(), decay=self._decay, foreach=True)

    def place(self, device: torch.device, sharded: Sharded | None) -> None:
        """Move to where the network is; once it lies in shards, `restart` with them."""
        self._sharded = sharded
        if sharded is not None:
            self.restart()
        self.ema.to(device)

    def step(self) -> None:
        """Take the network's present weights into the average."""
        self.ema.step(self._trained())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has its averaged weights, and the average those of the network: they change places."""
        self._swap()
        try:
            yield
        finally:
            self._swap()
            if self._sharded is not None:
                self._sharded.forget()

    def full(self) -> list[Tensor]:
        """The average as whole tensors; under FSDP on the first rank's CPU, and empty on others (all must call it)."""
        if self._sharded is None:
            return list(self.ema.shadow_params)
        with self.applied():
            weights = self._sharded.full_weights()  # on other ranks only what is not sharded, the buffers
        return [weights[f"{self._prefix}{name}"] for name in self.names if f"{self._prefix}{name}" in weights]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes (all ranks must call it)."""
        return {**self.ema.state_dict(), "shadow_params": self.full()}

    def load_state_dict(self, state: dict[str, Any], decay: float, others: Mapping[str, Tensor]) -> None:
        """Continue with a saved average, and from here on with this decay.

        Args:
            others: whole tensors of all that FSDP wraps, by name; none is gathered for those that are not averaged.
        """
        shadow = state["shadow_params"] if self._sharded is None else self._shards(state["shadow_params"], others)
        self.ema.load_state_dict({**state, "shadow_params": shadow})
        self.ema.decay = decay

    def _trained(self) -> list[nn.Parameter]:
        return [weight for weight in self._network.parameters() if weight.requires_grad]

    @torch.no_grad()
    def _swap(self) -> None:
        """In place, a tensor at a time: what points at either stays right, and there is no third copy."""
        for weight, average in zip(self._trained(), self.ema.shadow_params, strict=True):
            mine = weight.clone()
            weight.copy_(average)
            average.copy_(mine)

    @torch.no_grad()
    def _shards(self, whole: list[Tensor], others: Mapping[str, Tensor]) -> list[Tensor]:
        """This rank's shards of whole tensors: the network takes them for a moment, since it knows its shards."""
        assert self._sharded is not None
        mine = [weight.detach().clone() for weight in self._trained()]
        named = {f"{self._prefix}{name}": value for name, value in zip(self.names, whole, strict=True)}
        self._sharded.load_full({**others, **named})
        shards = [weight.detach().clone() for weight in self._trained()]
        for weight, value in zip(self._trained(), mine, strict=True):
            weight.copy_(value)
        return shards
