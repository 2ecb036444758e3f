"""Strings: guitar (plucked) and violin (bowed). Additive partials with the string's own law of decay."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    band_noise,
    cycles_of,
    harmonic_tone,
    modes,
    resonate,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage

_BODY_PEAKS = ((290.0, 6.0, 1.2), (470.0, 8.0, 1.0), (1100.0, 3.0, 0.7), (2600.0, 2.0, 0.9))


def guitar(stage: Stage) -> Wave:
    """Plucked at a fifth of the string: partial k has gain sin(k pi / 5) / k; nylon is dull, steel bright and stiff."""
    nylon = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        f0_hz = stage.pitch_hz(index)
        number = np.arange(1, 13 if nylon else 25)
        gains = np.sin(number * np.pi / 5.0) / number ** (1.5 if nylon else 0.85)
        stiffness = 0.0 if nylon else 4e-4
        freqs_hz = f0_hz * number * np.sqrt(1.0 + stiffness * number**2) / np.sqrt(1.0 + stiffness)
        decays_s = (0.5 if nylon else 0.8) / (1.0 + (0.35 if nylon else 0.1) * (number - 1.0))
        return [modes(freqs_hz.tolist(), decays_s.tolist(), gains.tolist(), 1.5, stage.sample_rate_hz)]

    return stage.lay_down(sounds)


def violin(stage: Stage) -> Wave:
    """One bow stroke per cycle, vibrato, bow noise and the resonances of the body; the black one is darker."""
    maple = stage.is_material(0)
    num, rate_hz, f0_hz = stage.num_samples, stage.sample_rate_hz, stage.pitch_hz()
    vibrato = 0.011 * np.sin(2.0 * np.pi * 5.6 * stage.t) + 0.002 * wander(stage.rng, num, rate_hz, 12.0)
    gains = 1.0 / np.arange(1, 31) ** (0.7 if maple else 1.1)
    tone = harmonic_tone(cycles_of(f0_hz * (1.0 + vibrato), num, rate_hz), gains.tolist(), 1.02 * f0_hz, rate_hz)
    tone = 0.5 * tone + resonate(tone, _BODY_PEAKS, rate_hz)
    bow = 0.06 * band_noise(stage.rng, num, rate_hz, 1500.0, 6000.0)
    stroke = stage.notes(1.0, 0.09, 0.05)
    swell = 0.75 + 0.25 * np.sin(np.pi * (stage.cycles % 1.0)).astype(np.float32)
    return as_wave((tone + bow) * (0.08 + 0.92 * stroke) * swell * stage.gate)


VOICES = {"guitar": guitar, "violin": violin}
