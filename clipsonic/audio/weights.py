"""Weights of published vocoders: read as plain tensors, weight norm resolved.

Guarantee: weight norm is resolved by the operation that the publisher's own module runs, so outputs do not change.
Price: the weights are held twice for a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipsonic.errors import CheckpointError
from clipsonic.weights import read_plain

State = dict[str, Tensor]

_PAIRS = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


def read_state(path: Path, inside: str | None = None) -> State:
    """The tensors of a weight file, floating ones in float32 on the CPU.

    Args:
        inside: the key under which a `.pt` file holds them, if it holds other things too.

    Raises:
        CheckpointError: unreadable, or holding something other than tensors (code is never run).
    """
    state = read_plain(path)
    if inside is not None and isinstance(state.get(inside), dict):
        state = state[inside]
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"weights {path} hold more than named tensors: bring the file with the weights alone")
    return {
        str(key): value.detach().float() if value.is_floating_point() else value.detach()
        for key, value in state.items()
    }


def resolved(state: Mapping[str, Tensor]) -> tuple[State, int]:
    """The state with every pair of weight norm (`weight_g` and `weight_v`) as one `weight`, and the number of pairs.

    A lone half stays as it is, and is refused as an unknown key later.
    """
    plain, num_pairs = dict(state), 0
    for length_end, direction_end in _PAIRS:
        for key in [key for key in plain if key.endswith(length_end)]:
            stem = key.removesuffix(length_end)
            if stem + direction_end in plain and f"{stem}.weight" not in plain:
                length, direction = plain.pop(key), plain.pop(stem + direction_end)
                plain[f"{stem}.weight"] = _weight(key, direction, length)
                num_pairs += 1
    return plain, num_pairs


def _weight(key: str, direction: Tensor, length: Tensor) -> Tensor:
    if direction.ndim < 2 or length.shape != (len(direction), *[1] * (direction.ndim - 1)):
        raise CheckpointError(
            f"weight norm {key} of shape {tuple(length.shape)} does not belong to a direction of shape "
            f"{tuple(direction.shape)}: bring the matching files"
        )
    weight: Tensor = torch._weight_norm(direction, length, 0)
    return weight
