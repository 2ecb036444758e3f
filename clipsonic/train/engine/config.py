"""What every training can be told: the optimiser and its schedule, averaging, how long, how often, on what.

Guarantee: a config that constructs has every number in its range. Nothing heavy is imported here, so the command's help
is quick.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from clipsonic.errors import UsageError


def require(rule: bool, name: str, value: object, must: str) -> None:
    """Refuse a value that breaks its rule.

    Raises:
        UsageError: with name, value and rule.
    """
    if not rule:
        raise UsageError(f"{name} {value} must be {must}: change it in the config or with --{name}")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule.

    Args:
        lr: peak learning rate.
        betas: AdamW's averaging of gradient and its square.
        eps: AdamW's smallest divisor.
        weight_decay: on matrices only, not on norms and biases.
        warmup_steps: steps of linear rise from 0 to lr; never more than a tenth of the run.
        schedule: after the rise, a cosine fall to final_lr_share at the end of the run, or constant.
        final_lr_share: share of lr left at the end of the cosine.
        grad_clip: largest gradient norm.
        batch_size: records per step over all devices; a smaller corpus shrinks it.
        accumulate: batches per optimiser step.
    """

    lr: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.01
    warmup_steps: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr_share: float = 0.02
    grad_clip: float = 1.0
    batch_size: int = 16
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in ("lr", "grad_clip", "batch_size", "accumulate"):
            value = getattr(self, name)
            require(value > 0, f"optim.{name}", value, "above 0")
        require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "at least 0")
        require(all(0.0 <= beta < 1.0 for beta in self.betas), "optim.betas", self.betas, "from 0 to below 1")


@dataclass(frozen=True)
class EmaConfig:
    """The averaged weights that are validated, previewed and saved.

    Args:
        decay: share kept per step; it rises to this value as (1 + step) / (10 + step).
    """

    decay: float = 0.998

    def __post_init__(self) -> None:
        require(0.0 <= self.decay < 1.0, "ema.decay", self.decay, "from 0 to below 1")


@dataclass(frozen=True)
class RunConfig:
    """How long, how often, on what.

    Args:
        max_steps: optimiser steps in all, over all resumed sessions.
        max_minutes: training time in all, over all resumed sessions; the run ends at whichever limit comes first.
        val_every: steps between validations; 0 never.
        ckpt_every: steps between checkpoints; 0 only at the end and when interrupted.
        preview_every: steps between pictures and sounds of fixed prompts; 0 never.
        log_every: steps between log entries.
        seed: of everything that is drawn.
        precision: auto is bfloat16 on GPUs that have it, float32 elsewhere.
        device: where to compute: auto (a GPU if there is one), cpu, cuda or cuda:N.
        devices: GPUs of one machine (or processes on its CPU) to train on.
        nodes: machines.
        strategy: ddp gives each device a whole copy, fsdp a shard of weights and optimiser; auto is ddp for several.
        compile: compile the denoiser with torch.compile; a minute at the start, for GPUs.
        keep_last: newest checkpoints that are kept; the best by validation loss stays too, as best.ckpt.
        wandb: log to Weights & Biases as well.
    """

    max_steps: int = 20000
    max_minutes: float | None = None
    val_every: int = 500
    ckpt_every: int = 500
    preview_every: int = 2000
    log_every: int = 10
    seed: int = 0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    compile: bool = False
    keep_last: int = 2
    wandb: bool = False

    def __post_init__(self) -> None:
        for name in ("max_steps", "log_every", "devices", "nodes", "keep_last"):
            require(getattr(self, name) >= 1, f"run.{name}", getattr(self, name), "at least 1")
        for name in ("val_every", "ckpt_every", "preview_every"):
            require(getattr(self, name) >= 0, f"run.{name}", getattr(self, name), "at least 0 (0 is never)")
        alone = self.devices == 1 or ":" not in self.device
        require(alone, "run.device", self.device, f"cuda or auto where run.devices is {self.devices}")
        require(self.max_minutes is None or self.max_minutes > 0, "run.max_minutes", self.max_minutes, "above 0")


@dataclass(frozen=True)
class AdversaryConfig:
    """Networks that learn to tell true from made, while what is taught learns to pass.

    Args:
        weight: of passing in the lesson's loss; 0 is no adversary.
        features_weight: of the distance of true from made inside the adversary (feature matching).
        adaptive: scale `weight` so that passing pulls as hard at the last layer as the rest of the loss.
        start: steps before it joins.
        lr: peak learning rate; it rises and falls as the lesson's.
        betas: AdamW's averaging of gradient and its square.
        grad_clip: largest gradient norm.
        width: channels of its first layers.
    """

    weight: float = 0.0
    features_weight: float = 1.0
    adaptive: bool = False
    start: int = 0
    lr: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    grad_clip: float = 10.0
    width: int = 16

    def __post_init__(self) -> None:
        for name in ("weight", "features_weight", "start"):
            require(getattr(self, name) >= 0, f"adversary.{name}", getattr(self, name), "at least 0")
        for name in ("lr", "grad_clip", "width"):
            require(getattr(self, name) > 0, f"adversary.{name}", getattr(self, name), "above 0")
        require(all(0.0 <= beta < 1.0 for beta in self.betas), "adversary.betas", self.betas, "from 0 to below 1")


@dataclass(frozen=True)
class EngineConfig:
    """What the engine itself reads of a run's config.

    Args:
        optim: AdamW and its schedule
        ema: the averaged weights
        run: how long, how often, on what
    """

    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        ranks = self.run.devices * self.run.nodes
        size = self.optim.batch_size
        require(size % ranks == 0, "optim.batch_size", size, f"a multiple of the {ranks} devices")

    @property
    def lesson(self) -> str:
        """The lesson that these values ask for, by a name that no other has."""
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values only (tuples become lists), for checkpoints and JSON."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values
