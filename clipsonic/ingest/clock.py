"""The one place that maps a container's time to the film's, whose 0 is what players show as 0, packet by packet.

Guarantee: pictures, sound, a video's own sound and the muxer use the same `Clock`, learnt by `probe` in its one pass;
behind `Clock.packets` no other arithmetic of origins, wraps, restarts, leaps or missing presentation times is needed.
Price: nothing but a look at every packet. Not exact: a film's time is rounded to the time base of its stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from clipsonic.ingest.opening import demuxed, seek_before
from clipsonic.ingest.parts import LEAP_S, Lags

DISCONTINUOUS = ("mpegts", "mpeg", "flv", "live_flv", "ogg")
"""Containers whose clock may leap or begin again: the whole file is looked at, and a leap is no hole."""
_WRAPS = {"mpegts": 2**33, "mpeg": 2**33, "flv": 2**32}  # units of the streams' time bases
_PADDING_S = Fraction(1, 10)  # a start that lies less before 0 is the encoder's padding
_FIRST_NEAR_S = 1.0

MediaStream = av.VideoStream | av.AudioStream


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
    if is_discontinuous and first_s is not None and abs(first_s - origin_s) > _FIRST_NEAR_S:
        return Fraction(first_s)
    return Fraction(0) if -_PADDING_S < origin_s < 0 and not is_discontinuous else origin_s


def wrap_of(container: InputContainer) -> int:
    """After how many units of its streams' time bases the container's clock begins again; 0 = never."""
    return _WRAPS.get(container.format.name, 0)


def leap_s_of(container: InputContainer) -> float:
    """By how much a clock must rise to have leapt: infinite in containers where a hole is a hole."""
    return LEAP_S if container.format.name in DISCONTINUOUS else math.inf
