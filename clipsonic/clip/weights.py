"""Weights as data: strict loading, float16 on disk, and a fingerprint of their content.

Guarantee: a missing key, an extra key or a wrong shape is refused with all of them named; equal weights (after
rounding to float16) have equal fingerprints wherever they lie. Price: one pass over the weights.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipsonic.errors import CheckpointError
from clipsonic.files import whole_file, write_whole

_SHOWN = 4


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating tensors as contiguous float16 on the CPU, the others as they are.

    Raises:
        CheckpointError: a value that float16 cannot hold.
    """
    result = {}
    for key, value in state.items():
        kept = value.detach().to("cpu", torch.float16) if value.is_floating_point() else value.detach().cpu()
        if kept.is_floating_point() and not bool(torch.isfinite(kept).all()):
            raise CheckpointError(
                f"weight {key} has a value that is not finite in float16: train again at a lower rate"
            )
        result[key] = kept.contiguous()
    return result


def content_hash(state: Mapping[str, torch.Tensor]) -> str:
    """Twelve hexadecimal digits over names, shapes and float16-rounded values, in key order."""
    digest = hashlib.blake2b(digest_size=32)
    for key, value in sorted(halved(state).items()):
        digest.update(f"{key}\x1f{tuple(value.shape)}\x1f{value.dtype}\x1f".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data if value.ndim else value.numpy().tobytes())
    return digest.hexdigest()[:12]


def load_strictly(module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: Path | str) -> None:
    """Copy `state` into `module` (cast to the module's types).

    Raises:
        CheckpointError: keys or shapes differ; the message lists them.
    """
    own = module.state_dict()
    faults = _listed("missing", sorted(set(own) - set(state))) + _listed("unknown", sorted(set(state) - set(own)))
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    faults += _listed("wrong shape", wrong)
    if faults:
        raise CheckpointError(
            f"weights {where} do not fit their config ({'; '.join(faults)}): bring the matching files"
        )
    module.load_state_dict(state, strict=True)


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write safetensors in float16, whole."""
    from safetensors.torch import save

    write_whole(path, save(halved(state)))


def save_exactly(path: Path, state: Mapping[str, torch.Tensor], floating: torch.dtype) -> None:
    """Write safetensors with floating weights of this type, whole; tensors that share memory are written each."""
    from safetensors.torch import save_file

    kept: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for key, value in state.items():
        type_ = floating if value.is_floating_point() else value.dtype
        kept[key] = value.detach().to("cpu", type_).contiguous()
        if kept[key].data_ptr() in places:
            kept[key] = kept[key].clone()
        places.add(kept[key].data_ptr())
    with whole_file(path) as temporary:
        save_file(kept, temporary)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read safetensors.

    Raises:
        CheckpointError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"weights {path} are missing: the folder is incomplete, save or train it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"weights {path} cannot be read ({error}): bring the file again") from None


def read_plain(path: Path) -> dict[str, Any]:
    """Read a checkpoint of any kind as data: safetensors, or a pickle of tensors and plain containers.

    Raises:
        CheckpointError: missing, damaged, or a pickle that would have to run code to be read.
    """
    if path.suffix == ".safetensors":
        return dict(read_weights(path))
    if not path.is_file():
        raise CheckpointError(f"weights {path} are missing: bring the file, or give its path")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} holds no plain weights ({_first_words(error)}): bring a safetensors file, or a .pth of tensors"
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not weights by name: bring a safetensors file")
    return loaded


def _first_words(error: BaseException) -> str:
    """What an unreadable file's error says, as part of a sentence."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return text[:120].rstrip(" .:")


def _listed(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"]
