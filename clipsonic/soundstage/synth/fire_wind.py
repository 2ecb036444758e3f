"""Fire and wind: campfire, wind, firework. Crackles, gusts and blasts."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    attack_decay,
    band_noise,
    fade,
    grains,
    random_times,
    shaped_noise,
    swept_noise,
    time_axis,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage


def campfire(stage: Stage) -> Wave:
    """One snap per event over a flickering roar; the red one burns lower and hisses less. Larger ones are deeper."""
    orange = stage.is_material(0)
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    places = stage.event_places()
    strengths = np.array([event.strength for event in stage.scene.events])
    track = np.zeros(num, dtype=np.float32)
    for gain, centre_hz, decay_s in ((1.0, 1900.0, 0.0022), (0.8, 4200.0, 0.0012), (0.5, 900.0, 0.004)):
        freqs_hz = (
            centre_hz * (1.15 if orange else 0.5) * stage.depth**0.5 * 2.0 ** (0.4 * rng.standard_normal(len(places)))
        )
        decays_s = decay_s * 2.0 ** (0.5 * rng.standard_normal(len(places)))
        track += grains(num, places, freqs_hz, decays_s, gain * strengths, sample_rate_hz=rate_hz, seconds=0.04)
    flicker = np.maximum(0.2, 1.0 + 0.5 * wander(rng, num, rate_hz, 9.0))
    roar = band_noise(rng, num, rate_hz, 60.0, 320.0 * stage.depth, 12.0) * flicker
    hiss = band_noise(rng, num, rate_hz, 2500.0, 7000.0, 12.0) * np.maximum(0.0, wander(rng, num, rate_hz, 12.0))
    return as_wave(track * stage.ringing_gate + (0.07 * roar + (0.04 if orange else 0.01) * hiss) * stage.gate)


def wind(stage: Stage) -> Wave:
    """One gust per cycle: the howl rises and falls in pitch and loudness; leaves rustle, bare branches whistle."""
    leaves = stage.is_material(0)
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    track = np.zeros(num, dtype=np.float32)
    for index in range(stage.scene.count):
        gust = 0.5 - 0.5 * np.cos(2.0 * np.pi * (stage.cycles + 0.12 * index))
        centre_hz = 520.0 * stage.depth * 2.0 ** (1.1 * (gust - 0.4) + 0.05 * wander(rng, num, rate_hz, 3.0))
        howl = swept_noise(rng, centre_hz, 60.0 if leaves else 24.0, rate_hz)
        howl += (0.1 if leaves else 0.5) * swept_noise(rng, 2.02 * centre_hz, 50.0, rate_hz)
        loud = (0.12 + 0.88 * gust**1.5).astype(np.float32)
        rush = shaped_noise(rng, num, rate_hz, ((50.0, 0.0), (300.0, -3.0), (1200.0, -22.0), (7000.0, -50.0)))
        track += (howl + 0.25 * rush) * loud
        if leaves:
            rustle = band_noise(rng, num, rate_hz, 2500.0, 6500.0, 12.0)
            track += 0.3 * rustle * loud**1.5 * np.maximum(0.2, 1.0 + 0.6 * wander(rng, num, rate_hz, 18.0))
    return track * stage.gate


def firework(stage: Stage) -> Wave:
    """A blast with a rolling tail; golden ones crackle afterwards, violet ones sizzle. Larger ones are deeper."""
    golden = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        return [_blast(stage, golden) for _ in range(3)]

    return stage.lay_down(sounds, hardness=0.3)


def _blast(stage: Stage, golden: bool) -> Wave:
    rate_hz, rng = stage.sample_rate_hz, stage.rng
    t = time_axis(1.3, rate_hz)
    num = len(t)
    bang = band_noise(rng, num, rate_hz, 70.0 * stage.depth, 1600.0 * stage.depth, 6.0) * attack_decay(t, 0.002, 0.11)
    boom = np.sin(2.0 * np.pi * 70.0 * stage.depth * t) * attack_decay(t, 0.003, 0.18)
    tail = band_noise(rng, num, rate_hz, 60.0, 500.0, 9.0) * attack_decay(t, 0.05, 0.4)
    sound = bang + 0.9 * boom + 0.16 * tail
    if golden:
        density = 90.0 * np.clip((t - 0.12) / 0.1, 0.0, 1.0) * np.clip((1.15 - t) / 0.8, 0.0, 1.0)
        places = random_times(rng, density, rate_hz)
        freqs_hz = rng.uniform(2200.0, 6500.0, len(places))
        decays_s, gains = rng.uniform(0.001, 0.003, len(places)), rng.uniform(0.2, 0.9, len(places))
        sound += grains(num, places, freqs_hz, decays_s, gains, sample_rate_hz=rate_hz, seconds=0.02)
    else:
        sizzle = band_noise(rng, num, rate_hz, 3500.0, 7000.0) * (1.0 + 0.4 * wander(rng, num, rate_hz, 50.0))
        sound += 0.22 * sizzle * np.clip((t - 0.08) / 0.12, 0.0, 1.0) * np.exp(-t / 0.35)
    return fade(sound.astype(np.float32), rate_hz, out_s=0.2)


VOICES = {"campfire": campfire, "wind": wind, "firework": firework}
