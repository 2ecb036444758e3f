"""How several processes share a run: each a whole copy (DDP), or weights and optimiser in shards (FSDP).

Guarantee: a checkpoint looks the same whichever way it was made, so a run may be continued by any number of processes
in either way. Price: under FSDP one process holds all the weights in memory while a checkpoint is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    MixedPrecision,
    StateDictType,
)
from torch.distributed.fsdp._runtime_utils import _reshard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from clipsonic.errors import UsageError
from clipsonic.train.engine.config import RunConfig


def make_strategy(config: RunConfig, units: set[type[nn.Module]]) -> Strategy | str:
    """Lightning's strategy of this config; under FSDP the weights of each of these kinds of modules go together.

    Raises:
        UsageError: torchrun or Slurm started another number of processes than the config says.
    """
    check_launched(config)
    if config.strategy == "fsdp":
        return Sharded(units)
    alone = config.devices * config.nodes == 1
    return "auto" if alone else DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def check_launched(config: RunConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse devices and nodes that are not those of the launcher that started this process.

    Raises:
        UsageError: with both numbers.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        _require_equal("torchrun", "devices", config.devices, environment.get("LOCAL_WORLD_SIZE"))
        world_size, each = int(environment["WORLD_SIZE"]), config.devices
        _require_equal("torchrun", "nodes", config.nodes, str(world_size // each))
    elif "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        _require_equal("Slurm", "devices", config.devices, environment.get("SLURM_NTASKS_PER_NODE"))
        _require_equal("Slurm", "nodes", config.nodes, environment.get("SLURM_NNODES"))


def _require_equal(who: str, name: str, asked: int, started: str | None) -> None:
    if started is not None and started.isdigit() and int(started) != asked:
        what = "processes on each machine" if name == "devices" else "machines"
        raise UsageError(f"run.{name} is {asked} but {who} started {started} {what}: give --run.{name} {started}")


_WRAPPED = "_fsdp_wrapped_module."
"""What FSDP puts into the names of what it has wrapped."""


class Sharded(FSDPStrategy):
    """Lightning's FSDP, also on a CPU (over gloo), with checkpoints in the form of an unsharded run's.

    Parameters keep their own shapes in the optimiser (`use_orig_params`). They are gathered in float32 and autocast
    does the rest: FSDP's own mixed precision would round the sound and the times of a batch to bfloat16 too.
    """

    def __init__(self, units: set[type[nn.Module]]) -> None:
        super().__init__(
            auto_wrap_policy=ModuleWrapPolicy(units),
            mixed_precision=MixedPrecision(),
            state_dict_type="full",
            use_orig_params=True,
        )

    def _setup_model(self, model: nn.Module) -> nn.Module:
        """Lightning names the device by its index, and a CPU has none: FSDP then looks for a GPU."""
        self._order = {name: place for place, (name, _) in enumerate(model.named_parameters())}
        if self.root_device.type != "cpu":
            return super()._setup_model(model)
        return FullyShardedDataParallel(
            model, device_id=self.root_device, mixed_precision=self.mixed_precision_config, **self.kwargs
        )

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """What an unsharded optimiser's `state_dict` would be, on the first rank; empty on others."""
        plain = getattr(optimizer, "_optimizer", optimizer)
        with self._full() as model:
            named = FullyShardedDataParallel.optim_state_dict(model, plain)
        if self.global_rank != 0:
            return {}
        groups, count = [], 0
        for group, names in zip(plain.param_groups, self._names(plain), strict=True):
            groups.append({**group, "params": list(range(count, count := count + len(names)))})
        numbered = enumerate(name for names in self._names(plain) for name in names)
        return {"state": {number: named["state"][name] for number, name in numbered}, "param_groups": groups}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint of any strategy, and put weights and optimiser into this process's shards."""
        path = Path(self.broadcast(checkpoint_path))
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        self.load_full(checkpoint["state_dict"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            self._load_optimizer(optimizer, state)
        return checkpoint

    def full_weights(self) -> dict[str, Tensor]:
        """The module's present weights by name, gathered on the first rank's CPU; empty on others."""
        with self._full() as model:
            weights: dict[str, Tensor] = model.state_dict()
        return weights

    def forget(self) -> None:
        """Drop the gathered copy that the root keeps after a forward pass without a backward one: weights that are
        changed after it would be saved as they were."""
        assert self.model is not None
        for part in FullyShardedDataParallel.fsdp_modules(self.model):
            if part._handle is not None:
                _reshard(part, part._handle, True)  # FSDP has no public word for it

    def load_full(self, weights: dict[str, Tensor]) -> None:
        """Give every rank its shards of these weights."""
        with self._full(rank0_only=False) as model:
            model.load_state_dict(weights, strict=True)

    def _load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        names = self._names(optimizer)
        groups = [{**group, "params": mine} for group, mine in zip(state["param_groups"], names, strict=True)]
        numbered = enumerate(name for mine in names for name in mine)
        named = {"state": {name: state["state"][number] for number, name in numbered}, "param_groups": groups}
        with self._full(rank0_only=False) as model:
            shards = FullyShardedDataParallel.optim_state_dict_to_load(model, optimizer, named)
        optimizer.load_state_dict(shards)

    def _names(self, optimizer: torch.optim.Optimizer) -> list[list[str]]:
        """Names of the parameters of each group in the order that they had before FSDP, which lists them in its own."""
        assert self.model is not None
        names = {id(weight): name.replace(_WRAPPED, "") for name, weight in self.model.named_parameters()}
        groups = [[names[id(weight)] for weight in group["params"]] for group in optimizer.param_groups]
        return [sorted(group, key=self._order.__getitem__) for group in groups]

    @contextmanager
    def _full(self, rank0_only: bool = True) -> Iterator[nn.Module]:
        assert self.model is not None
        # on a CPU torch 2.15 does not copy what it offloads, and one moment of AdamW overwrites the other
        how = {"offload_to_cpu": self.root_device.type != "cpu", "rank0_only": rank0_only}
        weights, optimizer = FullStateDictConfig(**how), FullOptimStateDictConfig(**how)
        kind = StateDictType.FULL_STATE_DICT
        with FullyShardedDataParallel.state_dict_type(self.model, kind, weights, optimizer):
            yield self.model
