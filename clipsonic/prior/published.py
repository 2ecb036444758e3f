"""Published: a prior as its publisher's files have it, under today's names, before a network is built of it.

Guarantee: plain tensors only, nothing of the file is run; what was left out is said in `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clipsonic.errors import CheckpointError
from clipsonic.prior.adapter import Shape
from clipsonic.settings import Kind, taken


@dataclass(frozen=True, eq=False)
class Published:
    """A prior to convert.

    Args:
        kind: whose it is, one of `config.KINDS`.
        shape: what its config says.
        state: its weights under the names of our network.
        where: the weights' file.
        num_keys: entries of that file.
        notes: what was decided while reading, each a clause.
        sample_steps: network calls of a sample, None for as many as the network's own default.
        clip: the CLIP it was trained with, as `load_clip` takes it, where the publisher says so.
    """

    kind: str
    shape: Shape
    state: dict[str, torch.Tensor]
    where: Path
    num_keys: int
    notes: list[str] = field(default_factory=list)
    sample_steps: int | None = None
    clip: str | None = None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A publisher's config.

    Raises:
        CheckpointError: missing or damaged; `what` says what it is.
    """
    if not path.is_file():
        raise CheckpointError(f"{what} {path} is missing: bring it from where the weights came")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise CheckpointError(f"{what} {path} is damaged ({error}): bring the file again") from None
    return config


def with_defaults(config: Any, defaults: Mapping[str, Any], kinds: Mapping[str, Kind], where: Path) -> dict[str, Any]:
    """`defaults` with the values of `config`; keys that begin with "_" are the publisher's own.

    Raises:
        CheckpointError: a key that is not known, since it would change the arithmetic unseen, or no value of its kind.
    """
    return {**defaults, **taken(config, kinds, where)}
