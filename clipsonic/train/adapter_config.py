"""What a run that trains an adapter can be told: its shape, what it keeps, and whether it learns to need few steps.

Guarantee: values that construct are in their range and go together. Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipsonic.errors import UsageError


def _require(rule: bool, name: str, value: object, must: str) -> None:
    if not rule:
        raise UsageError(f"{name} {value} must be {must}: change it in the config or with --{name}")


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
        _require(self.rank >= 0, "adapter.rank", self.rank, "at least 0 (0 trains the whole network)")
        _require(self.alpha > 0.0, "adapter.alpha", self.alpha, "above 0")
        _require(self.keep >= 0.0, "adapter.keep", self.keep, "at least 0")


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
        _require(self.steps >= 0, "distill.steps", self.steps, "at least 0 (0 is no distillation)")
        for name in ("whole_share", "bank_share"):
            value = getattr(self, name)
            _require(0.0 <= value <= 1.0, f"distill.{name}", value, "from 0 to 1")
        _require(self.flow_shift is None or self.flow_shift > 0.0, "distill.flow_shift", self.flow_shift, "above 0")
        if self.steps:
            multiple = self.teacher_steps >= 1 and self.teacher_steps % self.steps == 0
            _require(multiple, "distill.teacher_steps", self.teacher_steps, f"a multiple of the {self.steps} steps")


def check_together(adapter: AdapterConfig, distill: DistillConfig, prediction_type: str) -> None:
    """Refuse what has no meaning together.

    Raises:
        UsageError: distillation without an adapter, of another objective than flow, or with a second loss.
    """
    if not distill.steps:
        return
    _require(adapter.rank > 0, "adapter.rank", adapter.rank, "above 0 for distill.steps (--config adapter)")
    _require(prediction_type == "flow", "objective.prediction_type", prediction_type, "flow for distill.steps")
    _require(adapter.keep == 0.0, "adapter.keep", adapter.keep, "0 with distill.steps, which keeps all there is")
    _require(not adapter.merge, "adapter.merge", adapter.merge, "false with distill.steps, which leaves the network")
