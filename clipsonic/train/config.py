"""Everything a training run can be told, as typed dataclasses; the YAML files in `configs/` give a preset's numbers.

Guarantee: a config that constructs has every number in its range. The defaults are those of the preset `tiny`.
Nothing heavy is imported here, so the command's help is quick.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipsonic.errors import UsageError
from clipsonic.specs import MelFields, MelSpec, SegmentSpec
from clipsonic.train.engine.config import AdversaryConfig, EmaConfig, EngineConfig, OptimConfig, RunConfig, require
from clipsonic.train.lessons.configs import (
    AdapterConfig,
    ClipConfig,
    DistillConfig,
    EarConfig,
    JudgeConfig,
    PriorConfig,
    VocoderConfig,
    check_together,
)

__all__ = ["AdversaryConfig", "EmaConfig", "OptimConfig", "RunConfig", "TrainConfig"]

LESSONS = ("sound", "clip", "prior", "vocoder", "judge", "ear")
SHARDED = ("sound", "prior")
"""Lessons whose weights FSDP may share out."""


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
            require(value >= least, f"model.dit.{name}", value, f"at least {least}")
        require(self.width % self.heads == 0, "model.dit.width", self.width, f"a multiple of the {self.heads} heads")


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
        require(len(self.channels) > 0 and min(self.channels) >= 1, "model.unet.channels", self.channels, "positive")
        for name in ("layers", "attention_levels", "head_width", "condition_width"):
            require(getattr(self, name) >= 1, f"model.unet.{name}", getattr(self, name), "at least 1")


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
        require(steps is None or steps >= 1, "objective.num_inference_steps", steps, "at least 1")
        within = 0.0 <= low <= high <= 1.0
        require(within, "objective.guidance_interval", [low, high], "two rising times from 0 to 1")

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
        require(0.0 <= self.dropout < 1.0, "condition.dropout", self.dropout, "from 0 to below 1")
        for name in ("global_share", "pooled_share", "timed_share"):
            require(getattr(self, name) >= 0.0, f"condition.{name}", getattr(self, name), "at least 0")
        require(sum(self.shares) > 0.0, "condition.timed_share", self.timed_share, "above 0 if the others are 0")
        require(self.embed_noise_std >= 0.0, "condition.embed_noise_std", self.embed_noise_std, "at least 0")

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of one global frame, pooled frames, timed frames."""
        return self.global_share, self.pooled_share, self.timed_share


@dataclass(frozen=True)
class DataConfig:
    """How the corpus is read.

    Args:
        val_share: share of source videos held out for validation.
        drop_silent: leave out silent records.
        drop_duplicates: leave out records that look and sound like an earlier one.
        filter: which records to use, an expression over their facts such as `lufs > -50 and still_share < 0.9`.
        half: 0 or 1 learns from that half of the source videos only, so that `clipsonic hear` can ask who never saw
            a video; none learns from all.
        cache_mb: memory of a machine for decoded records, in MiB, which all of its processes share that read the same;
            what does not fit is read from the shards each time.
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
    half: int | None = None
    cache_mb: int = 1024
    num_workers: int = 1
    bank_size: int = 4096
    weights: tuple[float, ...] | None = None
    cache_dir: str | None = None
    cache_gb: float = 50.0

    def __post_init__(self) -> None:
        require(0.0 <= self.val_share < 1.0, "data.val_share", self.val_share, "from 0 to below 1")
        require(self.half in (None, 0, 1), "data.half", self.half, "0 or 1, or none for both")
        require(1 <= self.bank_size <= 65_536, "data.bank_size", self.bank_size, "from 1 to 65536")
        require(self.cache_gb > 0, "data.cache_gb", self.cache_gb, "above 0")


_OPTIONS = {"corpora": "--corpus", "pairs": "--pairs", "val_pairs": "--val-pairs", "recordings": "--recordings"}
READS = {
    **dict.fromkeys(("sound", "adapter", "fewstep"), ("corpora",)),
    **dict.fromkeys(("clip", "prior"), ("pairs", "val_pairs")),
    "vocoder": ("corpora", "recordings"),
    "judge": (),
    "ear": ("corpora",),
}
"""What each lesson learns from; one of your own may read anything."""


@dataclass(frozen=True)
class Sources:
    """Where a lesson's data lies.

    Args:
        corpora: what `clipsonic ingest` wrote: folders or addresses.
        pairs: pictures with captions (tars), or folders of embeddings.
        val_pairs: as `pairs`, to judge by.
        recordings: a folder of sounds.
    """

    corpora: tuple[Path | str, ...] = ()
    pairs: tuple[str, ...] = ()
    val_pairs: tuple[str, ...] = ()
    recordings: str | None = None

    def check(self, lesson: str) -> None:
        """Refuse what a lesson does not read.

        Raises:
            UsageError: with the lesson and what it learns from.
        """
        reads = READS.get(lesson, tuple(_OPTIONS))
        for name, option in _OPTIONS.items():
            if getattr(self, name) and name not in reads:
                others = " and ".join(_OPTIONS[other] for other in reads) or "what it renders itself"
                raise UsageError(f"{option} is not read by {lesson}, which learns from {others}: leave it out")


@dataclass(frozen=True)
class TrainConfig(EngineConfig):
    """A whole run.

    Args:
        learn: the lesson (sound, clip, prior, vocoder, judge, ear), or MODULE:NAME of the `course` of one of your own.
            sound is an adapter with adapter.rank, and one that needs few steps with distill.steps
        optim: AdamW and its schedule
        ema: the averaged weights
        run: how long, how often, on what
        model: the denoiser
        segment: what the model makes; of a vocoder and a judge its mel space
        objective: what the denoiser learns to say
        condition: what each sample sees of its frames
        data: how the corpus is read
        adapter: a low-rank adapter instead of the network
        distill: an adapter that makes few steps do
        adversary: networks that tell true from made, for the lessons that have them
        clip: the lesson clip
        prior: the lesson prior
        vocoder: the lesson vocoder
        judge: the lesson judge
        ear: the lesson ear
    """

    learn: str = "sound"
    model: ModelConfig = field(default_factory=ModelConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    ear: EarConfig = field(default_factory=EarConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.learn in LESSONS or ":" in self.learn
        require(known, "learn", self.learn, f"one of {', '.join(LESSONS)}, or MODULE:NAME")
        check_together(self.adapter, self.distill, self.objective.prediction_type)
        goes = self.run.strategy != "fsdp" or self.lesson in SHARDED or ":" in self.learn
        must = f"auto or ddp: {self.lesson} is small enough for each device, only {' and '.join(SHARDED)} go in shards"
        require(goes, "run.strategy", self.run.strategy, must)

    @property
    def lesson(self) -> str:
        """The lesson that these values ask for."""
        if self.learn != "sound" or not self.adapter.rank:
            return self.learn
        return "fewstep" if self.distill.steps else "adapter"
