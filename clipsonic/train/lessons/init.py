"""Where a run begins: from random weights, or from those of a pipeline that is to learn more.

Guarantee: a pipeline of another network, segment or CLIP space is refused with what differs on both sides, except that
attention may be added to the fine level, whose new blocks begin as the identity; its mel statistics stay those it was
trained with, since its weights mean nothing in other ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipsonic.errors import SpecError, UsageError
from clipsonic.models.lowrank import merged_weights
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import network_facts
from clipsonic.specs import SegmentSpec
from clipsonic.train.config import TrainConfig
from clipsonic.train.engine.checkpoints import differences
from clipsonic.train.lessons.denoiser import make_denoiser

_NEW_PARTS = ("fine_attention", "fine_beat")
"""What may be there in the run and not in the pipeline, since it changes nothing before it is trained."""
_GROWING = "fine_attention"
"""Of these, what may also become more: blocks share their modulation, so an added one must answer zero at first."""


def denoiser_of(init: str, network: Any, segment: SegmentSpec) -> tuple[Tensor, Tensor]:
    """Give a network of the run the weights of a pipeline (a folder, a hub id or tiny), its adapter worked in; the
    result is the statistics (M,) of the mels that it learned from.

    Raises:
        SpecError: the denoiser (parts that begin as the identity aside) or segment is not the run's.
    """
    pipeline = own_weights_only(ClipSonicPipeline.from_pretrained(init))
    there, now = _facts(pipeline.denoiser, pipeline.segment), _facts(network, segment)
    new_parts = {name: now[name] for name in _NEW_PARTS if _may_be_added(name, there.get(name, 0), now.get(name, 0))}
    _require_same(init, {**there, **new_parts}, now)
    drawn = network.state_dict()
    if there.get(_GROWING):  # the first ones begin silent by gates of zero: two zeros would never learn
        drawn = _silent(drawn)
    weights = pipeline.denoiser.float().state_dict()
    network.load_state_dict({**drawn, **weights} if new_parts else weights, strict=True)
    return pipeline.mel_statistics


def pipeline_to_adapt(init: str | None, config: TrainConfig, segment: SegmentSpec) -> ClipSonicPipeline:
    """The pipeline that an adapter is trained on, with its own adapter, if it has one, worked in.

    Raises:
        UsageError: no pipeline.
        SpecError: its denoiser or segment is not the config's and the corpus's.
    """
    if init is None:
        raise UsageError(
            f"adapter.rank {config.adapter.rank} trains an adapter on a pipeline: name it with --init, also to continue"
        )
    pipeline = ClipSonicPipeline.from_pretrained(init)
    network = make_denoiser(config.model, config.objective.prediction_type, segment, config.run.seed)
    _require_same(init, _facts(pipeline.denoiser, pipeline.segment), _facts(network, segment))
    return own_weights_only(pipeline)


def own_weights_only(pipeline: ClipSonicPipeline) -> ClipSonicPipeline:
    """The pipeline with its adapter, if it has one, worked into its denoiser, in float32."""
    weights = merged_weights(pipeline.denoiser.float())
    pipeline.unload_adapter()
    pipeline.denoiser.load_state_dict(weights, strict=True)
    return pipeline


def _require_same(init: str, there: dict[str, Any], now: dict[str, Any]) -> None:
    if differing := differences(there, now):
        raise SpecError(f"--init {init} is another model ({differing}): train with its config, on a corpus of its CLIP")


def _may_be_added(name: str, there: int, now: int) -> bool:
    return now > there if name == _GROWING else bool(now and not there)


def _silent(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """These weights with every output layer of the fine level's attention blocks at zero."""
    outs = ("attention_out.", "mlp_out.")
    return {
        name: torch.zeros_like(value) if ".across." in f".{name}" and any(out in name for out in outs) else value
        for name, value in weights.items()
    }


def _facts(denoiser: Any, segment: SegmentSpec) -> dict[str, Any]:
    """All that decides whether weights of one fit the other."""
    return {**network_facts(denoiser), "segment": segment.to_dict()}
