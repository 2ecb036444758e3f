"""A container's time mapped to the film's, whose 0 is what players show as 0, packet by packet, in this one place.

Guarantee: pictures, sound, a video's own sound and the muxer use the same `Clock`, learnt by `probe` in its one pass;
behind `Clock.packets` no other arithmetic of origins, wraps, restarts, leaps or missing presentation times is needed.
A clock that wraps runs on. Where one begins again or leaps, a new part of the film begins (`Parts`): every packet
belongs to one part, all streams of a part are moved by the same time, so a part keeps its own sync, and it follows on
where the one before it ended. A hole in one stream alone is a hole, not a leap; up to three packets with a wrong time
are no part of the film's order. Price: a microsecond a packet.
Not exact: a film's time is rounded to the time base of its stream; where one stream's clock begins again while the
other's runs on, nobody knows their sync, and the first follows on from itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from clipsonic.ingest.opening import demuxed, seek_before

DISCONTINUOUS = ("mpegts", "mpeg", "flv", "live_flv", "ogg")
"""Containers whose clock may leap or begin again: the whole file is looked at, and a leap is no hole."""
_WRAPS = {"mpegts": 2**33, "mpeg": 2**33, "flv": 2**32}  # units of the streams' time bases
_PADDING_S = Fraction(1, 10)  # a start that lies less before 0 is the encoder's padding
_HEADER_NEAR_S = 1.0

MediaStream = av.VideoStream | av.AudioStream
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


@dataclass(frozen=True)
class StreamClock:
    """How the packets of one stream come to film time, in units of its time base.

    Args:
        shifts: (number of the packet in the stream, from 0, from which on it holds, what is added to pts and dts),
            ascending, the first from packet 0.
        given_pts: the film's pts of every packet, by number, where the container's own are no presentation times; None
            for a packet that gives no picture. Empty = the container tells them.
        lead: by how much dts are lowered besides, so that none lies after its pts.
        wrap: after how many units the container's clock begins again, 0 = never.
        most_lag: in such containers, how far a pts may be from its dts.
    """

    shifts: tuple[tuple[int, int], ...]
    given_pts: tuple[int | None, ...] = ()
    lead: int = 0
    wrap: int = 0
    most_lag: int = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether the container's time is the film's."""
        return self.shifts == ((0, 0),) and not (self.given_pts or self.wrap)

    def shifts_of(self, numbers: Iterable[int]) -> list[int]:
        """What is added to the times of the packets of these ascending numbers."""
        hand = _Hand(self)
        return [hand.shift_at(number) for number in numbers]


@dataclass(frozen=True)
class Clock:
    """A file's time. `probe(path).clock` or `clock_of(path)` find it; it holds for any later opening of the same file.

    Args:
        origin_s: the container's time of film time 0, may be negative.
        streams: by index, those that do more than begin at the origin.
        jitter_s: how far the times of sound packets are from an even pace, the median; 0 is exact.
    """

    origin_s: Fraction = Fraction(0)
    streams: Mapping[int, StreamClock] = field(default_factory=dict)
    jitter_s: float = 0.0

    @property
    def may_seek(self) -> bool:
        """Whether film time can be sought. If not, read from the first packet on: packets are told apart by number."""
        return all(len(stream.shifts) == 1 and not stream.given_pts for stream in self.streams.values())

    def packets(self, container: InputContainer, *streams: MediaStream) -> Iterator[av.Packet[Any]]:
        """The packets of these streams, as `demuxed` gives them (at the end empty ones, that flush decoders).

        Their pts and dts are film time in units of `packet.time_base`; either is None where nobody knows it. What an
        edit list hides comes too (decoders need it), with `is_discard`. The container must be freshly opened, or, if
        `may_seek`, sought.

        Raises:
            What `demuxed` raises.
        """
        clocks = {stream.index: self._of(stream) for stream in streams}
        if all(clock.changes_nothing for clock in clocks.values()):
            yield from demuxed(container, *streams)
            return
        hands = {index: _Hand(clock) for index, clock in clocks.items()}
        for packet in demuxed(container, *streams):
            if packet.size:
                hands[packet.stream.index].put_right(packet)
            yield packet

    def seek(self, container: InputContainer, film_s: float, stream: MediaStream | None = None) -> None:
        """Go to a place at or before this film time where decoding can start; stay where there is no such index."""
        seek_before(container, film_s + float(self.origin_s), stream)

    def _of(self, stream: MediaStream) -> StreamClock:
        found = self.streams.get(stream.index)
        return found or StreamClock(((0, units(-self.origin_s, stream)),))


