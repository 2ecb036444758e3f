"""Folders as publishers lay them out, with small random weights, and the publisher's own network to compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

SEED = 11
BIGVGAN = {
    "resblock": "1", "activation": "snakebeta", "snake_logscale": True,
    "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8], "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "use_tanh_at_final": False, "use_bias_at_final": False,
    "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0, "fmax": 8000,
    "num_gpus": 0, "learning_rate": 0.0001, "segment_size": 65536,
}  # fmt: skip
AUDIOLDM = {
    "model_in_dim": 64, "sampling_rate": 16000, "upsample_initial_channel": 32,
    "upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]], "normalize_before": False,
}  # fmt: skip
SPEECHT5 = {
    "model_in_dim": 80, "sampling_rate": 16000, "upsample_initial_channel": 16,
    "upsample_rates": [4, 4, 4, 4], "upsample_kernel_sizes": [8, 8, 8, 8],
    "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]], "normalize_before": True,
}  # fmt: skip


def noise(*shape: int, seed: int = SEED) -> torch.Tensor:
    """Log-mels of nothing in particular."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) - 4.0


def loud(network: torch.nn.Module) -> torch.nn.Module:
    """The same network with weights large enough that every layer has a say in its answer."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    return network.eval()


def make_bigvgan(folder: Path, **change: Any) -> Any:
    """config.json and bigvgan_generator.pt as the package writes them, without keys set to None; its network."""
    package = pytest.importorskip("bigvgan.bigvgan")
    from bigvgan.env import AttrDict

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    config = {key: value for key, value in {**BIGVGAN, **change}.items() if value is not None}
    network = loud(package.BigVGAN(AttrDict(config)))
    network._save_pretrained(folder)
    return network


def make_hifigan(folder: Path, config: dict[str, Any] = AUDIOLDM) -> Any:
    """A folder of transformers' `save_pretrained`; returns transformers' network, (B, F, M) to (B, T)."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(SEED)
    network = loud(transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(**config)))
    network.mean.copy_(noise(len(network.mean)))
    network.scale.copy_(1.0 + noise(len(network.scale)).abs())
    network.save_pretrained(folder)
    return network


def make_original_hifigan(folder: Path) -> Any:
    """config.json and g_02500000 as the first HiFi-GAN has them, with weight norm; returns a network that keeps it."""
    shape = {**AUDIOLDM, "model_in_dim": 80, "upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4]}
    network = make_hifigan(folder / "unused", shape)
    for layer in [
        layer for layer in network.modules() if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d)
    ]:
        torch.nn.utils.weight_norm(layer)
        layer.weight_g.data.mul_(1.1)
    state = {key: value for key, value in network.state_dict().items() if key not in ("mean", "scale")}
    state = {key.replace("upsampler.", "ups."): value for key, value in state.items()}
    torch.save({"generator": state}, folder / "g_02500000")
    config = {key: value for key, value in shape.items() if key.startswith(("upsample", "resblock"))}
    mels = {key: BIGVGAN[key] for key in ("num_mels", "n_fft", "hop_size", "win_size", "sampling_rate", "fmin", "fmax")}
    (folder / "config.json").write_text(json.dumps({"resblock": "1", **config, **mels}))
    return network


def edit_config(folder: Path, **change: Any) -> None:
    """Change config.json; None takes a key out."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
