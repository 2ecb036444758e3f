"""The stage a voice plays on: the scene's times and pitches as sample arrays, and where its events are laid down.

Guarantee: gates, cycles and onsets follow `scene.phases` and `scene.events` to the sample; nothing else decides when
there is sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.scene import Scene
from clipsonic.soundstage.synth.primitives import Wave

_RAMP_S = 0.02
_RING_S = 0.12  # how long a struck thing may ring on after its phase ends, before it is damped
_DAMP_S = 0.25
_DETUNE_SEMITONES = (0.0, 0.23, -0.28, 0.14)


class Stage:
    """One scene at one sample rate.

    Args:
        scene: what sounds.
        sample_rate_hz: rate of all waves.
    """

    def __init__(self, scene: Scene, sample_rate_hz: int) -> None:
        self.scene = scene
        self.sample_rate_hz = sample_rate_hz
        self.num_samples = round(scene.duration_s * sample_rate_hz)
        self.rng = numpy_rng(scene.seed, "soundstage.synth", scene.kind, scene.index)

    @cached_property
    def t(self) -> Wave:
        """Sample times in seconds."""
        return np.arange(self.num_samples, dtype=np.float32) / np.float32(self.sample_rate_hz)

    def is_material(self, position: int) -> bool:
        """Whether the thing is made of the kind's material at this position."""
        return self.scene.material == self.scene.law.materials[position]

    def pitch_hz(self, index: int = 0) -> float:
        """f0 of an object: the first is exact, the others are within 0.3 semitones of it."""
        pitch_hz = self.scene.pitch_hz
        assert pitch_hz is not None, f"{self.scene.kind} has no pitch"
        return pitch_hz * math.exp2(_DETUNE_SEMITONES[index] / 12.0)

    @property
    def depth(self) -> float:
        """1 for the smallest thing, 0.5 for the largest: scales the resonances of things without pitch."""
        return math.exp2(-self.scene.size)

    @cached_property
    def stretches(self) -> list[tuple[float, float]]:
        """(start_s, end_s) of unbroken sound: a change of speed begins a new one, unless nothing here has a speed."""
        joined: list[tuple[float, float]] = []
        for phase in self.scene.phases:
            follows = bool(joined) and phase.start_s - joined[-1][1] < 1e-6
            if follows and self.scene.law.slow_hz is None:
                joined[-1] = (joined[-1][0], phase.end_s)
            else:
                joined.append((phase.start_s, phase.end_s))
        return joined

    @cached_property
    def gate(self) -> Wave:
        """1 while it sounds, 0 while it rests, with ramps of 20 ms inside the stretch."""
        gate = np.zeros(self.num_samples, dtype=np.float32)
        for start_s, end_s in self.stretches:
            inside = np.minimum(self.t - start_s, end_s - self.t)
            gate = np.maximum(gate, np.clip(inside / _RAMP_S, 0.0, 1.0))
        return gate

    @cached_property
    def ringing_gate(self) -> Wave:
        """The gate of struck things: opens at once, and damps what still rings after the stretch."""
        gate = np.zeros(self.num_samples, dtype=np.float32)
        for start_s, end_s in self.stretches:
            late = (self.t - end_s - _RING_S) / _DAMP_S
            gate = np.maximum(gate, np.where(self.t >= start_s, np.clip(1.0 - late, 0.0, 1.0), 0.0))
        return gate

    @cached_property
    def cycles(self) -> NDArray[np.float64]:
        """Periods of `rate_hz(phase.speed)` since the phase began, as the picture counts them; 0 while it rests."""
        cycles = np.zeros(self.num_samples)
        for phase in self.scene.phases:
            inside = slice(self._sample(phase.start_s), self._sample(phase.end_s))
            cycles[inside] = (self.scene.rate_hz(phase.speed) or 0.0) * np.maximum(self.t[inside] - phase.start_s, 0.0)
        return cycles

    @cached_property
    def rate_curve_hz(self) -> Wave:
        """`rate_hz` at every sample, 0 while it rests."""
        curve = np.zeros(self.num_samples, dtype=np.float32)
        for phase in self.scene.phases:
            curve[self._sample(phase.start_s) : self._sample(phase.end_s)] = self.scene.rate_hz(phase.speed) or 0.0
        return curve

    def notes(self, duty: float, attack_s: float, release_s: float) -> Wave:
        """An envelope of one note per cycle that sounds for `duty` of it, with rounded ends of these lengths."""
        rate_hz = np.maximum(self.rate_curve_hz, 1e-3)
        inside = self.cycles - np.floor(self.cycles)
        since_s, left_s = inside / rate_hz, (duty - inside) / rate_hz
        return (np.clip(since_s / attack_s, 0.0, 1.0) * np.clip(left_s / release_s, 0.0, 1.0)).astype(np.float32)

    def lay_down(self, sounds_of: Callable[[int], Sequence[Wave]], *, hardness: float = 0.0) -> Wave:
        """The track in which every event plays a sound of its object.

        Args:
            sounds_of: object index -> the variants of its sound; they take turns.
            hardness: how far gain follows strength beyond proportion (0 none, 1 quadratic).
        """
        track = np.zeros(self.num_samples, dtype=np.float32)
        variants = [sounds_of(index) for index in range(self.scene.count)]
        turns = [0] * self.scene.count
        for event in self.scene.events:
            choices = variants[event.index]
            sound = choices[turns[event.index] % len(choices)]
            turns[event.index] += 1
            first = self._sample(event.time_s)
            room = min(len(sound), self.num_samples - first)
            if room > 0:
                track[first : first + room] += np.float32(event.strength ** (1.0 + hardness)) * sound[:room]
        return track * self.ringing_gate

    def event_places(self) -> NDArray[np.int64]:
        """Sample positions of the events."""
        return np.array([self._sample(event.time_s) for event in self.scene.events], dtype=np.int64)

    def _sample(self, time_s: float) -> int:
        return min(max(round(time_s * self.sample_rate_hz), 0), self.num_samples)
