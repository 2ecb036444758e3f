"""Small reference data of the published package `vocos`: random weights in its own layout, and what it makes of them.

    python scripts/make_vocos_reference.py tests/audio/data/vocos

Run it where `vocos` 0.1.0 is installed with a torch and a torchaudio that match (tested: torch and torchaudio 2.11.0,
encodec 0.1.1); clipsonic need not be. It writes, for padding `center` and `same`, a folder with config.yaml and
pytorch_model.bin as the publisher lays them out and reference.npz (mel, wave); and mels.npz, the package's features of
a sound at the settings of `charactr/vocos-mel-24khz` with torchaudio's filterbank's largest entries.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from vocos.feature_extractors import MelSpectrogramFeatures
from vocos.pretrained import Vocos

SMALL = {"sample_rate": 16000, "n_fft": 256, "hop_length": 64, "n_mels": 20}
PUBLISHED = {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"}
WIDTH, HIDDEN, DEPTH, COLUMNS = 24, 48, 2, 12


def main(target: Path) -> None:
    for padding in ("center", "same"):
        folder = target / padding
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config_of(padding)))
        torch.manual_seed(7)
        model = Vocos.from_hparams(str(folder / "config.yaml")).eval()
        for weights in model.parameters():
            weights.data.add_(0.1 * torch.randn_like(weights))
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        mel = torch.randn(2, SMALL["n_mels"], COLUMNS) - 3.0
        np.savez_compressed(folder / "reference.npz", mel=mel.numpy(), wave=model.decode(mel).numpy())
    wave = (0.2 * np.random.default_rng(7).standard_normal(7000)).astype(np.float32)
    wave[:2000] *= 1e-4  # below and about the floor of the logarithm
    features = MelSpectrogramFeatures(**PUBLISHED)
    mel = features(torch.from_numpy(wave)[None])[0].numpy()
    bank = features.mel_spec.mel_scale.fb.numpy()
    np.savez_compressed(target / "mels.npz", wave=wave, mel=mel, peaks=bank.max(axis=0), places=bank.argmax(axis=0))


def config_of(padding: str) -> dict:
    """The package's config, as its author writes it."""
    backbone = {"input_channels": SMALL["n_mels"], "dim": WIDTH, "intermediate_dim": HIDDEN, "num_layers": DEPTH}
    head = {"dim": WIDTH, "n_fft": SMALL["n_fft"], "hop_length": SMALL["hop_length"], "padding": padding}
    return {
        "feature_extractor": {
            "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
            "init_args": {**SMALL, "padding": padding},
        },
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
