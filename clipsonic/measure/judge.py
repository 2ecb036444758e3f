"""The judge: a small convolutional network that names the kind of a soundstage sound and gives features for distances.

Guarantee: it has only ever heard true synthesized sound, never a model's output; its verdict does not depend on the
sound's level (each item is scaled to equal power and seen through a window of `range_db` below its own maximum); a
batch gives what its items give alone. Loading is strict: other classes or other keys are refused.
Price: about 5 ms per 4-second sound on one CPU thread, 1 MB of weights.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from clipsonic.audio.hearing import FREQUENCY_CELLS, columns_of, halving, level_free
from clipsonic.audio.mel import LogMel
from clipsonic.errors import CheckpointError, SpecError
from clipsonic.files import write_whole
from clipsonic.resources import bundled_path
from clipsonic.soundstage.kinds import KINDS
from clipsonic.specs import MelSpec

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class JudgeConfig:
    """What fixes a judge's shape.

    Args:
        kinds: the classes, in order.
        mel: the mel space it looks at; its rate is the rate of the sounds it takes.
        channels: widths of the stages, each halving time and frequency.
        depths: convolutions in each stage.
        num_features: width of the features.
        range_db: what is further below an item's loudest cell is not seen.
        min_seconds: shortest sound it takes.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    mel: MelSpec = dataclasses.field(default_factory=MelSpec)
    channels: tuple[int, ...] = (24, 40, 80, 112)
    depths: tuple[int, ...] = (1, 1, 2, 2)
    num_features: int = 128
    range_db: float = 60.0
    min_seconds: float = 1.0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, read from JSON.

        Raises:
            CheckpointError: an unknown or a missing key.
        """
        try:
            mel = MelSpec.from_dict(values["mel"])
            lists = {name: tuple(values[name]) for name in ("kinds", "channels", "depths")}
            return cls(**{**values, **lists, "mel": mel})
        except (KeyError, TypeError, SpecError) as error:
            raise CheckpointError(
                f"the judge's {_CONFIG} does not describe a judge ({error}): bundle it anew"
            ) from None


class Verdicts(NamedTuple):
    """What the judge says of N sounds: probabilities (N, C), rows sum to 1, and features (N, num_features)."""

    probabilities: np.ndarray
    features: np.ndarray

    @property
    def named(self) -> np.ndarray:
        """The class called for each sound, (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


class Judge(nn.Module):
    """Classifier of sounds; `forward` takes wave (B, T) at `config.mel.sample_rate_hz`, any T from `min_seconds` up."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or JudgeConfig()
        self.log_mel = LogMel(self.config.mel)
        widths = (1, *self.config.channels)
        shapes = zip(widths[:-1], widths[1:], self.config.depths, strict=True)
        self.stages = nn.Sequential(*[halving(*shape) for shape in shapes])
        pooled = 2 * widths[-1] * FREQUENCY_CELLS
        self.features = nn.Sequential(nn.Linear(pooled, self.config.num_features), nn.GELU())
        self.head = nn.Linear(self.config.num_features, len(self.config.kinds))

    def picture(self, wave: Tensor) -> Tensor:
        """The level-free spectrogram (B, 1, M, F) in [0, 1]: 1 is the item's loudest cell, 0 is range_db below it."""
        return level_free(self.log_mel, wave, self.config.range_db)

    def judge_picture(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(logits (B, C), features (B, num_features)) of `picture`'s result."""
        flat = columns_of(self.stages(picture))
        features = self.features(torch.cat([flat.mean(dim=2), flat.amax(dim=2)], dim=1))
        return self.head(features), features

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(logits (B, C), features (B, num_features)) of wave (B, T).

        Raises:
            SpecError: the sounds are shorter than `min_seconds`.
        """
        rate_hz, least_s = self.config.mel.sample_rate_hz, self.config.min_seconds
        if wave.shape[1] < least_s * rate_hz:
            raise SpecError(
                f"a sound of {wave.shape[1] / rate_hz:.2f} s is below the judge's {least_s} s: give longer sounds"
            )
        return self.judge_picture(self.picture(wave))

    @torch.inference_mode()
    def verdicts(self, waves: np.ndarray, batch_size: int = 32) -> Verdicts:
        """The verdict on waves (N, T), float32, any level."""
        parts = [self(torch.from_numpy(waves[at : at + batch_size])) for at in range(0, len(waves), batch_size)]
        logits, features = (torch.cat(side) for side in zip(*parts, strict=True))
        return Verdicts(logits.softmax(dim=1).numpy(), features.numpy())

    def save(self, folder: Path) -> None:
        """Write config and float16 weights; whole files only."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: _stored(tensor) for name, tensor in self.state_dict().items()}
        write_whole(folder / _CONFIG, json.dumps(dataclasses.asdict(self.config), indent=1).encode() + b"\n")
        write_whole(folder / _WEIGHTS, serialize(weights))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The judge saved in this folder, in float32, ready to judge.

        Raises:
            CheckpointError: a file is missing or broken, or its keys, shapes or classes are others.
        """
        try:
            judge = cls(JudgeConfig.from_dict(json.loads((folder / _CONFIG).read_text())))
            weights = load_file(folder / _WEIGHTS)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"the judge in {folder} cannot be read ({error}): bundle it anew") from None
        if judge.config.kinds != tuple(KINDS):
            raise CheckpointError(
                f"the judge in {folder} knows other kinds than the soundstage: run clipsonic train --config judge"
            )
        _fill(judge, weights, folder)
        return judge.eval().requires_grad_(False)


def load_judge(folder: Path | None = None) -> Judge:
    """The bundled judge, or the one in `folder`."""
    return Judge.load(folder or bundled_path("priors", "judge"))


def _stored(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()


def _fill(judge: Judge, weights: dict[str, Tensor], folder: Path) -> None:
    expected = judge.state_dict()
    if set(weights) != set(expected):
        strange = sorted(set(weights) ^ set(expected))[:3]
        raise CheckpointError(
            f"the judge in {folder} has other keys than its config says ({', '.join(strange)} ...): bundle it anew"
        )
    for name, value in expected.items():
        if weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)} instead of {tuple(value.shape)}"
            raise CheckpointError(f"the judge in {folder} has {name} of shape {shapes}: bundle it anew")
        value.copy_(weights[name])
