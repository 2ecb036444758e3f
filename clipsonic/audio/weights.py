"""Published weights as data: read without running any code, weight norm resolved, loaded only if every key fits.

Guarantee: `.safetensors` or a `.pt`/`.bin` that holds tensors and nothing else; a missing, unknown or misshapen key is
refused by name. Weight norm is resolved by the operation that the publisher's own module runs, so outputs do not
change. Price: the weights are held twice for a moment.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from clipsonic.errors import CheckpointError

State = dict[str, Tensor]

_PAIRS = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))
_SHOWN = 4


def read_state(path: Path, inside: str | None = None) -> State:
    """The tensors of a weight file, floating ones in float32 on the CPU.

    Args:
        inside: the key under which a `.pt` file holds them, if it holds other things too.

    Raises:
        CheckpointError: unreadable, or holding something other than tensors (code is never run).
    """
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    if inside is not None and isinstance(state, dict) and isinstance(state.get(inside), dict):
        state = state[inside]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"weights {path} hold more than named tensors: bring the file with the weights alone")
    return {
        str(key): value.detach().float() if value.is_floating_point() else value.detach()
        for key, value in state.items()
    }


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"weights {path} cannot be read ({_first_line(error)}): bring the file again") from None


def _read_pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"weights {path} hold objects other than tensors, which could run code and are not loaded: "
            "bring a .safetensors file, or one with the weights alone"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise CheckpointError(f"weights {path} cannot be read ({_first_line(error)}): bring the file again") from None


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


def check_keys(own: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: Path | str) -> None:
    """Refuse weights whose keys or shapes are not the network's.

    Raises:
        CheckpointError: the message lists them.
    """
    wrong = [f"{key} {found[key]} instead of {own[key]}" for key in own if key in found and own[key] != found[key]]
    faults = [
        *_listed("missing", sorted(set(own) - set(found))),
        *_listed("unknown", sorted(set(found) - set(own))),
        *_listed("wrong shape", wrong),
    ]
    if faults:
        raise CheckpointError(
            f"weights {where} do not fit their config ({'; '.join(faults)}): bring the matching files"
        )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Key to shape."""
    return {key: tuple(value.shape) for key, value in state.items()}


def load_strictly(network: nn.Module, state: State, where: Path | str) -> None:
    """Put `state` into a network that may have been built without memory (on the device meta).

    Raises:
        CheckpointError: keys or shapes differ; the message lists them.
    """
    check_keys(shapes_of(network.state_dict()), shapes_of(state), where)
    network.load_state_dict(state, strict=True, assign=True)
    network.eval().requires_grad_(False)


def _listed(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"]


def _first_line(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return text[:160].rstrip(" .:")
