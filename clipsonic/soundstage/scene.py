"""The law of a scene: everything that is both seen and heard, drawn once, before a picture or a sound is made.

Guarantee: `draw_scene(seed, index)` is a pure function of its arguments; pictures (`draw/`) and sound (`synth/`)
are pure functions of the Scene, so they agree by construction.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.kinds import KINDS, Kind

Split = Literal["train", "heldout", "any"]

BACKGROUNDS = ("room", "meadow", "street", "night", "wall", "snow", "sea", "desert")
CAMERAS = ("still", "pan", "zoom", "shake")
_BUCKETS = 4
_LEAST_ACTIVE_SHARE = 0.5
_HELDOUT_SHARE = 8  # one attribute combination in eight never appears in a training corpus


@dataclass(frozen=True)
class Phase:
    """A stretch in which the thing sounds, with the speed it has then."""

    start_s: float
    end_s: float
    speed: float


@dataclass(frozen=True)
class Event:
    """One onset: object `index` makes its sound at `time_s`, with `strength` in [0.5, 1]."""

    time_s: float
    index: int
    strength: float


@dataclass(frozen=True)
class Scene:
    """Everything seen and heard; positions are fractions of the picture's width and height, origin top left.

    Args:
        seed, index: where it was drawn from.
        kind: name in KINDS.
        duration_s: length of the video.
        size: 0 small and high .. 1 large and low.
        speed: 0 slow .. 1 fast; the speed of the first phase, shown on the dial while active.
        material: one of the kind's materials.
        count: how many objects.
        phases: when it sounds; outside of them it rests, in sight and in sound.
        events: onsets, sorted by time; empty for continuous kinds.
        positions: (x, y) centre of each object.
        background, palette: what stands behind, and which of its colourings (0..5).
        camera: one of CAMERAS.
        light: picture brightness, 0.6 .. 1.15.
        warmth: -1 cold .. 1 warm tint.
        level_db: level of the sound, relative to its kind's nominal one, -12 .. 0.
        ambience_db: level of the room noise under it, relative to full scale, about -70 .. -50.
    """

    seed: int
    index: int
    kind: str
    duration_s: float
    size: float
    speed: float
    material: str
    count: int
    phases: tuple[Phase, ...]
    events: tuple[Event, ...]
    positions: tuple[tuple[float, float], ...]
    background: str
    palette: int
    camera: str
    light: float
    warmth: float
    level_db: float
    ambience_db: float

    @property
    def law(self) -> Kind:
        """The kind's own facts."""
        return KINDS[self.kind]

    @property
    def pitch_hz(self) -> float | None:
        """f0 of the first object, or None where the kind has no pitch."""
        return None if self.law.high_hz is None else self.law.high_hz * 2.0 ** (-2.0 * self.size)

    def rate_hz(self, speed: float | None = None) -> float | None:
        """Onsets (or modulation periods) per second of each object at this speed (default: the first phase's)."""
        slow_hz = self.law.slow_hz
        return None if slow_hz is None else slow_hz * 4.0 ** (self.speed if speed is None else speed)

    def speed_at(self, time_s: float) -> float | None:
        """The speed at this instant, or None while the thing rests."""
        for phase in self.phases:
            if phase.start_s <= time_s < phase.end_s:
                return phase.speed
        return None

    def to_dict(self) -> dict[str, Any]:
        """The law as plain values, with pitch and rate worked out."""
        values = dataclasses.asdict(self)
        return {**values, "family": self.law.family, "pitch_hz": self.pitch_hz, "rate_hz": self.rate_hz()}


def sounds_enough(scene: Scene, start_s: float, seconds: float) -> bool:
    """Whether the thing sounds for at least half of this stretch of its video, with an onset in it if it has onsets."""
    end_s = start_s + seconds
    active_s = sum(max(0.0, min(end_s, phase.end_s) - max(start_s, phase.start_s)) for phase in scene.phases)
    struck = scene.law.mode != "events" or any(start_s <= event.time_s < end_s - 0.25 for event in scene.events)
    return active_s >= _LEAST_ACTIVE_SHARE * seconds and struck


def combination_is_heldout(kind: str, material: str, size: float, speed: float) -> bool:
    """Whether this combination of attributes is reserved for judging: a fixed one in eight of the buckets."""
    law = KINDS[kind]
    size_bucket = min(int(size * _BUCKETS), _BUCKETS - 1)
    speed_bucket = min(int(speed * _BUCKETS), _BUCKETS - 1) if law.slow_hz is not None else 0
    place = list(KINDS).index(kind) + 3 * size_bucket + 5 * speed_bucket + 4 * law.materials.index(material)
    return place % _HELDOUT_SHARE == 0


