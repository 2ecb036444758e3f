"""Everything a training run can be told, as typed dataclasses; the YAML files in `configs/` give a preset's numbers.

Guarantee: a config that constructs has every number in its range. The defaults are those of the preset `tiny`.
Nothing heavy is imported here, so the command's help is quick.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from clipsonic.errors import UsageError
from clipsonic.specs import MelFields, MelSpec, SegmentSpec
from clipsonic.train.adapter_config import AdapterConfig, DistillConfig, check_together


def _require(rule: bool, name: str, value: object, must: str) -> None:
    if not rule:
        raise UsageError(f"{name} {value} must be {must}: change it in the config or with --{name}")


@dataclass(frozen=True)
class DiTConfig:
    """The 1-D diffusion transformer over patches of mel columns.

    Args:
        patch: mel columns per token; must divide segment.num_mel_frames.
        width: model width D.
        depth: number of blocks.
        heads: attention heads; must divide the width.
        fine_depth: convolution blocks over short patches before and again after the transformer; 0 for none.
        fine_width: channels of these blocks.
        fine_patch: mel columns per position of these blocks; must divide the patch.
        fine_attention: attention blocks among these, on each side of the transformer; 0 for none.
        fine_beat: distances that these weigh by prompt and timestep; 0 for none.
    """

    patch: int = 32
    width: int = 256
    depth: int = 3
    heads: int = 4
    fine_depth: int = 2
    fine_width: int = 128
    fine_patch: int = 4
    fine_attention: int = 0
    fine_beat: int = 0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            least = 0 if name in ("fine_depth", "fine_attention", "fine_beat") else 1
            _require(value >= least, f"model.dit.{name}", value, f"at least {least}")
        _require(self.width % self.heads == 0, "model.dit.width", self.width, f"a multiple of the {self.heads} heads")


@dataclass(frozen=True)
class UNetConfig:
    """The diffusers U-Net over the mel as a picture.

    Args:
        channels: width of each level, from fine to coarse, multiples of head_width.
        layers: residual blocks per level.
        attention_levels: how many of the coarsest levels attend to the condition.
        head_width: channels per attention head.
        condition_width: width of the condition tokens.
    """

    channels: tuple[int, ...] = (128, 256, 384, 512)
    layers: int = 2
    attention_levels: int = 3
    head_width: int = 32
    condition_width: int = 768

    def __post_init__(self) -> None:
        _require(len(self.channels) > 0 and min(self.channels) >= 1, "model.unet.channels", self.channels, "positive")
        for name in ("layers", "attention_levels", "head_width", "condition_width"):
            _require(getattr(self, name) >= 1, f"model.unet.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class ModelConfig:
    """The denoiser.

    Args:
        kind: which network; only its own settings are used.
        checkpoint_blocks: keep only each block's input for the backward pass and compute the rest again: less memory,
            one more forward pass; the same gradients.
        dit: settings of the transformer.
        unet: settings of the U-Net.
    """

    kind: Literal["dit", "unet"] = "dit"
    checkpoint_blocks: bool = False
    dit: DiTConfig = field(default_factory=DiTConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)


@dataclass(frozen=True)
class SegmentConfig(MelFields):
    """What the model makes; the CLIP space comes from the corpus.

    Args:
        num_mel_frames: mel columns F of one segment; F * hop_length / sample_rate_hz is its length in seconds
            (with centred columns F - 1).
    """

    num_mel_frames: int = 256

    def spec(self, embed_width: int, fingerprint: str) -> SegmentSpec:
        """The segment in the CLIP space of a corpus.

        Raises:
            SpecError: an impossible geometry.
        """
        return SegmentSpec(MelSpec.of(self), self.num_mel_frames, embed_width, fingerprint)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the denoiser learns to say.

    Args:
        prediction_type: flow (rectified flow), epsilon or v_prediction (cosine schedule).
        min_snr_gamma: weight clipping for epsilon and v_prediction; none weighs all times alike.
        logit_mean: flow: mean of logit(t) in training; above 0 is more noise, where the condition decides.
        flow_shift: flow: how much the saved sampler's steps lean to high noise; 1 spaces them evenly.
        num_inference_steps: solver steps of the saved pipeline; none is the pipeline's own default.
        guidance_scale: guidance of the saved pipeline; none is its own default.
        guidance_interval: diffusion times (0 clean, 1 noise) where it is guided; none is everywhere.
    """

    prediction_type: Literal["flow", "epsilon", "v_prediction"] = "flow"
    min_snr_gamma: float | None = None
    logit_mean: float = 1.4
    flow_shift: float = 3.0
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        steps, (low, high) = self.num_inference_steps, self.guidance_interval or (0.0, 1.0)
        _require(steps is None or steps >= 1, "objective.num_inference_steps", steps, "at least 1")
        within = 0.0 <= low <= high <= 1.0
        _require(within, "objective.guidance_interval", [low, high], "two rising times from 0 to 1")

    @property
    def sampling(self) -> dict[str, Any]:
        """What the saved pipeline is told of its sampler, as its own arguments; what is none is left out."""
        told = {name: getattr(self, name) for name in ("num_inference_steps", "guidance_scale", "guidance_interval")}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True)
