"""Struck things: bell, xylophone, drum. Bodies are sums of damped modes, the strike is a few milliseconds of noise."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import Wave, attack_decay, band_noise, fade, modes, time_axis
from clipsonic.soundstage.synth.stage import Stage

# (ratios, gains, longest decay in s). A thin wine glass has partials near 1 : 2.3 : 4.3 : 6.6 (Rossing, Science of
# Percussion Instruments); a bell has, over its strike note, minor third, fifth, octave, tenth and twelfth, some of them
# beating pairs.
_Body = tuple[tuple[float, ...], tuple[float, ...], float]
_GLASS: _Body = ((1.0, 2.32, 4.25, 6.63), (1.0, 0.5, 0.25, 0.12), 0.45)
_BRONZE: _Body = ((1.0, 1.003, 1.19, 1.5, 2.0, 2.006, 2.52, 3.01), (1.0, 0.5, 0.55, 0.35, 0.5, 0.3, 0.3, 0.25), 1.0)
_MEMBRANE = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.501)


def bell(stage: Stage) -> Wave:
    """Glass rings clear and short, bronze long, rich and beating."""
    ratios, gains, longest_s = _GLASS if stage.is_material(0) else _BRONZE

    def sounds(index: int) -> list[Wave]:
        freqs_hz = [stage.pitch_hz(index) * ratio for ratio in ratios]
        decays_s = [longest_s / ratio**0.7 for ratio in ratios]
        return [modes(freqs_hz, decays_s, gains, min(3.5 * longest_s, 2.2), stage.sample_rate_hz)]

    return stage.lay_down(sounds)


def xylophone(stage: Stage) -> Wave:
    """A bar tuned 1 : 4 with a mallet's knock; wood is dry, steel rings on."""
    wooden = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        f0_hz, rate_hz = stage.pitch_hz(index), stage.sample_rate_hz
        decays_s = (0.09, 0.03, 0.012) if wooden else (0.28, 0.12, 0.06)
        gains = (1.0, 0.35, 0.2) if wooden else (1.0, 0.5, 0.35)
        body = modes((f0_hz, 3.98 * f0_hz, 9.9 * f0_hz), decays_s, gains, 5.0 * decays_s[0], rate_hz)
        t = time_axis(0.03, rate_hz)
        low_hz, high_hz = (500.0, 2500.0) if wooden else (2500.0, 7000.0)
        body[: len(t)] += 0.6 * band_noise(stage.rng, len(t), rate_hz, low_hz, high_hz) * attack_decay(t, 0.0005, 0.004)
        return [body]

    return stage.lay_down(sounds)


def drum(stage: Stage) -> Wave:
    """A membrane whose pitch falls as its tension eases; skin thuds, tin rattles and rings bright."""
    skin = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        return [_drum_hit(stage, stage.pitch_hz(index), skin) for _ in range(2)]

    return stage.lay_down(sounds, hardness=0.3)


def _drum_hit(stage: Stage, f0_hz: float, skin: bool) -> Wave:
    rate_hz = stage.sample_rate_hz
    decay_s = 0.16 if skin else 0.11
    t = time_axis(4.5 * decay_s, rate_hz)
    bent_t = t + 0.02 * 0.12 * (1.0 - np.exp(-t / 0.02))
    body = np.zeros_like(t)
    for ratio in _MEMBRANE:
        gain = ratio ** (-1.6 if skin else -0.7)
        body += np.float32(gain) * np.exp(-t * ratio / decay_s) * np.sin(2.0 * np.pi * f0_hz * ratio * bent_t)
    low_hz, high_hz = (150.0, 1400.0) if skin else (1500.0, 6500.0)
    slap = band_noise(stage.rng, len(t), rate_hz, low_hz, high_hz)
    body += slap * (0.5 * attack_decay(t, 0.0005, 0.008) if skin else 0.45 * attack_decay(t, 0.0005, 0.05))
    return fade(body, rate_hz)


VOICES = {"bell": bell, "xylophone": xylophone, "drum": drum}
