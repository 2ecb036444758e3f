"""The parts of a file whose clock begins again or leaps, and how far each must be moved so that one film comes of them.

Guarantee: a clock that wraps runs on; every packet belongs to one part; all streams of a part are moved by the same
time, so a part keeps its own sync; a part follows on where the one before it ended. A hole in one stream alone is a
hole, not a leap; up to three packets with a wrong time are no part of the film's order. Price: a microsecond a packet.
Not exact: where one stream's clock begins again while the other's runs on, nobody knows their sync; the first follows
on from itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

BACK_S = 0.2
"""A decoding time that falls by more than this begins a new part (packets may jitter by less)."""
LEAP_S = 10.0
"""One that rises by more than this does so too, in containers whose clock need not run on."""
_NEAR_S = 10.0  # streams are interleaved: of one part, they are read at about the same time
_FIRST_NEAR_S = 60.0
_NOTABLE_S = (-0.02, 0.5)  # a step of a stream that may have gone over to a part which another one has begun
_MOST_STRAYS = 3

Steps = Sequence[tuple[int, int]]
Shifts = list[tuple[int, float]]
"""(number of the packet from which it holds, seconds to add to its time), ascending, the first from packet 0."""


@dataclass
class _Part:
    latest_s: dict[int, float] = field(default_factory=dict)  # of each stream, the decoding time read last
    first_s: dict[int, float] = field(default_factory=dict)  # of each stream, the earliest presentation time
    follows: list[tuple[int, int, float]] = field(default_factory=list)  # (stream, part that it left, its end there)


@dataclass(frozen=True)
class _Left:
    """What a stream was at when it left a part, before packet `count`."""

    count: int
    part: int
    last_s: float
    first_s: float
    end_s: float

    def is_back(self, count: int, time_s: float) -> bool:
        """Whether the stream goes on there, so that the few packets since then had wrong times."""
        return count - self.count <= _MOST_STRAYS and -BACK_S <= time_s - self.last_s <= _NOTABLE_S[1]


@dataclass
class _Hand:
    """Where one stream is."""

    stream: int
    part: int = -1
    count: int = 0
    last_s: float = -math.inf
    first_s: float = math.inf
    end_s: float = -math.inf
    runs: list[tuple[int, int]] = field(default_factory=list)
    left: _Left | None = None


class Parts:
    """Told the time of every packet in the order of the file, it says afterwards how each is to be moved.

    Args:
        leap_s: a decoding time that rises by more begins a new part; infinite where a hole is a hole.
    """

    def __init__(self, leap_s: float = math.inf) -> None:
        self._leap_s = leap_s
        self._parts: list[_Part] = []
        self._hands: dict[int, _Hand] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, stream: int, decoding_s: float | None, start_s: float | None, end_s: float | None) -> None:
        """The next packet of a stream: when it is decoded, from and to when it is shown or heard; None = not told."""
        hand = self._hands.get(stream)
        if hand is None:
            hand = self._hands[stream] = _Hand(stream)
        if decoding_s is not None:
            step_s = decoding_s - hand.last_s
            if not -BACK_S <= step_s <= _NOTABLE_S[1] or hand.part != len(self._parts) - 1:
                self._go_on(hand, decoding_s, step_s)
            hand.last_s = self._parts[hand.part].latest_s[stream] = decoding_s
        if start_s is not None and start_s < hand.first_s:
            hand.first_s = start_s
        if end_s is not None and end_s > hand.end_s:
            hand.end_s = end_s
        hand.count += 1

    def shifts(self) -> dict[int, Shifts]:
        """For every stream how its packets are moved; the first part stays where it is."""
        for hand in self._hands.values():
            self._note_first(hand)
        moved_s = [0.0] * len(self._parts)
        for place, part in enumerate(self._parts[1:], 1):
            candidates_s = [  # the longest way: then no stream overlaps itself
                moved_s[before] + end_s - part.first_s[stream]
                for stream, before, end_s in part.follows
                if math.isfinite(end_s) and stream in part.first_s
            ]
            moved_s[place] = max(candidates_s, default=moved_s[place - 1])
        return {stream: _merged([(count, moved_s[part]) for count, part in hand.runs or [(0, 0)]])
                for stream, hand in self._hands.items()}  # fmt: skip

    def _go_on(self, hand: _Hand, time_s: float, step_s: float) -> None:
        """Find the part of a packet that does not plainly follow the one before it, and go there."""
        part = self._part_of(hand, time_s, step_s)
        if part == hand.part:
            return
        self._note_first(hand)
        if hand.left is not None and hand.left.part == part:  # the packets since then had strayed
            hand.first_s, hand.end_s, hand.left = hand.left.first_s, hand.left.end_s, None
        else:
            self._parts[part].follows += self._ends(hand, part)
            hand.left = _Left(hand.count, hand.part, hand.last_s, hand.first_s, hand.end_s) if hand.runs else None
            hand.first_s, hand.end_s = math.inf, -math.inf
        hand.runs.append((hand.count if hand.runs else 0, part))
        hand.part = part

    def _ends(self, hand: _Hand, part: int) -> list[tuple[int, int, float]]:
        """What the stream's first packet in a part follows: its own end, or, if it is its first at all, the others'."""
        hands = [hand] if hand.runs else [other for other in self._hands.values() if 0 <= other.part < part]
        return [(hand.stream, other.part, other.end_s) for other in hands]

    def _part_of(self, hand: _Hand, time_s: float, step_s: float) -> int:
        if hand.part < 0:
            return self._first_part(hand, time_s)
        newer = range(hand.part + 1, len(self._parts))
        runs_on = -BACK_S <= step_s <= self._leap_s
        if runs_on and (not newer or _NOTABLE_S[0] <= step_s <= _NOTABLE_S[1]):
            return hand.part
        if hand.left is not None and hand.left.is_back(hand.count, time_s):
            return hand.left.part
        best = min(newer, key=lambda part: self._distance_s(hand, part, time_s), default=-1)
        if best >= 0 and self._distance_s(hand, best, time_s) < min(_NEAR_S, abs(step_s)):
            return best
        if runs_on or self._distance_s(hand, hand.part, time_s) < 0.5 * abs(step_s):
            return hand.part
        return self._new_part()

    def _first_part(self, hand: _Hand, time_s: float) -> int:
        if not self._parts:
            return self._new_part()
        best = min(range(len(self._parts)), key=lambda part: self._distance_s(hand, part, time_s))
        is_near = self._distance_s(hand, best, time_s) < _FIRST_NEAR_S or math.isinf(self._leap_s)
        return best if is_near else self._new_part()

    def _distance_s(self, hand: _Hand, part: int, time_s: float) -> float:
        """How far the other streams are from this time, in that part."""
        others = [latest_s for stream, latest_s in self._parts[part].latest_s.items() if stream != hand.stream]
        return min((abs(time_s - latest_s) for latest_s in others), default=math.inf)

    def _new_part(self) -> int:
        self._parts.append(_Part())
        return len(self._parts) - 1

    def _note_first(self, hand: _Hand) -> None:
        if hand.part >= 0 and math.isfinite(hand.first_s):
            first_s = self._parts[hand.part].first_s
            first_s[hand.stream] = min(hand.first_s, first_s.get(hand.stream, math.inf))


def _merged(shifts: Shifts) -> Shifts:
    """Without what changes nothing."""
    return [shift for place, shift in enumerate(shifts) if place == 0 or shift[1] != shifts[place - 1][1]]


class Turns:
    """Unwraps clocks that begin again after so many units: whole turns are added so that time runs on.

    Args:
        wrap: units of a turn; 0 = the clock never wraps.
    """

    def __init__(self, wrap: int) -> None:
        self.wrap = wrap
        self._last: dict[int, int] = {}
        self.changes: dict[int, list[tuple[int, int]]] = {}  # of each stream (number of the packet, units to add)

    def turn(self, stream: int, number: int, time: int) -> int:
        """What to add to the time of a stream's next packet, so that it is near its last one, or another stream's."""
        changes = self.changes.setdefault(stream, [])
        last = self._last.get(stream, next(iter(self._last.values()), time))
        turn = near(time, last, self.wrap) - time
        if not changes or turn != changes[-1][1]:
            changes.append((number if changes else 0, turn))
        self._last[stream] = time + turn
        return turn


class Lags:
    """Tells presentation times in one stream of a clock that wraps or leaps, where they may be of another turn or part.

    Args:
        wrap: units of a turn; 0 = the clock never wraps, and all times are believed.
        most: units; a presentation time farther from its decoding time is of another part, and is not believed.
    """

    def __init__(self, wrap: int, most: int) -> None:
        self._wrap, self._most, self._lag = wrap, most, 0

    def presented(self, pts: int, dts: int | None) -> int:
        """The presentation time of the next packet, near its decoding time."""
        if dts is None or not self._wrap:
            return pts
        pts = near(pts, dts, self._wrap)
        if abs(pts - dts) > self._most:
            return dts + self._lag
        self._lag = pts - dts
        return pts


def near(time: int, other: int, wrap: int) -> int:
    """The time that is whole turns from this one and nearest to the other."""
    return time - round((time - other) / wrap) * wrap if abs(time - other) > wrap // 2 else time


def added(some: Steps, others: Steps) -> Steps:
    """The sum of two functions of a packet's number, each told by its steps, the first from packet 0."""
    numbers = sorted({number for number, _ in [*some, *others]})
    return [(number, _at(some, number) + _at(others, number)) for number in numbers]


def _at(steps: Steps, number: int) -> int:
    return [value for first, value in steps if first <= number][-1]
