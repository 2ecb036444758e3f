"""Water: drip, rain, stream. Bubbles ring at a rising pitch (Minnaert, 1933; van den Doel, 2005), spray is noise."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    band_noise,
    fade,
    grains,
    modes,
    random_times,
    shaped_noise,
    time_axis,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage


def drip(stage: Stage) -> Wave:
    """A bubble at f0 whose pitch rises as it dies; under the rusty tap stands a tin that rings along."""
    chrome = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        f0_hz, rate_hz = stage.pitch_hz(index), stage.sample_rate_hz
        t = time_axis(0.22, rate_hz)
        decay_s = 0.035
        rising = 1.0 + 0.3 * np.minimum(t / (2.0 * decay_s), 1.5) ** 2
        plink = np.sin(2.0 * np.pi * np.cumsum(f0_hz * rising) / rate_hz) * np.exp(-t / decay_s)
        if not chrome:
            plink += 0.5 * modes((3.3 * f0_hz, 4.7 * f0_hz, 350.0), (0.03, 0.02, 0.05), (0.5, 0.4, 0.7), 0.22, rate_hz)
        return [fade(plink.astype(np.float32), rate_hz)]

    return stage.lay_down(sounds)


def rain(stage: Stage) -> Wave:
    """Drops at `rate_hz` per cloud on a soft hiss; dark clouds drop heavier, lower drops. Larger clouds are deeper."""
    grey = stage.is_material(0)
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    places = random_times(rng, stage.rate_curve_hz * stage.scene.count, rate_hz)
    centre_hz = (4200.0 if grey else 2400.0) * stage.depth**0.5
    freqs_hz = centre_hz * 2.0 ** (0.5 * rng.standard_normal(len(places)))
    gains = 0.4 + 0.6 * rng.random(len(places))
    decays_s = np.full(len(places), 0.0022 if grey else 0.004)
    drops = grains(num, places, freqs_hz, decays_s, gains, sample_rate_hz=rate_hz, seconds=0.025)
    hiss = shaped_noise(rng, num, rate_hz, ((200.0, -30.0), (1500.0, -6.0), (4000.0, 0.0), (7500.0, -3.0)))
    thickness = np.sqrt(stage.rate_curve_hz * stage.scene.count / 80.0)
    return as_wave((drops + 0.06 * thickness * hiss) * stage.gate)


def stream(stage: Stage) -> Wave:
    """Steady flow full of bubbles; over rocks it splashes bright, over moss it gurgles. Larger ones are deeper."""
    rocky = stage.is_material(0)
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    top_hz = (2600.0 if rocky else 1100.0) * stage.depth**0.5
    flow = shaped_noise(rng, num, rate_hz, ((60.0, -12.0), (250.0, 0.0), (top_hz, -3.0), (3.0 * top_hz, -24.0)))
    density = np.full(num, 70.0, dtype=np.float32)
    places = random_times(rng, density, rate_hz)
    freqs_hz = (900.0 if rocky else 550.0) * stage.depth**0.5 * 2.0 ** (0.6 * rng.standard_normal(len(places)))
    decays_s = 18.0 / freqs_hz
    gains = rng.random(len(places)) ** 2
    bubbles = grains(num, places, freqs_hz, decays_s, gains, sample_rate_hz=rate_hz, seconds=0.06, rise=0.12)
    surge = 1.0 + 0.12 * wander(rng, num, rate_hz, 3.0)
    splash = band_noise(rng, num, rate_hz, 3000.0, 6500.0) * (0.1 if rocky else 0.02)
    return as_wave((0.35 * flow * surge + splash + (1.2 if rocky else 1.7) * bubbles) * stage.gate)


VOICES = {"drip": drip, "rain": rain, "stream": stream}
