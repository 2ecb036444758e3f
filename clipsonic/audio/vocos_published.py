"""Vocos (Siuzdak 2023, arXiv 2306.00814) as its author publishes it: mels, ConvNeXt blocks, one inverse STFT.

The package `vocos` needs torchaudio and encodec, so its weights are loaded into modules of ours by a strict key map.
Guarantee: the answer is the package's within float32 rounding (held against outputs of the package), and the window and
the filterbank that travel with the weights are those of the mel space. Price: only the mel family (no EnCodec tokens).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.audio.frames import overlap_add
from clipsonic.audio.mel import mel_filterbank
from clipsonic.audio.vocos import ConvNeXtBlock
from clipsonic.audio.weights import State
from clipsonic.errors import CheckpointError
from clipsonic.settings import WHOLE, Kind, one_of
from clipsonic.specs import MelSpec

NAME = "vocos"
CONFIG_FILE = "config.yaml"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INSIDE = None
SETTINGS: dict[str, Kind] = {
    **dict.fromkeys(("num_mels", "width", "hidden", "depth", "n_fft", "hop_length"), WHOLE),
    "padding": one_of("same", "center"),
}

_EPSILON = 1e-6
_LARGEST_MAGNITUDE = 100.0
_LOG_FLOOR = 1e-7
_CLASSES = {"feature_extractor": "MelSpectrogramFeatures", "backbone": "VocosBackbone", "head": "ISTFTHead"}
_FEATURE_DEFAULTS = {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"}
_RENAMED = (
    (r"^backbone\.embed\.", "columns_in."),
    (r"^backbone\.norm\.", "norm_in."),
    (r"^backbone\.final_layer_norm\.", "norm_out."),
    (r"^head\.out\.", "bins_out."),
    (r"^backbone\.convnext\.(\d+)\.gamma$", r"blocks.\1.scale"),
    (r"^backbone\.convnext\.(\d+)\.dwconv\.", r"blocks.\1.near."),
    (r"^backbone\.convnext\.(\d+)\.norm\.", r"blocks.\1.norm."),
    (r"^backbone\.convnext\.(\d+)\.pwconv1\.", r"blocks.\1.mlp_in."),
    (r"^backbone\.convnext\.(\d+)\.pwconv2\.", r"blocks.\1.mlp_out."),
)
_WINDOWS = ("head.istft.window", "feature_extractor.mel_spec.spectrogram.window")
_FILTERBANK = "feature_extractor.mel_spec.mel_scale.fb"
_BANK_TOLERANCE = 1e-4
"""torchaudio computes its bands in float32; 7e-6 measured for the published bank."""


def recognises(config: dict[str, Any]) -> bool:
    """A config with the package's three parts."""
    return all(isinstance(config.get(part), dict) and "class_path" in config[part] for part in _CLASSES)


