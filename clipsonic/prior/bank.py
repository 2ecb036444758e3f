"""A bank of picture embeddings of a corpus: where its pictures lie in the CLIP space, and so where a text should land.

Guarantee: at most MAX_BANK unit vectors of one named space. Price: 2 bytes per number, 17 MB if full at E = 128.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.files import write_json
from clipsonic.weights import read_weights, save_weights

MAX_BANK = 65_536
CONFIG_FILE = "bank_config.json"
WEIGHTS_FILE = "bank.safetensors"


@dataclass(frozen=True, eq=False)
class EmbedBank:
    """Picture embeddings of a corpus.

    Args:
        images: (N, E) float32 unit vectors.
        fingerprint: the CLIP space they live in.

    Raises:
        UsageError: none, or more than MAX_BANK.
    """

    images: torch.Tensor
    fingerprint: str

    def __post_init__(self) -> None:
        if self.images.ndim != 2 or not 1 <= len(self.images) <= MAX_BANK:
            raise UsageError(f"a bank of shape {tuple(self.images.shape)} must be (N, E) with N from 1 to {MAX_BANK}")

    @classmethod
    def of(cls, images: np.ndarray, fingerprint: str) -> Self:
        """A bank of these embeddings (N, E), whatever their length and precision."""
        values = torch.from_numpy(np.asarray(images, dtype=np.float32))
        return cls(torch.nn.functional.normalize(values, dim=-1), fingerprint)

    def save(self, folder: Path) -> None:
        """Write the folder that `from_folder` reads, in float16."""
        save_weights(folder / WEIGHTS_FILE, {"images": self.images})
        write_json(folder / CONFIG_FILE, {"fingerprint": self.fingerprint})

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read a saved bank.

        Raises:
            CheckpointError: missing or damaged.
        """
        try:
            fingerprint = str(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["fingerprint"])
            images = read_weights(folder / WEIGHTS_FILE)["images"]
            return cls.of(images.float().numpy(), fingerprint)
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise CheckpointError(f"bank {folder} is damaged ({error}): train again, or remove the folder") from None
