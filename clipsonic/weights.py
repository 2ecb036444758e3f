"""Weights as data: read without running any code, loaded only where every key fits, and a fingerprint of their content.

Guarantee: a missing key, an extra key or a wrong shape is refused with all of them named; equal weights (after
rounding to float16) have equal fingerprints wherever they lie. Price: one pass over the weights.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from clipsonic.errors import CheckpointError, first_line
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


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Key to shape."""
    return {key: tuple(value.shape) for key, value in state.items()}


def shapes_in(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Key to shape of what lies in safetensors files, from their headers.

    Raises:
        CheckpointError: one is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from None
    return shapes


def check_shapes(own: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: Path | str) -> None:
    """Refuse weights whose keys or shapes are not the network's own.

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


def load_strictly(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: Path | str, *, assign: bool = False
) -> None:
    """Copy `state` into `module` (cast to the module's types), or put it there as it is (`assign`), which a module
    without memory (on the device meta) needs.

    Raises:
        CheckpointError: keys or shapes differ; the message lists them.
    """
    check_shapes(shapes_of(module.state_dict()), shapes_of(state), where)
    module.load_state_dict(state, strict=True, assign=assign)


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write safetensors in float16, whole."""
    write_whole(path, save(halved(state)))


def save_exactly(path: Path, state: Mapping[str, torch.Tensor], floating: torch.dtype) -> None:
    """Write safetensors with floating weights of this type, whole; tensors that share memory are written each."""
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
    if not path.is_file():
        raise CheckpointError(f"weights {path} are missing: the folder is incomplete, save or train it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None


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
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds no plain weights but objects that could run code and are not loaded: bring a safetensors "
            "file, or a .pth of tensors"
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} holds no plain weights ({first_line(error)}): bring a safetensors file, or a .pth of tensors"
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not weights by name: bring a safetensors file")
    return loaded


def _unreadable(path: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"weights {path} cannot be read ({first_line(error)}): bring the file again")


def _listed(what: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"]
