"""Animals: bird, frog, dog, cricket, bee. Swept tones, pulses and throats."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    attack_decay,
    band_noise,
    cycles_of,
    fade,
    harmonic_tone,
    modes,
    resonate,
    time_axis,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage


def bird(stage: Stage) -> Wave:
    """A short song around f0: the yellow one whistles three sweeps, the blue one trills."""
    yellow = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        rate_hz = stage.sample_rate_hz
        t = time_axis(0.17, rate_hz)
        if yellow:
            inside = (3.0 * t / 0.17) % 1.0
            bend, loud = 0.5 * (0.5 - inside), np.sin(np.pi * inside) ** 0.7
        else:
            bend, loud = 0.2 * np.sin(2.0 * np.pi * 42.0 * t), np.sin(np.pi * t / 0.17) ** 0.5
        freq_hz = stage.pitch_hz(index) * 2.0**bend
        tone = harmonic_tone(cycles_of(freq_hz, len(t), rate_hz), (1.0, 0.12), float(freq_hz.max()), rate_hz)
        return [fade((tone * loud).astype(np.float32), rate_hz, in_s=0.001, out_s=0.005)]

    return stage.lay_down(sounds)


def frog(stage: Stage) -> Wave:
    """A croak: a burst of throat pulses, each a damped ring at f0 and above; the green one is denser and brighter."""
    green = stage.is_material(0)
    wanted_hz, gains = (42.0, (1.0, 0.8, 0.7, 0.5)) if green else (24.0, (1.0, 0.5, 0.3, 0.1))

    def sounds(index: int) -> list[Wave]:
        f0_hz, rate_hz = stage.pitch_hz(index), stage.sample_rate_hz
        pulse_hz = f0_hz / round(f0_hz / wanted_hz)  # a whole share of f0, so that the pulses keep its pitch
        pulse = modes(
            (f0_hz, 2.0 * f0_hz, 3.0 * f0_hz, 5.0 * f0_hz),
            (0.014, 0.01, 0.008, 0.006),
            gains,
            0.06,
            rate_hz,
        )
        num_pulses = round(0.26 * pulse_hz)
        croak = np.zeros(round(0.34 * rate_hz), dtype=np.float32)
        for number in range(num_pulses):
            first = round(number / pulse_hz * rate_hz)
            croak[first : first + len(pulse)] += pulse * np.float32(
                0.7 + 0.3 * np.sin(np.pi * (number + 1) / num_pulses)
            )
        return [fade(croak, rate_hz)]

    return stage.lay_down(sounds)


def dog(stage: Stage) -> Wave:
    """A bark: voice that rises and falls through an opening mouth, with rough breath; the grey one is rougher."""
    rough = 0.25 if stage.is_material(0) else 0.7

    def sounds(index: int) -> list[Wave]:
        return [_bark(stage, stage.pitch_hz(index), rough) for _ in range(2)]

    return stage.lay_down(sounds)


def _bark(stage: Stage, f0_hz: float, rough: float) -> Wave:
    rate_hz = stage.sample_rate_hz
    t = time_axis(0.24, rate_hz)
    bend = 1.04 - 3.0 * ((t - 0.07) / 0.24) ** 2
    jitter = 1.0 + 0.05 * rough * wander(stage.rng, len(t), rate_hz, 90.0)
    freq_hz = f0_hz * np.maximum(bend, 0.5) * jitter
    gains = (1.0 / np.arange(1, 25) ** 0.7).tolist()
    voice = harmonic_tone(cycles_of(freq_hz, len(t), rate_hz), gains, float(freq_hz.max()), rate_hz)
    voice += rough * band_noise(stage.rng, len(t), rate_hz, 400.0, 3500.0)
    mouth = 0.25 * voice + resonate(voice, ((f0_hz, 1.5, 0.6), (950.0, 2.5, 1.0), (1900.0, 3.0, 0.6)), rate_hz)
    return fade((mouth * attack_decay(t, 0.006, 0.075)).astype(np.float32), rate_hz, out_s=0.03)


def cricket(stage: Stage) -> Wave:
    """A chirp of steady, rasping tone pulses, one per wing stroke: three slow and hissing (olive), six quick (dark)."""
    olive = stage.is_material(0)
    num_pulses, pulse_hz = (3, 28.0) if olive else (6, 55.0)

    def sounds(index: int) -> list[Wave]:
        rate_hz, f0_hz = stage.sample_rate_hz, stage.pitch_hz(index)
        t = time_axis(num_pulses / pulse_hz, rate_hz)
        inside = (t * pulse_hz) % 1.0
        loud = np.clip(inside / 0.08, 0.0, 1.0) * np.clip((0.62 - inside) / 0.3, 0.0, 1.0)
        tone = harmonic_tone(
            cycles_of(f0_hz, len(t), rate_hz), (1.0, 0.15, 0.1) if olive else (1.0, 0.6, 0.3), f0_hz, rate_hz
        )
        rasp = (0.3 if olive else 0.15) * band_noise(stage.rng, len(t), rate_hz, 2500.0, 7500.0, 12.0)
        return [as_wave((tone + rasp) * loud)]

    return stage.lay_down(sounds)


def bee(stage: Stage) -> Wave:
    """Wing beats: a buzz at f0 with a restless pitch and loudness as it flies about; the golden one is softer."""
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    gains = (1.0 / np.arange(1, 30) ** (0.45 if stage.is_material(0) else 1.0)).tolist()
    track = np.zeros(num, dtype=np.float32)
    for index in range(stage.scene.count):
        f0_hz = stage.pitch_hz(index)
        bend = np.clip(0.018 * wander(rng, num, rate_hz, 5.0) + 0.004 * wander(rng, num, rate_hz, 40.0), -0.05, 0.05)
        cycles = cycles_of(f0_hz * (1.0 + bend), num, rate_hz)
        tone = harmonic_tone(cycles, gains, 1.05 * f0_hz, rate_hz)
        tone += 0.5 * harmonic_tone(cycles, (1.0,), f0_hz, rate_hz) * band_noise(rng, num, rate_hz, 900.0, 5000.0, 9.0)
        near = 1.0 + 0.5 * np.tanh(wander(rng, num, rate_hz, 2.5))
        track += tone * near * (1.0 + 0.4 * wander(rng, num, rate_hz, 70.0))
    return track * stage.gate


VOICES = {"bird": bird, "frog": frog, "dog": dog, "cricket": cricket, "bee": bee}
