"""Low-rank adapters on a denoiser's linear layers: W x + (alpha / rank) B A x (Hu et al. 2021, arXiv 2106.09685).

Guarantee: what is added can be turned off, taken out and put back, and then the network computes what it did before,
bit for bit; two adapters share no weight. Price: two small products per layer while one is on. The only peft import.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.errors import SpecError
from clipsonic.weights import load_strictly


@dataclass(frozen=True)
class LowRank:
    """The shape of an adapter.

    Args:
        rank: inner width; the adapter of a layer has rank * (inputs + outputs) weights.
        alpha: strength; what it adds is scaled by alpha / rank.
        modules: it sits on the linear layers whose path has one of these words in it; none means all.

    Raises:
        SpecError: a rank below 1, or a strength of 0 or less.
    """

    rank: int
    alpha: float
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise SpecError(
                f"an adapter of rank {self.rank} and alpha {self.alpha} is none: give at least 1 and above 0"
            )


def add_adapter(network: nn.Module, shape: LowRank, name: str, seed: int = 0) -> None:
    """Put a new adapter on the network: A drawn from the seed, B zero. After it all adapters are off (`use_adapters`).

    Raises:
        SpecError: no linear layer has such a path.
    """
    from peft import LoraConfig, inject_adapter_in_model

    paths = linear_paths(network, shape.modules)
    pattern = "|".join(re.escape(path) for path in paths)
    alpha: Any = shape.alpha  # peft takes any number and says int
    config = LoraConfig(r=shape.rank, lora_alpha=alpha, target_modules=pattern, lora_dropout=0.0, bias="none")
    frozen = {weight: weight.requires_grad for weight in network.parameters()}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # a second adapter is meant
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, adapter_name=name)
    for weight, learns in frozen.items():  # peft freezes all that is not its own
        weight.requires_grad_(learns)
    use_adapters(network, {})


def linear_paths(network: nn.Module, words: Iterable[str] = ()) -> list[str]:
    """Paths of the linear layers that have one of these words in theirs; without words, of all.

    Raises:
        SpecError: there is none.
    """
    wanted = tuple(words)
    with without_adapters(network):
        linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    found = [path for path in linear if not wanted or any(word in path for word in wanted)]
    if not found:
        raise SpecError(
            f"no linear layer of {type(network).__name__} has one of {', '.join(wanted)} in its path: "
            "name other adapter modules"
        )
    return found


def use_adapters(network: nn.Module, weights: Mapping[str, float]) -> None:
    """Turn on these adapters, each with its weight (1 is as trained), and all others off."""
    for layer in _layers(network).values():
        layer.enable_adapters(bool(weights))
        layer.set_adapter(list(weights), inference_mode=True)
        for name, weight in weights.items():
            layer.set_scale(name, weight)


@contextmanager
def adapters_off(network: nn.Module) -> Iterator[None]:
    """Inside, the network is the one without adapters; after it, those that were in use are again."""
    layers = list(_layers(network).values())
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    before = [not layer.disable_adapters for layer in layers]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enable_adapters(enabled)
        network.requires_grad_(False)
        for weight in learning:
            weight.requires_grad_(True)


@contextmanager
def without_adapters(network: nn.Module) -> Iterator[None]:
    """Inside, the network has its plain layers under their plain names, as it is saved and loaded."""
    layers = _layers(network)
    for path, layer in layers.items():
        _put(network, path, layer.get_base_layer())
    try:
        yield
    finally:
        for path, layer in layers.items():
            _put(network, path, layer)


def adapter_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """A and B of every layer that has the adapter, by names such as `blocks.0.mlp_in.A`; empty if there is none."""
    found: dict[str, Tensor] = {}
    for path, layer in _layers(network).items():
        if name in layer.lora_A:
            found[f"{path}.A"] = layer.lora_A[name].weight
            found[f"{path}.B"] = layer.lora_B[name].weight
    return found


def set_adapter_weights(network: nn.Module, name: str, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state`, of the form that `adapter_weights` gives, into the adapter.

    Raises:
        CheckpointError: keys or shapes differ; the message lists them.
    """
    own = adapter_weights(network, name)
    load_strictly(_Plain(own), {key.replace(".", "/"): value for key, value in state.items()}, where)


def learning_weights(network: nn.Module, name: str) -> list[nn.Parameter]:
    """Let the adapter's weights learn and nothing else; returns them."""
    network.requires_grad_(False)
    found = [weight for weight in adapter_weights(network, name).values() if isinstance(weight, nn.Parameter)]
    for weight in found:
        weight.requires_grad_(True)
    return found


def remove_adapter(network: nn.Module, name: str) -> None:
    """Take an adapter out; a layer that has no other is the plain one again."""
    for path, layer in _layers(network).items():
        if name in layer.lora_A:
            layer.set_adapter([other for other in layer.active_adapters if other != name], inference_mode=True)
            layer.delete_adapter(name)
        if not layer.lora_A:
            _put(network, path, layer.get_base_layer())
    if (configs := getattr(network, "peft_config", None)) is not None:
        configs.pop(name, None)
        if not configs:
            del network.peft_config


def merged_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the plain network's weights with the adapters in use added, as `state_dict` names them."""
    with without_adapters(network):
        state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    for path, layer in _layers(network).items():
        for name in () if layer.disable_adapters else layer.active_adapters:
            if name in layer.lora_A:
                state[f"{path}.weight"] += layer.get_delta_weight(name).detach().to(state[f"{path}.weight"])
    return state


class _Plain(nn.Module):
    """Weights under flat names, so that they are loaded as strictly as a network's."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for key, weight in weights.items():
            self.register_buffer(key.replace(".", "/"), weight.detach())


def _layers(network: nn.Module) -> dict[str, Any]:
    """The layers that carry adapters, by path."""
    if getattr(network, "peft_config", None) is None:
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {path: module for path, module in network.named_modules() if isinstance(module, BaseTunerLayer)}


def _put(network: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, layer)