def _parts(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Arguments of features, backbone and head; their classes are names that are compared, and never imported.

    Raises:
        CheckpointError: another class, or a setting that no published mel model has.
    """
    for part, wanted in _CLASSES.items():
        if (found := str(config[part]["class_path"]).rsplit(".", 1)[-1]) != wanted:
            raise CheckpointError(
                f"{part} {found} is not supported: bring a Vocos with {wanted}, such as vocos-mel-24khz"
            )
    features, backbone, head = (dict(config[part].get("init_args") or {}) for part in _CLASSES)
    features, head = _FEATURE_DEFAULTS | features, {"padding": "same"} | head
    if backbone.get("adanorm_num_embeddings"):
        raise CheckpointError(
            "adanorm_num_embeddings is not supported: bring a Vocos for mels, such as vocos-mel-24khz"
        )
    for name in ("n_fft", "hop_length", "padding"):
        if features[name] != head[name]:
            raise CheckpointError(
                f"{name} {features[name]} of the features is {head[name]} in the head: bring a config where they agree"
            )
    return features, backbone, head


def mel_space(config: dict[str, Any]) -> MelSpec:
    """torchaudio's mels as the package takes them: HTK bands of peak 1 up to half the rate, ln from 1e-7."""
    features, _, _ = _parts(config)
    rate_hz = int(features["sample_rate"])
    return MelSpec(
        rate_hz, int(features["n_fft"]), int(features["hop_length"]), int(features["n_mels"]), 0.0, rate_hz // 2 * 1.0,
        _LOG_FLOOR, mel_scale="htk", mel_norm="none", padding=str(features["padding"]),
    )  # fmt: skip


def network_config(config: dict[str, Any]) -> dict[str, Any]:
    """The shape of the network, in our words."""
    _, backbone, head = _parts(config)
    return {
        "num_mels": int(backbone["input_channels"]),
        "width": int(backbone["dim"]),
        "hidden": int(backbone["intermediate_dim"]),
        "depth": int(backbone["num_layers"]),
        "hop_length": int(head["hop_length"]),
    }


def geometry(network_config: dict[str, Any]) -> tuple[int, int]:
    """Hop and mels."""
    return int(network_config["hop_length"]), int(network_config["num_mels"])


def network(network_config: dict[str, Any], spec: MelSpec) -> nn.Module:
    """Our modules in the package's arrangement."""
    with torch.device("meta"):
        return VocosNetwork(spec, *(network_config[name] for name in ("width", "hidden", "depth")))


class VocosNetwork(nn.Module):
    """The published network: unlike `vocos.Vocos` it says magnitudes and phases outright, with no guess from the mel.

    Args:
        spec: its mel space.
        width, hidden, depth: channels of the blocks, inside a block, and their number.
    """

    def __init__(self, spec: MelSpec, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.spec = spec
        self.columns_in = nn.Conv1d(spec.num_mels, width, 7, padding=3)
        self.norm_in = nn.LayerNorm(width, eps=_EPSILON)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, hidden, 1.0 / depth, _EPSILON) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, eps=_EPSILON)
        self.bins_out = nn.Linear(width, spec.n_fft + 2)

    def forward(self, log_mel_BMF: Tensor) -> Tensor:
        """(B, M, F) to (B, T): magnitudes of at most 100, phases, inverse STFT."""
        h_BFW = self.norm_in(self.columns_in(log_mel_BMF).transpose(1, 2))
        for block in self.blocks:
            h_BFW = block(h_BFW)
        magnitude_BFK, phase_BFK = self.bins_out(self.norm_out(h_BFW)).chunk(2, dim=-1)
        spectrum_BFK = torch.polar(magnitude_BFK.exp().clamp_max(_LARGEST_MAGNITUDE), phase_BFK)
        window = torch.hann_window(self.spec.n_fft, device=log_mel_BMF.device)
        frames_BFN = torch.fft.irfft(spectrum_BFK, n=self.spec.n_fft) * window
        squares_1FN = window.square().expand(1, frames_BFN.shape[1], -1)
        edge, hop = self.spec.edge_padding, self.spec.hop_length
        return overlap_add(frames_BFN, edge, hop) / overlap_add(squares_1FN, edge, hop)


def own_state(state: State, spec: MelSpec) -> tuple[State, int]:
    """The package's keys as ours; windows and filterbank are compared with the mel space and left out.

    Raises:
        CheckpointError: a window or a filterbank that is not the mel space's.
    """
    rest, num_compared = dict(state), 0
    expected = dict.fromkeys(_WINDOWS, torch.hann_window(spec.n_fft)) | {_FILTERBANK: mel_filterbank(spec).T}
    for key, wanted in expected.items():
        if key in rest:
            found = rest.pop(key)
            if found.shape != wanted.shape or not torch.allclose(found, wanted, atol=_BANK_TOLERANCE, rtol=0.0):
                raise CheckpointError(
                    f"{key} is not that of the mel space of config.yaml: bring the config that belongs to the weights"
                )
            num_compared += 1
    return {_renamed(key): value for key, value in rest.items()}, num_compared


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        if re.match(pattern, key):
            return re.sub(pattern, name, key)
    return key
