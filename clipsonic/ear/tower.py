"""The ear: a small convolutional network from a sound to the CLIP embedding of its frames (after Wav2CLIP, Wu et al.
2022, arXiv 2110.11499, without a caption or a label).

Guarantee: what it says does not depend on a sound's level; a batch gives what its items give alone; a sound of any
length from `LEAST_S` up has a vector for each window, with its time. Loading is strict. Price: about 3 ms of a core for
a window of four seconds at the size of the preset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.audio.hearing import FREQUENCY_CELLS, columns_of, halving, level_free
from clipsonic.audio.mel import LogMel, with_mel_fields
from clipsonic.errors import CheckpointError, SpecError, first_line
from clipsonic.settings import arguments_of, taken
from clipsonic.specs import MelSpec
from clipsonic.weights import check_shapes, content_hash, shapes_in, shapes_of

CONFIG_FILE = "config.json"
LEAST_S = 1.0
"""Shortest sound that an ear is asked about, in seconds."""
RANGE_DB = 80.0
"""What is further below an item's loudest cell is not heard."""
_BATCH = 32


class Heard(NamedTuple):
    """What an ear says of N sounds of one length: unit vectors (N, W, E), and the middle of each window (W,) in s."""

    embeds: np.ndarray
    times_s: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """One unit vector (N, E) for each sound: the direction of the mean of its windows."""
        mean_NE = self.embeds.mean(axis=1)
        return np.asarray(mean_NE / np.linalg.norm(mean_NE, axis=1, keepdims=True).clip(1e-12))


class Ear(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own two bases differ in config_name
    """Sounds to unit vectors in a CLIP space.

    Args:
        embed_width: E of the CLIP space.
        space: fingerprint of the CLIP whose frames it was taught with.
        window_columns: mel columns of a window, what it was taught on; a shorter sound is heard whole.
        channels: widths of the stages, each halving time and frequency.
        depths: convolutions in each stage.
        hidden: width before the last layer.
        half: of the source videos, which it has learned from (`shards.selection.half_of`); None: all, or unknown.
        mel: the mel space that it looks at: the fields of `MelSpec`, each a key of the config.

    Raises:
        SpecError: an impossible mel space, or a half that is none.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    @with_mel_fields
    def __init__(
        self,
        *,
        embed_width: int,
        space: str,
        window_columns: int = 256,
        channels: Sequence[int] = (24, 40, 80, 128),
        depths: Sequence[int] = (1, 2, 2, 2),
        hidden: int = 256,
        half: int | None = None,
        **mel: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if half not in (None, 0, 1):
            raise SpecError(f"half {half!r} of an ear must be 0, 1 or none: name the half that it has learned from")
        self.spec = MelSpec(**mel)
        self.log_mel = LogMel(self.spec)
        widths = (1, *channels)
        self.stages = nn.Sequential(*[halving(*shape) for shape in zip(widths[:-1], channels, depths, strict=True)])
        self.inner = nn.Linear(2 * widths[-1] * FREQUENCY_CELLS, hidden)
        self.outer = nn.Linear(hidden, embed_width)

    @property
    def space(self) -> str:
        """Fingerprint of the CLIP space that it answers in."""
        return str(self.config["space"])

    @property
    def learned_half(self) -> int | None:
        """The half of the source videos that it has learned from, 0 or 1; None from all, or unknown."""
        half: int | None = dict(self.config).get("half")
        return half

    @property
    def fingerprint(self) -> str:
        """Names its weights, and with them what it would say."""
        return f"{self.space}+ear/{content_hash(self.state_dict())}"

    def picture(self, wave_BT: Tensor) -> Tensor:
        """What it looks at, (B, 1, M, F) in [0, 1], free of level."""
        return level_free(self.log_mel, wave_BT, RANGE_DB)

    def forward(self, picture: Tensor, seen: Tensor | None = None) -> Tensor:
        """picture (B, 1, M, F) to unit vectors (B, E) float32; `seen` (B,), shares of the columns from the first on
        that count, by default all of them."""
        flat_BCF = columns_of(self.stages(picture))
        if seen is None:
            pooled = torch.cat([flat_BCF.mean(dim=2), flat_BCF.amax(dim=2)], dim=1)
        else:
            pooled = _pooled(flat_BCF, seen)
        embeds_BE = self.outer(functional.gelu(self.inner(pooled)))
        return functional.normalize(embeds_BE.float(), dim=1)

    @torch.inference_mode()
    def embed_sounds(self, waves: np.ndarray, rate_hz: int) -> Heard:
        """What it hears in sounds of one length, (N, T) float in any level at its own rate.

        Raises:
            SpecError: another rate, or sounds shorter than `LEAST_S`.
        """
        if rate_hz != self.spec.sample_rate_hz:
            raise SpecError(
                f"sounds at {rate_hz} Hz are not heard by an ear of {self.spec.sample_rate_hz} Hz: resample them first"
            )
        length = waves.shape[1]
        if length < LEAST_S * rate_hz:
            raise SpecError(f"a sound of {length / rate_hz:.2f} s is below the {LEAST_S:g} s that an ear needs")
        starts, window = window_starts(length, self.spec.num_samples(int(self.config["window_columns"])))
        device = self.outer.weight.device
        heard = [
            torch.stack([self(self.picture(part[:, start : start + window].to(device))) for start in starts], dim=1)
            for part in torch.split(torch.from_numpy(np.ascontiguousarray(waves, dtype=np.float32)), _BATCH)
        ]
        times_s = (np.array(starts) + window / 2) / rate_hz
        return Heard(torch.cat(heard).cpu().numpy(), times_s)

    @classmethod
    def load(cls, folder: Path) -> Ear:
        """The ear in this folder, in float32, ready to listen.

        Raises:
            CheckpointError: a file is missing or damaged, or its settings or weights are not an ear's.
        """
        try:
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            taken(config, arguments_of(cls), folder / CONFIG_FILE)
            ear = cls.from_pretrained(str(folder), torch_dtype=torch.float32, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, SpecError) as error:
            raise CheckpointError(f"ear {folder} cannot be loaded ({first_line(error)}): bring it again") from None
        check_shapes(shapes_of(ear.state_dict()), shapes_in(folder.glob("*.safetensors")), folder)
        own: Ear = ear.eval().requires_grad_(False)
        return own


def window_starts(length: int, window: int) -> tuple[list[int], int]:
    """First samples of the windows of a sound, and their length: one after the other, the last one at the end."""
    if length <= window:
        return [0], length
    starts = list(range(0, length - window, window))
    return [*starts, length - window], window


def facts_of(ear: Ear) -> dict[str, Any]:
    """What makes an ear of this kind."""
    return {name: value for name, value in dict(ear.config).items() if not name.startswith("_")}


def _pooled(flat_BCF: Tensor, seen_B: Tensor) -> Tensor:
    """Mean and maximum (B, 2 C) over each item's first columns."""
    count_B = (seen_B * flat_BCF.shape[2]).ceil().clamp(1, flat_BCF.shape[2])
    counts_B1F = (torch.arange(flat_BCF.shape[2], device=flat_BCF.device) < count_B[:, None])[:, None]
    mean_BC = (flat_BCF * counts_B1F).sum(dim=2) / count_B[:, None].to(flat_BCF.dtype)
    return torch.cat([mean_BC, flat_BCF.masked_fill(~counts_B1F, -torch.inf).amax(dim=2)], dim=1)