class _Hand:
    """Sets the packets of one stream right, in order."""

    def __init__(self, clock: StreamClock) -> None:
        self._given, self._lead, self._lags = clock.given_pts, clock.lead, Lags(clock.wrap, clock.most_lag)
        self._later, self._shift, self._count = list(clock.shifts[:0:-1]), clock.shifts[0][1], 0

    def shift_at(self, number: int) -> int:
        """What is added to the times of this packet, none of which was asked for earlier."""
        while self._later and self._later[-1][0] <= number:
            self._shift = self._later.pop()[1]
        return self._shift

    def put_right(self, packet: av.Packet[Any]) -> None:
        """Give the next packet its film time."""
        shift, pts, dts = self.shift_at(self._count), packet.pts, packet.dts
        if pts is not None:
            packet.pts = self._lags.presented(pts, dts) + shift
        if dts is not None:
            packet.dts = dts + shift - self._lead
        if self._given:
            packet.pts = self._given[self._count] if self._count < len(self._given) else None
        self._count += 1


def units(time_s: Fraction | float, stream: MediaStream) -> int:
    """A time in units of the stream's time base, rounded."""
    return round(time_s / stream.time_base) if stream.time_base else 0


def origin_of(container: InputContainer, first_s: float | None = None) -> Fraction:
    """The container's time that players show as 0: where its first stream starts, also before 0 (a wrap at 2^33 too).

    Args:
        first_s: the earliest time of its packets, if known: where the clock need not run on, the header may be far off.
    """
    origin_s = Fraction(container.start_time or 0, av.time_base)
    is_discontinuous = container.format.name in DISCONTINUOUS
    if is_discontinuous and first_s is not None and abs(first_s - origin_s) > _HEADER_NEAR_S:
        return Fraction(first_s)
    return Fraction(0) if -_PADDING_S < origin_s < 0 and not is_discontinuous else origin_s


def wrap_of(container: InputContainer) -> int:
    """After how many units of its streams' time bases the container's clock begins again; 0 = never."""
    return _WRAPS.get(container.format.name, 0)


def leap_s_of(container: InputContainer) -> float:
    """By how much a clock must rise to have leapt: infinite in containers where a hole is a hole."""
    return LEAP_S if container.format.name in DISCONTINUOUS else math.inf


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
class _Place:
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
        self._hands: dict[int, _Place] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, stream: int, decoding_s: float | None, start_s: float | None, end_s: float | None) -> None:
        """The next packet of a stream: when it is decoded, from and to when it is shown or heard; None = not told."""
        hand = self._hands.get(stream)
        if hand is None:
            hand = self._hands[stream] = _Place(stream)
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

    def _go_on(self, hand: _Place, time_s: float, step_s: float) -> None:
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

    def _ends(self, hand: _Place, part: int) -> list[tuple[int, int, float]]:
        """What the stream's first packet in a part follows: its own end, or, if it is its first at all, the others'."""
        hands = [hand] if hand.runs else [other for other in self._hands.values() if 0 <= other.part < part]
        return [(hand.stream, other.part, other.end_s) for other in hands]

    def _part_of(self, hand: _Place, time_s: float, step_s: float) -> int:
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

    def _first_part(self, hand: _Place, time_s: float) -> int:
        if not self._parts:
            return self._new_part()
        best = min(range(len(self._parts)), key=lambda part: self._distance_s(hand, part, time_s))
        is_near = self._distance_s(hand, best, time_s) < _FIRST_NEAR_S or math.isinf(self._leap_s)
        return best if is_near else self._new_part()

    def _distance_s(self, hand: _Place, part: int, time_s: float) -> float:
        """How far the other streams are from this time, in that part."""
        others = [latest_s for stream, latest_s in self._parts[part].latest_s.items() if stream != hand.stream]
        return min((abs(time_s - latest_s) for latest_s in others), default=math.inf)

    def _new_part(self) -> int:
        self._parts.append(_Part())
        return len(self._parts) - 1

    def _note_first(self, hand: _Place) -> None:
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
