"""What one object does at one instant, worked out from the scene, and the motions that follow from it.

Guarantee: a motion tied to an event jumps at the event's own time and relaxes after it; nothing here keeps state.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

from clipsonic.soundstage.scene import Scene

REACH_S = 0.14
"""How long before an event a striker begins to move."""

_DAMPING = 4.0


@dataclass(frozen=True)
class Look:
    """What stays the same about one object: its material, its place in the row, and a number of its own."""

    material: str
    index: int
    salt: int


@dataclass(frozen=True)
class Moment:
    """One object at one instant.

    Args:
        time_s: the instant.
        speed: 0..1 while active, None while resting.
        cycles: periods of the law's rate since the phase began; 0 while resting.
        active_s: seconds since the phase began; 0 while resting.
        since_s: seconds since this object's last event (infinite before the first); they run faster while it rests,
            so that what still moves soon settles.
        until_s: seconds until its next one (infinite while resting and after the last).
        strength: that of the last event, 0 before the first.
        beat: how many events it has had.
    """

    time_s: float
    speed: float | None
    cycles: float
    active_s: float
    since_s: float
    until_s: float
    strength: float
    beat: int

    @property
    def active(self) -> bool:
        """Whether it sounds."""
        return self.speed is not None

    def swing(self) -> float:
        """Where a striker is: 1 raised, 0 touching; it speeds up towards the event and lifts off after it."""
        lifted = 1.0 - math.exp(-self.since_s / 0.08)
        share = min(1.0, self.until_s / REACH_S)
        return min(lifted, 1.0 - (1.0 - share) ** 2)

    def hit(self, decay_s: float = 0.12) -> float:
        """How strongly the last event is still felt: its strength at its instant, then decaying."""
        return self.strength * math.exp(-self.since_s / decay_s)

    def shake(self, rate_hz: float = 9.0, decay_s: float = 0.16) -> float:
        """A decaying oscillation that starts at full swing at the event."""
        if self.since_s > 8.0 * decay_s:
            return 0.0
        return self.hit(decay_s) * math.cos(2.0 * math.pi * rate_hz * self.since_s)

    def wave(self, rate_hz: float, offset: float = 0.0) -> float:
        """A steady sine while active, 0 while resting."""
        return math.sin(2.0 * math.pi * (rate_hz * self.active_s + offset)) if self.active else 0.0


class Timeline:
    """The events of each object of a scene, ready to be asked about any instant."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._times: list[list[float]] = [[] for _ in range(scene.count)]
        self._strengths: list[list[float]] = [[] for _ in range(scene.count)]
        for event in scene.events:
            self._times[event.index].append(event.time_s)
            self._strengths[event.index].append(event.strength)

    def moment(self, index: int, time_s: float) -> Moment:
        """What object `index` does at this instant."""
        speed, active_s, cycles = self._activity(time_s)
        times = self._times[index]
        beat = bisect.bisect_right(times, time_s)
        ahead = speed is not None and beat < len(times)
        return Moment(
            time_s=time_s,
            speed=speed,
            cycles=cycles,
            active_s=active_s,
            since_s=time_s - times[beat - 1] + _DAMPING * self._rested_s(time_s) if beat else math.inf,
            until_s=times[beat] - time_s if ahead else math.inf,
            strength=self._strengths[index][beat - 1] if beat else 0.0,
            beat=beat,
        )

    def _rested_s(self, time_s: float) -> float:
        """Seconds since the last phase ended; 0 while active."""
        if self._activity(time_s)[0] is not None:
            return 0.0
        return min((time_s - phase.end_s for phase in self._scene.phases if phase.end_s <= time_s), default=0.0)

    def _activity(self, time_s: float) -> tuple[float | None, float, float]:
        for phase in self._scene.phases:
            if phase.start_s <= time_s < phase.end_s:
                seconds = time_s - phase.start_s
                return phase.speed, seconds, seconds * (self._scene.rate_hz(phase.speed) or 0.0)
        return None, 0.0, 0.0
