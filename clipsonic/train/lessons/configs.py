"""What single lessons can be told, each in its own group of the config.

Guarantee: values that construct are in their range and go together. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipsonic.train.engine.config import require


@dataclass(frozen=True)
class AdapterConfig:
    """A low-rank adapter that is trained instead of the network of `--init`, which stays as it is.

    Args:
        rank: inner width; 0 trains the whole network.
        alpha: strength; what the adapter adds is scaled by alpha / rank.
        modules: it sits on the linear layers with one of these words in their path; none means all of them.
        keep: weight of a second loss: how far the network moves on what the pipeline made of its bank; 0 for none.
        merge: save the network with the adapter worked in, instead of the adapter beside it.
        start: an adapter's or a pipeline's folder to begin with, of the same shape, whatever weights it was trained on.
    """

    rank: int = 0
    alpha: float = 16.0
    modules: tuple[str, ...] = ()
    keep: float = 0.0
    merge: bool = False
    start: str | None = None

    def __post_init__(self) -> None:
        require(self.rank >= 0, "adapter.rank", self.rank, "at least 0 (0 trains the whole network)")
        require(self.alpha > 0.0, "adapter.alpha", self.alpha, "above 0")
        require(self.keep >= 0.0, "adapter.keep", self.keep, "at least 0")


@dataclass(frozen=True)
class DistillConfig:
    """How an adapter learns to do in few calls of the network what the network does in many.

    Args:
        steps: the most calls it shall need; 0 for an ordinary adapter.
        teacher_steps: calls of the network without the adapter from noise to sound, a multiple of steps.
        teacher_guidance: its scale; none is the pipeline's own, as its interval and its rescaling always are.
        flow_shift: how much the steps of both lean to high noise; none is as the pipeline's scheduler has it.
        whole_share: weight of the whole way from noise to sound, in one call; the rest goes to one step of the others.
        bank_share: share of samples that see a picture of the pipeline's bank instead of the corpus's frames.
    """

    steps: int = 0
    teacher_steps: int = 8
    teacher_guidance: float | None = None
    flow_shift: float | None = None
    whole_share: float = 0.5
    bank_share: float = 0.25

    def __post_init__(self) -> None:
        require(self.steps >= 0, "distill.steps", self.steps, "at least 0 (0 is no distillation)")
        for name in ("whole_share", "bank_share"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, f"distill.{name}", value, "from 0 to 1")
        require(self.flow_shift is None or self.flow_shift > 0.0, "distill.flow_shift", self.flow_shift, "above 0")
        if self.steps:
            multiple = self.teacher_steps >= 1 and self.teacher_steps % self.steps == 0
            require(multiple, "distill.teacher_steps", self.teacher_steps, f"a multiple of the {self.steps} steps")


def check_together(adapter: AdapterConfig, distill: DistillConfig, prediction_type: str) -> None:
    """Refuse what has no meaning together.

    Raises:
        UsageError: distillation without an adapter, of another objective than flow, or with a second loss.
    """
    if not distill.steps:
        return
    require(adapter.rank > 0, "adapter.rank", adapter.rank, "above 0 for distill.steps (--config adapter)")
    require(prediction_type == "flow", "objective.prediction_type", prediction_type, "flow for distill.steps")
    require(adapter.keep == 0.0, "adapter.keep", adapter.keep, "0 with distill.steps, which keeps all there is")
    require(not adapter.merge, "adapter.merge", adapter.merge, "false with distill.steps, which leaves the network")


@dataclass(frozen=True)
class ClipConfig:
    """The lesson `clip`: a CLIP from pairs of pictures and captions.

    Args:
        arch: architecture and preprocessing, a JSON file as in priors/recipes; none is the bundled recipe.
        kinds_together: kinds of things that every second batch is drawn from, so that details must be told apart.
    """

    arch: str | None = None
    kinds_together: int = 5

    def __post_init__(self) -> None:
        require(self.kinds_together >= 1, "clip.kinds_together", self.kinds_together, "at least 1")


@dataclass(frozen=True)
class PriorConfig:
    """The lesson `prior`: from embeddings of captions to embeddings of pictures.

    Args:
        clip: in whose space, as for ingest; read only where pairs still have to be embedded.
        depth: layers.
        heads: attention heads of 32.
        timesteps: of its diffusion.
        sample_steps: network calls of a sample, kept with the prior; none is all timesteps, few are often better.
    """

    clip: str = "tiny"
    depth: int = 4
    heads: int = 4
    timesteps: int = 100
    sample_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("depth", "heads"):
            require(getattr(self, name) >= 1, f"prior.{name}", getattr(self, name), "at least 1")
        require(self.timesteps >= 2, "prior.timesteps", self.timesteps, "at least 2")
        steps = self.sample_steps
        within = steps is None or 2 <= steps <= self.timesteps
        require(within, "prior.sample_steps", steps, f"from 2 to the {self.timesteps} timesteps")


@dataclass(frozen=True)
class VocoderConfig:
    """The lesson `vocoder`: from log-mels to waves; its mel space is `segment`, whose columns are a crop.

    Args:
        width: channels of the blocks.
        depth: number of blocks.
        rounds: of leading the wave back to its mel.
        relaxation: how much further than what is lacking all rounds but the last go.
        recordings_share: share of a batch that comes from --recordings, where there are some beside a corpus.
        gain_db: waves are made louder or softer by up to so much, so that levels are not learned.
        mel_weight: of the distance of log-mels beside that of magnitudes.
        judged_columns: of each crop, those that an adversary hears, from a random one on; none is all of them.
    """

    width: int = 192
    depth: int = 6
    rounds: int = 4
    relaxation: float = 1.9
    recordings_share: float = 0.5
    gain_db: float = 12.0
    mel_weight: float = 15.0
    judged_columns: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            require(getattr(self, name) >= 1, f"vocoder.{name}", getattr(self, name), "at least 1")
        require(self.rounds >= 0, "vocoder.rounds", self.rounds, "at least 0")
        require(self.relaxation > 0.0, "vocoder.relaxation", self.relaxation, "above 0")
        judged = self.judged_columns
        require(judged is None or judged >= 1, "vocoder.judged_columns", judged, "at least 1")
        share = self.recordings_share
        require(0.0 <= share <= 1.0, "vocoder.recordings_share", share, "from 0 to 1")


@dataclass(frozen=True)
class JudgeConfig:
    """The lesson `judge`: to name the kind of a soundstage sound. Its sounds are rendered as they are needed.

    Args:
        num_scenes: scenes that are learned from.
        num_held_out: scenes, with combinations of attributes that are never learned from, that it is judged by.
        scene_seed: of both.
        lengths_s: of the pieces that are heard, each batch of one of these.
    """

    num_scenes: int = 3000
    num_held_out: int = 1000
    scene_seed: int = 7
    lengths_s: tuple[float, ...] = (4.096, 4.096, 2.56)

    def __post_init__(self) -> None:
        require(self.num_scenes >= 1, "judge.num_scenes", self.num_scenes, "at least 1")
        require(self.num_held_out >= 25, "judge.num_held_out", self.num_held_out, "at least 25, one of each kind")
        long = len(self.lengths_s) > 0 and min(self.lengths_s) >= 1.0
        require(long, "judge.lengths_s", self.lengths_s, "1 s or more")


@dataclass(frozen=True)
class EarConfig:
    """The lesson `ear`: from sounds to the CLIP embeddings of their frames; its mel space and window are `segment`.

    Args:
        channels: widths of the stages.
        depths: convolutions in each stage.
        hidden: width before the last layer.
        num_frames: of a record that are right for its sound, drawn at each step.
        temperature: what cosines are divided by.
        twins: frames of two records at least so alike (a cosine) are never called wrong for each other.
        hardness: how much more those wrong ones count that are alike, in logits per cosine.
        doubt: from 0 to 1, how much less a pair teaches that does not fit; 0 believes all pairs alike.
        near_weight: of the distance to an own frame beside the contrast.
    """

    channels: tuple[int, ...] = (24, 40, 80, 128)
    depths: tuple[int, ...] = (1, 2, 2, 2)
    hidden: int = 256
    num_frames: int = 2
    temperature: float = 0.07
    twins: float = 0.99
    hardness: float = 0.0
    doubt: float = 0.0
    near_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("channels", "depths"):
            values = getattr(self, name)
            require(len(values) > 0 and min(values) >= 1, f"ear.{name}", values, "positive")
        same = len(self.channels) == len(self.depths)
        require(same, "ear.depths", self.depths, f"as many as the {len(self.channels)} ear.channels")
        for name in ("hidden", "num_frames"):
            require(getattr(self, name) >= 1, f"ear.{name}", getattr(self, name), "at least 1")
        require(self.temperature > 0.0, "ear.temperature", self.temperature, "above 0")
        for name in ("hardness", "near_weight"):
            require(getattr(self, name) >= 0.0, f"ear.{name}", getattr(self, name), "at least 0")
        require(0.0 <= self.doubt <= 1.0, "ear.doubt", self.doubt, "from 0 to 1")
