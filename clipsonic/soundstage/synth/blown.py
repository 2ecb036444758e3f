"""Blown things: flute, horn, kettle. Periodic tones with breath, as bright as they are loud."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    band_noise,
    cycles_of,
    harmonic_tone,
    shaped_noise,
    swept_noise,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage

_SILVER = (1.0, 0.16, 0.05, 0.02)
_BAMBOO = (1.0, 0.06, 0.22, 0.02, 0.08)


def flute(stage: Stage) -> Wave:
    """One tongued note per cycle: nearly a sine with breath around it; bamboo is airier, its even partials weak."""
    silver = stage.is_material(0)
    num, rate_hz, f0_hz = stage.num_samples, stage.sample_rate_hz, stage.pitch_hz()
    vibrato = np.sin(2.0 * np.pi * 4.8 * stage.t)
    cycles = cycles_of(f0_hz * (1.0 + 0.003 * vibrato), num, rate_hz)
    tone = harmonic_tone(cycles, _SILVER if silver else _BAMBOO, 1.01 * f0_hz, rate_hz)
    breath = swept_noise(stage.rng, np.full(num, f0_hz), 0.25 * f0_hz, rate_hz)
    air = band_noise(stage.rng, num, rate_hz, 1500.0, 6000.0, 9.0)
    blown = tone * (1.0 + 0.15 * vibrato) + (0.05 if silver else 0.14) * (breath + air)
    return as_wave(blown * stage.notes(0.72, 0.05, 0.05) * stage.gate)


def horn(stage: Stage) -> Wave:
    """One blast per cycle, brighter as it grows (Risset and Mathews, 1969); copper is darker than brass."""
    num, rate_hz, f0_hz = stage.num_samples, stage.sample_rate_hz, stage.pitch_hz()
    number = np.arange(1, 25)
    slope = 0.55 if stage.is_material(0) else 1.1
    cycles = cycles_of(f0_hz * (1.0 + 0.0015 * wander(stage.rng, num, rate_hz, 15.0)), num, rate_hz)
    bright = harmonic_tone(cycles, (1.0 / number**slope).tolist(), 1.01 * f0_hz, rate_hz)
    dark = harmonic_tone(cycles, (1.0 / number**2.5).tolist(), 1.01 * f0_hz, rate_hz)
    blast = stage.notes(0.72, 0.06, 0.06)
    inside = (stage.cycles % 1.0).astype(np.float32)
    openness = blast**2 * (1.0 - 0.35 * inside)
    return as_wave(((1.0 - openness) * dark + openness * bright) * blast * stage.gate)


def kettle(stage: Stage) -> Wave:
    """A steam whistle with an unsteady pitch over boiling water; steel whistles harsher, enamel boils more."""
    enamel = stage.is_material(0)
    num, rate_hz, f0_hz = stage.num_samples, stage.sample_rate_hz, stage.pitch_hz()
    flutter = 0.004 * wander(stage.rng, num, rate_hz, 25.0)
    cycles = cycles_of(f0_hz * (1.0 + flutter), num, rate_hz)
    tone = harmonic_tone(cycles, (1.0, 0.05, 0.02) if enamel else (1.0, 0.45, 0.3, 0.15), 1.02 * f0_hz, rate_hz)
    second = harmonic_tone(1.26 * cycles, (0.35,), 1.3 * f0_hz, rate_hz)
    steam = shaped_noise(stage.rng, num, rate_hz, ((800.0, -40.0), (2500.0, -6.0), (5000.0, 0.0), (8000.0, 0.0)))
    boil = band_noise(stage.rng, num, rate_hz, 120.0, 420.0)
    bubbling = np.abs(wander(stage.rng, num, rate_hz, 22.0))
    return as_wave((tone + second + 0.35 * steam + (0.5 if enamel else 0.2) * boil * bubbling) * stage.gate)


VOICES = {"flute": flute, "horn": horn, "kettle": kettle}
