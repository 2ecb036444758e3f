"""Machines: engine, clock, fan, train. Recurring strokes of modes and noise."""

from __future__ import annotations

import numpy as np

from clipsonic.soundstage.synth.primitives import (
    Wave,
    as_wave,
    attack_decay,
    band_noise,
    fade,
    grains,
    modes,
    shaped_noise,
    time_axis,
    wander,
)
from clipsonic.soundstage.synth.stage import Stage


def engine(stage: Stage) -> Wave:
    """One firing per cycle: a thump of the block, a puff of exhaust; the red one clatters. Larger ones are deeper."""
    iron = stage.is_material(0)
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng
    places = _cycle_places(stage)
    gains = 1.0 + 0.15 * rng.standard_normal(len(places))
    track = np.zeros(num, dtype=np.float32)
    for ratio, gain, decay_s in ((1.0, 1.0, 0.03), (2.1, 0.7, 0.02), (3.7, 0.4, 0.012)):
        freqs_hz = 115.0 * stage.depth * ratio * (1.0 + 0.02 * rng.standard_normal(len(places)))
        track += grains(
            num, places, freqs_hz, np.full(len(places), decay_s), gain * gains, sample_rate_hz=rate_hz, seconds=0.12
        )
    inside = (stage.cycles % 1.0).astype(np.float32)
    puff = np.exp(-5.0 * inside) * stage.gate
    track += 0.12 * puff * band_noise(rng, num, rate_hz, 300.0 * stage.depth, 1500.0 * stage.depth, 9.0)
    clatter = 0.08 if iron else 0.4
    freqs_hz = 2600.0 * (1.0 + 0.1 * rng.standard_normal(len(places)))
    late = np.minimum(places + round(0.006 * rate_hz), num)
    track += grains(
        num, late, freqs_hz, np.full(len(places), 0.003), clatter * gains, sample_rate_hz=rate_hz, seconds=0.02
    )
    return track * stage.gate


def clock(stage: Stage) -> Wave:
    """Tick and tock take turns: a very short ring at f0, a click, a case; oak answers low, the white one is sharp."""
    oak = stage.is_material(0)

    def sounds(index: int) -> list[Wave]:
        return [_tick(stage, stage.pitch_hz(index), oak, tock=bool(number % 2)) for number in range(6)]

    return stage.lay_down(sounds)


def _tick(stage: Stage, f0_hz: float, oak: bool, tock: bool) -> Wave:
    rate_hz = stage.sample_rate_hz
    bright = (0.3 if oak else 0.9) * (0.5 if tock else 1.0)
    freqs_hz = (f0_hz, 2.71 * f0_hz, 4.3 * f0_hz, 240.0 if oak else 1150.0)
    decays_s = (0.011, 0.004, 0.003, 0.025 if oak else 0.005)
    tick = modes(freqs_hz, decays_s, (1.0, bright, bright, 0.9 if oak else 0.2), 0.12, rate_hz)
    t = time_axis(0.006, rate_hz)
    click = band_noise(stage.rng, len(t), rate_hz, 2500.0, 7000.0) * np.exp(-t / 0.0012)
    tick[: len(t)] += (0.2 if oak else 0.6) * click
    return tick * np.float32(0.75 if tock else 1.0)


def fan(stage: Stage) -> Wave:
    """Air cut once per cycle over a motor's hum; plastic swishes, metal hums and ticks. Larger ones are deeper."""
    plastic = stage.is_material(0)
    num, rate_hz = stage.num_samples, stage.sample_rate_hz
    angle = 2.0 * np.pi * stage.cycles
    swish = (0.5 - 0.5 * np.cos(angle)) ** 2
    top_hz = 3000.0 * stage.depth
    air = shaped_noise(stage.rng, num, rate_hz, ((60.0, -20.0), (300.0, 0.0), (top_hz, -6.0), (2.5 * top_hz, -40.0)))
    hum_gain = 0.18 if plastic else 0.45
    hum = sum(gain * np.sin(2.0 * np.pi * 100.0 * k * stage.t) for k, gain in ((1, 1.0), (2, 0.8), (3, 0.4), (4, 0.25)))
    track = air * (0.15 + 0.85 * swish) + hum_gain * hum
    if not plastic:
        places = _cycle_places(stage)
        ones = np.ones(len(places))
        track += grains(num, places, 1900.0 * ones, 0.012 * ones, ones, sample_rate_hz=rate_hz, seconds=0.06)
    return as_wave((track * stage.gate).astype(np.float32))


def train(stage: Stage) -> Wave:
    """One puff of steam per event, over the roll of the wheels; the green one is brighter. Larger ones are deeper."""
    centre_hz = (600.0 if stage.is_material(0) else 1700.0) * stage.depth
    num, rate_hz, rng = stage.num_samples, stage.sample_rate_hz, stage.rng

    def sounds(index: int) -> list[Wave]:
        t = time_axis(0.32, rate_hz)
        puff = attack_decay(t, 0.0015, 0.075)
        return [
            fade(
                puff * band_noise(rng, len(t), rate_hz, 0.35 * centre_hz, 2.2 * centre_hz, 9.0)
                + 0.8 * attack_decay(t, 0.004, 0.05) * np.sin(2.0 * np.pi * 85.0 * stage.depth * t),
                rate_hz,
                out_s=0.05,
            )
            for _ in range(4)
        ]

    roll = band_noise(rng, num, rate_hz, 50.0, 180.0) * (1.0 + 0.3 * wander(rng, num, rate_hz, 8.0))
    hiss = band_noise(rng, num, rate_hz, 3000.0, 6500.0)
    return as_wave(stage.lay_down(sounds) + (0.1 * roll + 0.035 * hiss) * stage.gate)


def _cycle_places(stage: Stage) -> np.ndarray:
    """Sample positions where a new cycle begins, the start of each phase included."""
    active = stage.rate_curve_hz > 0.0
    position = np.where(active, np.floor(stage.cycles), -1.0)
    return np.flatnonzero((np.diff(position, prepend=-1.0) != 0.0) & active)


VOICES = {"engine": engine, "clock": clock, "fan": fan, "train": train}