class ConditionConfig:
    """What each sample sees of its frames; the three shares are relative to their sum.

    Args:
        dropout: share of samples that see nothing (for classifier-free guidance).
        global_share: weight of one frame of the crop as a global token, like a picture or text prompt.
        pooled_share: weight of all frames averaged into a global token.
        timed_share: weight of all frames as tokens at their times, like a video prompt.
        embed_noise_std: length of the noise added to each embedding (of length 1), to close the text-picture gap.
    """

    dropout: float = 0.1
    global_share: float = 2.0
    pooled_share: float = 1.0
    timed_share: float = 1.0
    embed_noise_std: float = 0.4

    def __post_init__(self) -> None:
        _require(0.0 <= self.dropout < 1.0, "condition.dropout", self.dropout, "from 0 to below 1")
        for name in ("global_share", "pooled_share", "timed_share"):
            _require(getattr(self, name) >= 0.0, f"condition.{name}", getattr(self, name), "at least 0")
        _require(sum(self.shares) > 0.0, "condition.timed_share", self.timed_share, "above 0 if the others are 0")
        _require(self.embed_noise_std >= 0.0, "condition.embed_noise_std", self.embed_noise_std, "at least 0")

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of one global frame, pooled frames, timed frames."""
        return self.global_share, self.pooled_share, self.timed_share


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule.

    Args:
        lr: peak learning rate.
        betas: AdamW's averaging of gradient and its square.
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
            _require(value > 0, f"optim.{name}", value, "above 0")
        _require(self.warmup_steps >= 0, "optim.warmup_steps", self.warmup_steps, "at least 0")
        _require(all(0.0 <= beta < 1.0 for beta in self.betas), "optim.betas", self.betas, "from 0 to below 1")


@dataclass(frozen=True)
class EmaConfig:
    """The averaged weights that are validated, previewed and saved.

    Args:
        decay: share kept per step; it rises to this value as (1 + step) / (10 + step).
    """

    decay: float = 0.998

    def __post_init__(self) -> None:
        _require(0.0 <= self.decay < 1.0, "ema.decay", self.decay, "from 0 to below 1")


@dataclass(frozen=True)
class DataConfig:
    """How the corpus is read.

    Args:
        val_share: share of source videos held out for validation.
        drop_silent: leave out silent records.
        drop_duplicates: leave out records that look and sound like an earlier one.
        filter: which records to use, an expression over their facts such as `lufs > -50 and still_share < 0.9`.
        cache_mb: memory for decoded records, in MiB; what does not fit is read from the shards each time.
        num_workers: threads that prepare batches ahead; they never change a batch.
        bank_size: frame embeddings kept in the pipeline, for texts to land among (at most 65,536).
        weights: of each --corpus, such as [0.7,0.3], in what is trained on; none takes all records as one corpus's.
        cache_dir: where shards behind addresses are kept on this disk; by default ~/.cache/clipsonic/corpora.
        cache_gb: what they may take there, in GB; the least recently used are removed.
    """

    val_share: float = 0.05
    drop_silent: bool = True
    drop_duplicates: bool = False
    filter: str | None = None
    cache_mb: int = 1024
    num_workers: int = 1
    bank_size: int = 4096
    weights: tuple[float, ...] | None = None
    cache_dir: str | None = None
    cache_gb: float = 50.0

    def __post_init__(self) -> None:
        _require(0.0 <= self.val_share < 1.0, "data.val_share", self.val_share, "from 0 to below 1")
        _require(1 <= self.bank_size <= 65_536, "data.bank_size", self.bank_size, "from 1 to 65536")
        _require(self.cache_gb > 0, "data.cache_gb", self.cache_gb, "above 0")


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
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    compile: bool = False
    keep_last: int = 2
    wandb: bool = False

    def __post_init__(self) -> None:
        for name in ("max_steps", "log_every", "devices", "nodes", "keep_last"):
            _require(getattr(self, name) >= 1, f"run.{name}", getattr(self, name), "at least 1")
        for name in ("val_every", "ckpt_every", "preview_every"):
            _require(getattr(self, name) >= 0, f"run.{name}", getattr(self, name), "at least 0 (0 is never)")
        _require(self.max_minutes is None or self.max_minutes > 0, "run.max_minutes", self.max_minutes, "above 0")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Args:
        model: the denoiser
        segment: what the model makes
        objective: what the denoiser learns to say
        condition: what each sample sees of its frames
        optim: AdamW and its schedule
        ema: the averaged weights
        data: how the corpus is read
        run: how long, how often, on what
        adapter: a low-rank adapter instead of the network
        distill: an adapter that makes few steps do
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)

    def __post_init__(self) -> None:
        check_together(self.adapter, self.distill, self.objective.prediction_type)
        alone = not self.adapter.rank or self.run.strategy != "fsdp"
        _require(
            alone, "run.strategy", self.run.strategy, "auto or ddp with adapter.rank, which is small enough for each"
        )
        ranks = self.run.devices * self.run.nodes
        size = self.optim.batch_size
        _require(size % ranks == 0, "optim.batch_size", size, f"a multiple of the {ranks} devices")

    def to_dict(self) -> dict[str, Any]:
        """Plain values only (tuples become lists), for checkpoints and JSON."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values
