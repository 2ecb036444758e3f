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
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import network_facts
from clipsonic.specs import SegmentSpec
from clipsonic.train.adapters import AdapterModule, own_weights_only
from clipsonic.train.checkpoints import differences
from clipsonic.train.clock import Clock
from clipsonic.train.config import TrainConfig
from clipsonic.train.data import TrainData, mel_statistics
from clipsonic.train.distill import DistillModule
from clipsonic.train.module import SoundModule
from clipsonic.train.network import make_denoiser

_NEW_PARTS = ("fine_attention", "fine_beat")
"""What may be there in the run and not in the pipeline, since it changes nothing before it is trained."""
_GROWING = "fine_attention"
"""Of these, what may also become more: blocks share their modulation, so an added one must answer zero at first."""


def new_module(config: TrainConfig, segment: SegmentSpec, data: TrainData, init: str | None = None) -> SoundModule:
    """A module at its first step.

    Args:
        init: a pipeline folder, a hub id or tiny, whose denoiser is trained on; None draws weights from the seed.

    Raises:
        SpecError: the denoiser (parts that begin as the identity aside) or segment is not the config's and corpus's.
    """
    if config.adapter.rank:
        module: SoundModule = adapter_module(config, segment, init, Clock(config.run))
        learning = sum(weight.numel() for weight in module.denoiser.parameters() if weight.requires_grad)
        data.notes.append(f"an adapter of {learning} weights on {init}")
    elif init is None:
        module = SoundModule(config, segment, *mel_statistics(data.loader), Clock(config.run))
    else:
        module = _from_pipeline(config, segment, init)
        data.notes.append(f"starting from the weights of {init}")
    module.stream = data.loader.state_dict()
    return module


def adapter_module(
    config: TrainConfig, segment: SegmentSpec, init: str | None, clock: Clock, saved: dict[str, Tensor] | None = None
) -> AdapterModule:
    """A module that trains an adapter on a pipeline; `saved` are the tensors of the checkpoint that it goes on from.

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
    if differing := differences(_facts(pipeline.denoiser, pipeline.segment), _facts(network, segment)):
        raise SpecError(f"--init {init} is another model ({differing}): train with its config, on a corpus of its CLIP")
    kind = DistillModule if config.distill.steps else AdapterModule
    return kind(config, segment, pipeline, clock, saved)


def _from_pipeline(config: TrainConfig, segment: SegmentSpec, init: str) -> SoundModule:
    pipeline = own_weights_only(ClipSonicPipeline.from_pretrained(init))
    mean, std = pipeline.mel_statistics
    module = SoundModule(config, segment, mean, std, Clock(config.run))
    there, now = _facts(pipeline.denoiser, pipeline.segment), _facts(module.denoiser, segment)
    new_parts = {name: now[name] for name in _NEW_PARTS if _may_be_added(name, there.get(name, 0), now.get(name, 0))}
    if differing := differences({**there, **new_parts}, now):
        raise SpecError(f"--init {init} is another model ({differing}): train with its config, on a corpus of its CLIP")
    drawn = module.denoiser.state_dict()
    if there.get(_GROWING):  # the first ones begin silent by gates of zero: two zeros would never learn
        drawn = _silent(drawn)
    weights = pipeline.denoiser.float().state_dict()
    module.start_from({**drawn, **weights} if new_parts else weights)
    return module


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
