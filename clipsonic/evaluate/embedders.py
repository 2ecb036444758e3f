"""Audio embedders: what may compare sounds of videos whose laws are unknown, in place of the spectrogram's difference.

An embedder is any callable (waves (N, T) float32, sample_rate_hz) -> features (N, C), given as MODULE:NAME; a published
one (CLAP, PANNs, VGGish) needs a few lines around its package. Guarantee: features of the wrong shape, or that are not
finite, are refused before they are scored. Price: whatever the embedder costs, once per row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.measure.judge import Judge, load_judge

AudioEmbedder = Callable[[np.ndarray, int], np.ndarray]
NAMES = ("mel", "judge")
"""`mel` compares spectrograms and needs no features; `judge` has the bundled judge's, which knows the soundstage."""


def load_embedder(name: str) -> AudioEmbedder | None:
    """The embedder of this name; None for `mel`.

    Raises:
        UsageError: a name that is none of NAMES and no importable MODULE:NAME.
    """
    if name == "mel":
        return None
    if name == "judge":
        return judge_features(load_judge())
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"--audio-embedder {name} cannot be imported ({error}): give {', '.join(NAMES)} or MODULE:NAME of a "
            "callable (waves, sample_rate_hz) -> features"
        ) from None
    if not callable(found):
        raise UsageError(f"--audio-embedder {name} is a {type(found).__name__}: give a callable")
    return _checked(found, name)


def judge_features(judge: Judge) -> AudioEmbedder:
    """The judge's features of sounds at any rate."""

    def embed(waves: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        return judge.verdicts(at_rate(waves, sample_rate_hz, judge.config.mel.sample_rate_hz)).features

    return embed


def at_rate(waves: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    """Waves (N, T) at another rate."""
    return waves if rate_hz == wanted_hz else np.stack([resample(wave, rate_hz, wanted_hz) for wave in waves])


def cosine_distances(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """1 - cosine of every made (N, C) with every true (K, C) feature vector: (N, K)."""
    unit = [side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (made, true)]
    return np.asarray(1.0 - unit[0] @ unit[1].T)


def _checked(embed: AudioEmbedder, name: str) -> AudioEmbedder:
    def checked(waves: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        features = np.asarray(embed(waves, sample_rate_hz), dtype=np.float64)
        if features.ndim != 2 or len(features) != len(waves) or not np.isfinite(features).all():
            raise UsageError(
                f"--audio-embedder {name} gave {features.shape} for {len(waves)} sounds: it must give finite (N, C)"
            )
        return features

    return checked
