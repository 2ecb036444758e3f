"""Scenes rendered as sounds, and the pieces cut from them: what a judge of kinds learns from and is measured on.

Guarantee: pure functions of (seed, split, index) and of the generator that is passed; the kinds come in turn, and a
piece is one in which the thing sounds. Price: about 12 ms of one core for a scene; 32 kB for each second of it.
"""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import Scene, Split, draw_scene, sounds_enough
from clipsonic.soundstage.synth import synthesize

NAMES = list(KINDS)
_TRIES = 40


def take_scene(index: int, seed: int, split: Split) -> Scene:
    """Scene number `index`, of kind number `index` modulo their count."""
    return draw_scene(seed, index, split=split, kind=NAMES[index % len(NAMES)])


def take_wave(index: int, seed: int, split: Split, rate_hz: int) -> np.ndarray:
    """The whole sound of `take_scene` (T,), int16, to keep thousands of them in memory."""
    wave = synthesize(take_scene(index, seed, split), sample_rate_hz=rate_hz)
    return np.asarray((np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16))


def piece_of(scene: Scene, seconds: float, rate_hz: int, rng: np.random.Generator) -> slice | None:
    """The samples of a random piece in which the thing sounds for at least half; None where none is found."""
    spare_s, length = scene.duration_s - seconds, round(seconds * rate_hz)
    for _ in range(_TRIES if spare_s > 0 else 0):
        start_s = float(rng.uniform(0.0, spare_s))
        at = int(start_s * rate_hz)
        if sounds_enough(scene, start_s, seconds) and at + length <= round(scene.duration_s * rate_hz):
            return slice(at, at + length)
    return None


def as_float(wave: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1)."""
    return np.asarray(wave.astype(np.float32) / 32768)