def draw_scene(seed: int, index: int, *, split: Split = "train", kind: str | None = None) -> Scene:
    """Draw the scene number `index` of the world `seed`.

    Args:
        split: `train` never draws a held-out attribute combination, `heldout` only such, `any` both.
        kind: fix the kind (default: drawn uniformly).

    Raises:
        UsageError: an unknown kind or split.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    if split not in ("train", "heldout", "any"):
        raise UsageError(f"split {split!r} is unknown: choose train, heldout or any")
    rng = numpy_rng(seed, "soundstage.scene", split, index)
    law = KINDS[kind] if kind else list(KINDS.values())[int(rng.integers(len(KINDS)))]
    material, size, speed = _draw_attributes(law, split, rng)
    duration_s = float(np.round(rng.uniform(2.0, 12.0) if rng.random() < 0.5 else rng.uniform(4.2, 8.4), 2))
    count = int(rng.integers(1, law.max_count + 1))
    phases = _draw_phases(duration_s, speed, rng)
    events = _draw_events(law, phases, count, rng)
    return Scene(
        seed=seed,
        index=index,
        kind=law.name,
        duration_s=duration_s,
        size=size,
        speed=speed,
        material=material,
        count=count,
        phases=phases,
        events=events,
        positions=_draw_positions(count, rng),
        background=str(rng.choice(BACKGROUNDS)),
        palette=int(rng.integers(6)),
        camera=str(rng.choice(CAMERAS)),
        light=float(rng.uniform(0.6, 1.15)),
        warmth=float(rng.uniform(-1.0, 1.0)),
        level_db=float(rng.uniform(-12.0, 0.0)),
        ambience_db=float(rng.uniform(-70.0, -50.0)),
    )


def plain_scene(
    kind: str, material: str, size: float, speed: float, count: int, *, duration_s: float, seed: int = 0
) -> Scene:
    """A scene of chosen attributes that sounds throughout, in a quiet room; only its onsets' jitter is drawn."""
    law, phases = KINDS[kind], (Phase(0.0, duration_s, speed),)
    rng = numpy_rng(seed, "soundstage.plain", kind, round(1000 * speed), count)
    return dataclasses.replace(
        draw_scene(seed, 0, split="any", kind=kind),
        duration_s=duration_s,
        size=size,
        speed=speed,
        material=material,
        count=count,
        phases=phases,
        events=_draw_events(law, phases, count, rng),
        positions=_draw_positions(count, rng),
        level_db=0.0,
        ambience_db=-60.0,
    )


def _draw_attributes(law: Kind, split: Split, rng: np.random.Generator) -> tuple[str, float, float]:
    for _ in range(10_000):
        material, size, speed = str(rng.choice(law.materials)), float(rng.random()), float(rng.random())
        if split == "any" or combination_is_heldout(law.name, material, size, speed) == (split == "heldout"):
            return material, size, speed
    raise UsageError(f"kind {law.name!r} has no {split} attribute combination: choose another kind or split")


def _draw_phases(duration_s: float, speed: float, rng: np.random.Generator) -> tuple[Phase, ...]:
    """Half of the scenes sound throughout; the rest start late, stop early, pause, or change speed half-way."""
    plan = str(rng.choice(("whole", "start", "stop", "pause", "change"), p=(0.52, 0.12, 0.12, 0.12, 0.12)))
    cut_s = float(rng.uniform(0.35, 0.65)) * duration_s
    if plan == "start":
        return (Phase(cut_s, duration_s, speed),)
    if plan == "stop":
        return (Phase(0.0, cut_s, speed),)
    if plan == "pause":
        gap_s = 0.25 * duration_s
        return (Phase(0.0, cut_s - gap_s / 2, speed), Phase(cut_s + gap_s / 2, duration_s, speed))
    if plan == "change":
        other = speed - 0.5 if speed > 0.5 else speed + 0.5
        return (Phase(0.0, cut_s, speed), Phase(cut_s, duration_s, other))
    return (Phase(0.0, duration_s, speed),)


def _draw_events(law: Kind, phases: tuple[Phase, ...], count: int, rng: np.random.Generator) -> tuple[Event, ...]:
    """Each object keeps its own beat at the phase's rate, with 6 % jitter and its own offset; none if continuous."""
    if law.mode != "events":
        return ()
    assert law.slow_hz is not None
    events = []
    for phase in phases:
        period_s = 1.0 / (law.slow_hz * 4.0**phase.speed)
        for index in range(count):
            time_s = phase.start_s + 0.03 + (index / count + 0.15 * float(rng.random())) * period_s
            while time_s < phase.end_s - 0.02:
                events.append(Event(float(np.round(time_s, 4)), index, float(rng.uniform(0.5, 1.0))))
                time_s += period_s * float(rng.uniform(0.94, 1.06))
    return tuple(sorted(events, key=lambda event: event.time_s))


def _draw_positions(count: int, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Objects stand side by side, jittered, within the middle of the picture."""
    width = 0.72 / count
    return tuple(
        (
            float(0.14 + width * (index + 0.5) + rng.uniform(-0.15, 0.15) * width),
            float(rng.uniform(0.5, 0.66)),
        )
        for index in range(count)
    )
