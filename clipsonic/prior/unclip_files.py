"""Reads priors of the unCLIP family from folders as diffusers keeps them: Karlo, Kandinsky 2.1 and 2.2, ECLIPSE.

Guarantee: the network's and the scheduler's own configs decide the shape, an argument that is not known is refused,
and nothing is guessed where a config is missing. Price: the weights are read whole.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from clipsonic.errors import CheckpointError
from clipsonic.prior.published import Published, read_json, with_defaults
from clipsonic.prior.shapes import UnclipShape
from clipsonic.settings import arguments_of
from clipsonic.weights import read_plain

_CONFIG, _SCHEDULER_CONFIG = "config.json", "scheduler_config.json"
_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
)
_SCHEDULERS = {"prior_scheduler": "karlo", "scheduler": "kandinsky"}
"""The folder of the prior's scheduler in the pipelines of either; elsewhere the two are one arithmetic."""
_CLIPS = {768: "ViT-L-14:openai", 1280: "ViT-bigG-14:laion2b_s39b_b160k"}
"""The CLIP of the published priors, by the width of their space."""


def find_unclip(source: Path) -> Path | None:
    """The prior's own folder that `source` (it, or a pipeline's folder around it) stands for, or None."""
    return next((folder for folder in (source / "prior", source) if _is_prior(folder)), None)


def read_unclip(folder: Path) -> Published:
    """Read a PriorTransformer's folder; the scheduler's config is looked for beside it and in it.

    Raises:
        CheckpointError: a file that is missing, damaged, no plain weights, or of arguments that are not known.
    """
    from diffusers.models.transformers.prior_transformer import PriorTransformer
    from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

    network = _arguments(PriorTransformer, folder / _CONFIG)
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), folder / _WEIGHTS[0])
    state = read_plain(weights)
    notes = [f"{weights.name}, {_types(state)}"]
    clip = _CLIPS.get(UnclipShape(network).width)
    if not any(key.startswith("time_embedding.") for key in state):
        network["additional_embeddings"] = _one_pass_tokens(network, folder / _CONFIG)
        notes.append("no time embedding, so one pass")
        return Published("eclipse", UnclipShape(network), state, weights, len(state), notes, clip=clip)
    place, kind = _scheduler_of(folder)
    scheduler = _arguments(UnCLIPScheduler, place)
    notes.append(
        f"predictions clipped at {scheduler['clip_sample_range']:g}" if scheduler["clip_sample"] else "no clip"
    )
    return Published(kind, UnclipShape(network, scheduler), state, weights, len(state), notes, clip=clip)


def _is_prior(folder: Path) -> bool:
    path = folder / _CONFIG
    return path.is_file() and read_json(path, "the config").get("_class_name") == "PriorTransformer"


def _arguments(maker: Any, path: Path) -> dict[str, Any]:
    """A class's arguments, by its defaults and a config."""
    kinds, parameters = arguments_of(maker), inspect.signature(maker.__init__).parameters
    defaults = {name: parameters[name].default for name in kinds}
    return with_defaults(read_json(path, "the config"), defaults, kinds, path)


def _one_pass_tokens(network: dict[str, Any], where: Path) -> int:
    """ECLIPSE's network has three tokens after the captions': text, noise, and the one that answers."""
    tokens = int(network["additional_embeddings"])
    if network["added_emb_type"] != "prd" or tokens != 3:
        raise CheckpointError(
            f"{where} has no time embedding but {tokens} added tokens of type {network['added_emb_type']}: "
            "ECLIPSE's has 3 of type prd, bring its own config"
        )
    return tokens


def _scheduler_of(folder: Path) -> tuple[Path, str]:
    for name, kind in _SCHEDULERS.items():
        if (folder.parent / name / _SCHEDULER_CONFIG).is_file():
            return folder.parent / name / _SCHEDULER_CONFIG, kind
    if (folder / _SCHEDULER_CONFIG).is_file():
        return folder / _SCHEDULER_CONFIG, "karlo"
    raise CheckpointError(
        f"{folder} lacks its scheduler: bring {_SCHEDULER_CONFIG} of its pipeline "
        f"(in {' or '.join(_SCHEDULERS)}) into this folder"
    )


def _types(state: dict[str, torch.Tensor]) -> str:
    return " and ".join(sorted({str(value.dtype).removeprefix("torch.") for value in state.values()}))
