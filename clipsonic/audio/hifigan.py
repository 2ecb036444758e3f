"""HiFi-GAN (Kong, Kim and Bae 2020, arXiv 2010.05646) as AudioLDM and SpeechT5 publish it: `SpeechT5HifiGan`.

The only import of transformers in this folder. Files in the layout of transformers load, and those of the original
repository, whose keys (`ups.0.weight_g`) are renamed. Guarantee: the answer is transformers' own. Price: importing it
takes three seconds; kernels 16 over steps of 5 make 32 samples more than columns, which are cut off.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.audio.weights import State
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.settings import NUMBER, WHOLE, YES_NO, Kind, list_of
from clipsonic.specs import MelSpec

NAME = "hifigan"
CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "g_*", "generator*")
INSIDE = "generator"

_SHAPE: dict[str, Kind] = {
    "upsample_initial_channel": WHOLE,
    "upsample_rates": list_of(WHOLE),
    "upsample_kernel_sizes": list_of(WHOLE),
    "resblock_kernel_sizes": list_of(WHOLE),
    "resblock_dilation_sizes": list_of(list_of(WHOLE)),
}
SETTINGS: dict[str, Kind] = {
    **_SHAPE,
    "model_in_dim": WHOLE,
    "leaky_relu_slope": NUMBER,
    "normalize_before": YES_NO,
}
"""All that transformers may be told: nothing by which it would load code or kernels of somebody's choice."""
_SPACES_BY_SHAPE = {(16000, 160, 64): "audioldm", (16000, 256, 80): "speecht5"}
"""A transformers config tells rate, hop and mels and nothing else of the space; these two are published."""
_ORIGINAL_OFFSET = 1e-9


def recognises(config: dict[str, Any]) -> bool:
    """A config of transformers' SpeechT5HifiGan, or of the original repository."""
    return "SpeechT5HifiGan" in (config.get("architectures") or []) or (
        config.get("model_type") in ("hifigan", "speecht5_hifigan") or _is_original(config)
    )


def _is_original(config: dict[str, Any]) -> bool:
    return "resblock" in config and "sampling_rate" in config and "activation" not in config


def mel_space(config: dict[str, Any]) -> MelSpec:
    """The space of a known shape; the original repository's config says its own.

    Raises:
        CheckpointError: a shape of which no mel space is published.
    """
    if isinstance(config.get("mel"), dict):
        return MelSpec.from_dict(config["mel"])
    if _is_original(config):
        return hifigan_style_space(config)
    values = network_config(config)
    shape = (int(config["sampling_rate"]), *geometry(values))
    if shape not in _SPACES_BY_SHAPE:
        raise CheckpointError(
            f"a HiFi-GAN of {shape[0]} Hz, hop {shape[1]} and {shape[2]} mels has no mel space that is known here: "
            "add its MelSpec to config.json as `mel`"
        )
    return MEL_SPACES[_SPACES_BY_SHAPE[shape]]


def hifigan_style_space(config: dict[str, Any]) -> MelSpec:
    """The space of a config with `n_fft`, `hop_size`, `win_size`, `fmin` and `fmax` (none: half the rate).

    Raises:
        CheckpointError: a window of another length than the transform.
    """
    rate_hz, n_fft = int(config["sampling_rate"]), int(config["n_fft"])
    if config["win_size"] != n_fft:
        raise CheckpointError(
            f"win_size {config['win_size']} differs from n_fft {n_fft}, which no mel space here has: "
            "bring a vocoder whose window fills the transform"
        )
    f_max_hz = rate_hz / 2 if config["fmax"] is None else float(config["fmax"])
    values = (rate_hz, n_fft, int(config["hop_size"]), int(config["num_mels"]), float(config["fmin"]), f_max_hz)
    lenient = MelSpec(*values, power_offset=_ORIGINAL_OFFSET, dependent_bands=True)
    return lenient if lenient in MEL_SPACES.values() else replace(lenient, dependent_bands=False)


def network_config(config: dict[str, Any]) -> dict[str, Any]:
    """The shape of the network, under transformers' names.

    Raises:
        CheckpointError: residual blocks of the original's second kind.
    """
    kept = {key: config[key] for key in _SHAPE}
    if _is_original(config):
        if str(config["resblock"]) != "1":
            raise CheckpointError(f"resblock {config['resblock']!r} is not supported: bring a vocoder of resblock '1'")
        return {**kept, "model_in_dim": config["num_mels"], "leaky_relu_slope": 0.1, "normalize_before": False}
    return {key: config[key] for key in SETTINGS}


def geometry(network_config: dict[str, Any]) -> tuple[int, int]:
    """Hop and mels."""
    return math.prod(network_config["upsample_rates"]), int(network_config["model_in_dim"])


def network(network_config: dict[str, Any], spec: MelSpec) -> nn.Module:
    """transformers' network.

    Raises:
        UsageError: transformers is not installed.
    """
    try:
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig
    except ImportError:
        raise UsageError(
            "a HiFi-GAN vocoder needs transformers, which is not installed: pip install transformers"
        ) from None
    with torch.device("meta"):
        return _ColumnsLast(SpeechT5HifiGan(SpeechT5HifiGanConfig(**network_config)))


class _ColumnsLast(nn.Module):
    """transformers wants (B, F, M)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, log_mel_BMF: Tensor) -> Tensor:
        """(B, M, F) to (B, T)."""
        wave_BT: Tensor = self.generator(log_mel_BMF.transpose(1, 2))
        return wave_BT


def own_state(state: State, spec: MelSpec) -> tuple[State, int]:
    """The original's keys as transformers names them; it has no statistics, so they become 0 and 1."""
    if any(key.startswith("ups.") for key in state):
        state = {re.sub(r"^ups\.", "upsampler.", key): value for key, value in state.items()}
        state = {"mean": torch.zeros(spec.num_mels), "scale": torch.ones(spec.num_mels), **state}
    return {f"generator.{key.removeprefix('generator.')}": value for key, value in state.items()}, 0
