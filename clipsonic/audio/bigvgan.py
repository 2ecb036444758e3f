"""BigVGAN 1 and 2 (Lee et al. 2023, arXiv 2206.04658), as NVIDIA publishes them: the one door to the package `bigvgan`.

Guarantee: the answer is the package's own, bit for bit, with weight norm resolved once instead of at every call.
Price: an extra (`pip install clipsonic[bigvgan]`) whose import takes three seconds; 112 M weights are slow on a CPU.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.audio.hifigan import hifigan_style_space
from clipsonic.audio.weights import State
from clipsonic.errors import UsageError
from clipsonic.settings import WHOLE, YES_NO, Kind, list_of, one_of
from clipsonic.specs import MelSpec

NAME = "bigvgan"
CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "bigvgan_generator.pt", "g_*")
INSIDE = "generator"

_OPTIONAL = {"use_bias_at_final": True, "use_tanh_at_final": True}
SETTINGS: dict[str, Kind] = {
    "resblock": one_of("1", "2"),
    "num_mels": WHOLE,
    "upsample_initial_channel": WHOLE,
    "upsample_rates": list_of(WHOLE),
    "upsample_kernel_sizes": list_of(WHOLE),
    "resblock_kernel_sizes": list_of(WHOLE),
    "resblock_dilation_sizes": list_of(list_of(WHOLE)),
    "activation": one_of("snake", "snakebeta"),
    "snake_logscale": YES_NO,
    **dict.fromkeys(_OPTIONAL, YES_NO),
}
"""All that the package may be told: not `use_cuda_kernel`, for instance, which compiles code."""


def recognises(config: dict[str, Any]) -> bool:
    """A config with periodic activations."""
    return config.get("activation") in ("snake", "snakebeta") and "upsample_rates" in config


def mel_space(config: dict[str, Any]) -> MelSpec:
    """The space that the config says; extraction is HiFi-GAN's."""
    return hifigan_style_space(config)


def network_config(config: dict[str, Any]) -> dict[str, Any]:
    """The shape of the network; what training needs is left out."""
    return {key: config.get(key, _OPTIONAL[key]) if key in _OPTIONAL else config[key] for key in SETTINGS}


def geometry(network_config: dict[str, Any]) -> tuple[int, int]:
    """Hop and mels."""
    return math.prod(network_config["upsample_rates"]), int(network_config["num_mels"])


def network(network_config: dict[str, Any], spec: MelSpec) -> nn.Module:
    """The package's network, its weight norm removed.

    Raises:
        UsageError: the package is not installed.
    """
    try:
        from bigvgan.bigvgan import BigVGAN
        from bigvgan.env import AttrDict
    except ImportError:
        raise UsageError(
            "a BigVGAN vocoder needs an extra that is not installed: pip install clipsonic[bigvgan]"
        ) from None
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch: its old weight norm
        generator = BigVGAN(AttrDict(network_config))
        for layer in generator.modules():
            if hasattr(layer, "weight_g"):
                nn.utils.remove_weight_norm(layer)
    return _MonoWave(generator)


class _MonoWave(nn.Module):
    """The package gives (B, 1, T)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, log_mel_BMF: Tensor) -> Tensor:
        """(B, M, F) to (B, T)."""
        wave_BT: Tensor = self.generator(log_mel_BMF)[:, 0]
        return wave_BT


def own_state(state: State, spec: MelSpec) -> tuple[State, int]:
    """The names are the package's."""
    return {f"generator.{key.removeprefix('generator.')}": value for key, value in state.items()}, 0
