"""One pass over the packets of a picture and a sound stream: what it tells of the file's clock, and then in film time.

Guarantee: what can be read counts, whatever breaks off behind it. Nothing is decoded where packets tell when they are
shown; where a container does not say so (AVI with reordered or packed pictures, raw streams), every picture has its own
time, in the order in which the decoder shows them, so none is mistaken for its neighbour.
Price: two microseconds a packet; without times the pictures up to the last wanted one are decoded once more, without
what does not change their order, about half of the work. Not exact: which time the first picture of an AVI has, within
the encoder's delay.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from clipsonic.ingest.clock import (
    LEAP_S,
    Clock,
    Lags,
    Parts,
    Steps,
    StreamClock,
    Turns,
    added,
    leap_s_of,
    origin_of,
    units,
    wrap_of,
)
from clipsonic.ingest.opening import FFMPEG_ERRORS, demuxed, open_media, raise_if_not_its_fault, video_stream, words_of
from clipsonic.ingest.packets import H264Packets, SizesOf
from clipsonic.ingest.quarantine import RefusalReason, RefusedError

_MOST_REORDERED = 16
_UNORDERED = ("avi",)  # containers that tell in which order pictures are decoded, not in which they are shown
_QUICK = {"skip_loop_filter": "all", "skip_idct": "all"}


class Scan:
    """What one pass over the packets of a picture and, if there is one, a sound stream finds, in container time."""

    def __init__(self, container: InputContainer, video: av.VideoStream, sound: av.AudioStream | None) -> None:
        self._container, self.parts, self._turns = container, Parts(leap_s_of(container)), Turns(wrap_of(container))
        is_unordered = container.format.name in _UNORDERED and bool(video.codec_context.has_b_frames)
        self.pictures = Pictures(video, self.parts, self._turns, is_unordered)
        self.sounds = None if sound is None else Sounds(sound, self.parts, self._turns)
        self.reached_end, self.words = False, ""

    def run(self, last_s: float | None) -> None:
        """Read until both streams are past `last_s`, or to the end, or as far as the file can be read."""
        readers: dict[int, Pictures | Sounds] = {self.pictures.stream.index: self.pictures}
        if self.sounds is not None:
            readers[self.sounds.stream.index] = self.sounds
        going_on = set(readers)
        try:
            for packet in demuxed(self._container, *(reader.stream for reader in readers.values())):
                if packet.size == 0:
                    continue
                time_s = readers[packet.stream.index].add(packet)
                if last_s is not None and time_s > last_s:
                    going_on.discard(packet.stream.index)
                    if not going_on:
                        return
        except FFMPEG_ERRORS as error:
            raise_if_not_its_fault(error)
            self.words = f"({words_of(error)})"  # what could be read up to here counts
        self.reached_end = True

    def clock(self, path: str | Path) -> Clock:
        """The file's clock.

        Raises:
            RefusedError: pictures tell no times, and none could be decoded.
        """
        readers = [reader for reader in (self.pictures, self.sounds) if reader and reader.pts]
        firsts_s = [reader.first_s(self._moved(reader.stream.index, Fraction(0))) for reader in readers]
        origin_s = origin_of(self._container, min(firsts_s, default=None))
        streams: dict[int, StreamClock] = {}
        for index in self.parts.shifts():
            stream: Any = self._container.streams[index]
            moved = tuple(self._moved(index, origin_s))
            streams[index] = StreamClock(moved, wrap=self._turns.wrap, most_lag=units(LEAP_S, stream))
        if not self.pictures.is_timed:
            index = self.pictures.stream.index
            streams[index] = self.pictures.with_order(streams[index], path)
        return Clock(origin_s, streams, self.sounds.jitter_s() if self.sounds else 0.0)

    def _moved(self, index: int, origin_s: Fraction) -> Steps:
        """From which packet of a stream on how many units are added to its times, for a film that begins there."""
        stream: Any = self._container.streams[index]
        shifts = [
            (number, units(Fraction(shift_s) - origin_s, stream)) for number, shift_s in self.parts.shifts()[index]
        ]
        return added(shifts, self._turns.changes.get(index, [(0, 0)]))


class _Stream:
    """The packets of one stream, place by place; what an edit list hides is counted and left out."""

    def __init__(self, stream: av.VideoStream | av.AudioStream, parts: Parts, turns: Turns) -> None:
        self._index, self.base = stream.index, float(stream.time_base or 1)
        self._parts, self._turns = parts, turns
        self._lags = Lags(turns.wrap, units(LEAP_S, stream))
        self.count = 0
        self.numbers, self.pts, self.durations = array("q"), array("q"), array("q")

    def first_s(self, moved: Steps) -> float:
        """The earliest time of its first packets, of which there are some, each moved so."""
        numbers = self.numbers[:_MOST_REORDERED].tolist()
        shifts = StreamClock(tuple(moved)).shifts_of(numbers)
        return min(pts + shift for pts, shift in zip(self.pts, shifts, strict=False)) * self.base

    def _tell(self, pts: int, dts: int | None, duration: int) -> float:
        """Note the time of the next packet; returns it in seconds."""
        turn = 0
        if dts is not None and self._turns.wrap:
            pts, turn = self._lags.presented(pts, dts), self._turns.turn(self._index, self.count, dts)
        start_s = (pts + turn) * self.base
        decoding_s = None if dts is None else (dts + turn) * self.base
        self._parts.add(self._index, decoding_s, start_s, start_s + duration * self.base)
        self.numbers.append(self.count)
        self.pts.append(pts)
        self.durations.append(duration)
        self.count += 1
        return start_s

    def _pass_over(self, time: int | None) -> float:
        """Count a hidden packet; returns its time in seconds."""
        self._parts.add(self._index, None, None, None)
        self.count += 1
        return (time or 0) * self.base


class Pictures(_Stream):
    """The packets of the picture stream.

    Args:
        is_unordered: whether the container's presentation times are none.
    """

    def __init__(self, stream: av.VideoStream, parts: Parts, turns: Turns, is_unordered: bool) -> None:
        super().__init__(stream, parts, turns)
        self.stream, self._is_unordered, self.is_timed = stream, is_unordered, not is_unordered
        self._h264 = H264Packets.of(stream.codec_context.name, stream.codec_context.extradata)
        self.sizes = SizesOf(stream.codec_context.name)
        self.told: list[bool] = []
        self.decoded: list[int | None] = []
        self.keys: list[int] = []  # places of packets where decoding can start
        self.references: list[int] = []

    def add(self, packet: av.Packet[Any]) -> float:
        """The next packet; returns its time in seconds."""
        pts, dts = packet.pts, packet.dts
        if packet.is_discard:
            return self._pass_over(pts)
        if packet.is_keyframe:
            self.keys.append(len(self.pts))
        if self._h264 is not None and self._h264.is_reference(packet):
            self.references.append(len(self.pts))
        self.sizes.see(memoryview(packet))
        is_told = pts is not None and not self._is_unordered
        self.is_timed = self.is_timed and is_told
        self.told.append(is_told)
        self.decoded.append(dts)
        return self._tell((dts or 0) if pts is None else pts, dts, packet.duration or 0)

    def film_pts(self, clock: Clock) -> list[int | None]:
        """The film's time of every packet, None where it gives no picture."""
        stream = clock.streams[self.stream.index]
        if stream.given_pts:
            return [stream.given_pts[number] for number in self.numbers]
        return [pts + shift for pts, shift in zip(self.pts, stream.shifts_of(self.numbers), strict=True)]

    def with_order(self, clock: StreamClock, path: str | Path) -> StreamClock:
        """The clock with presentation times found by decoding, for a stream of which not every packet tells its own.

        Raises:
            RefusedError: no picture could be decoded.
        """
        shifts = dict(zip(self.numbers, clock.shifts_of(self.numbers), strict=True))
        rows = zip(self.numbers, self.pts, self.told, self.decoded, strict=True)
        told, decoded = {}, {}
        for number, pts, is_told, dts in rows:
            told[number] = pts + shifts[number] if is_told else None
            decoded[number] = None if dts is None else dts + shifts[number]
        shown = [number for number in shown_order(path, self.count) if number in told]
        if not shown:
            raise RefusedError(RefusalReason.DECODE_ERROR, "no picture could be decoded")
        given = dict(zip(shown, times_in_order(shown, told, decoded, picture_step(self.stream)), strict=True))
        late = [dts - given[number] for number in shown if (dts := decoded[number]) is not None]
        given_pts = tuple(given.get(number) for number in range(self.count))
        return replace(clock, given_pts=given_pts, lead=max(0, max(late, default=0)))

    def can_show(self, time_s: float) -> bool:
        """Whether the picture of this container time can be decoded from what was read."""
        return any(self.pts[place] * self.base <= time_s for place in self.keys)


class Sounds(_Stream):
    """The packets of the sound stream."""

    def __init__(self, stream: av.AudioStream, parts: Parts, turns: Turns) -> None:
        super().__init__(stream, parts, turns)
        self.stream = stream

    def add(self, packet: av.Packet[Any]) -> float:
        """The next packet; returns its time in seconds."""
        pts = packet.dts if packet.pts is None else packet.pts
        if packet.is_discard:
            return self._pass_over(pts)
        last, length = (self.pts[-1], self.durations[-1]) if self.pts else (pts or 0, 0)
        if pts is None:
            return self._tell(last + length, None, packet.duration or 0)
        return self._tell(pts, pts, packet.duration or max(0, pts - last))

    def film_s(self, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
        """Where every packet starts and ends in the film, in seconds."""
        pts = np.array(self.pts, np.int64)
        if len(pts):
            pts += np.array(clock.streams[self.stream.index].shifts_of(self.numbers), np.int64)
        return pts * self.base, (pts + np.array(self.durations, np.int64)) * self.base

    def jitter_s(self) -> float:
        """By how much a packet's time misses the end of the one before it, the median."""
        if len(self.pts) < 2:
            return 0.0
        pts, durations = np.array(self.pts, np.int64), np.array(self.durations, np.int64)
        return float(np.median(np.abs(np.diff(pts) - durations[:-1]))) * self.base


def shown_order(path: str | Path, num_packets: int) -> list[int]:
    """The numbers of the picture's packets, in the order in which what they hold is shown; damaged ones are missing.

    A decoder hands a packet's time on to the picture that is made from it: here the time is the packet's number.
    """
    shown: dict[int, None] = {}
    with open_media(path) as container:
        video = video_stream(container)
        assert video is not None
        video.codec_context.options, video.codec_context.thread_count = _QUICK, 1
        number = 0
        try:
            for packet in demuxed(container, video):
                if packet.size:
                    packet.pts = packet.dts = number
                    number += 1
                try:
                    shown.update({frame.pts: None for frame in packet.decode() if frame.pts is not None})
                except FFMPEG_ERRORS as error:
                    raise_if_not_its_fault(error)
                if number > num_packets:
                    break
        except FFMPEG_ERRORS as error:
            raise_if_not_its_fault(error)  # what could be read up to here counts
    return [number for number in shown if number < num_packets]


def times_in_order(
    shown: Sequence[int], told: Mapping[int, int | None], decoded: Mapping[int, int | None], step: int
) -> list[int]:
    """When each of the packets in shown order is shown.

    Args:
        shown: numbers of packets, in the order in which they are shown.
        told: by number, the presentation times that the container does tell.
        decoded: by number, the decoding times.
        step: average distance of pictures.
    """
    known = [(place, time) for place, number in enumerate(shown) if (time := told.get(number)) is not None]
    if known:
        return _filled(known, len(shown), step)
    slots = sorted(time for number in shown if (time := decoded.get(number)) is not None)
    return slots if len(slots) == len(shown) else [place * step for place in range(len(shown))]


def _filled(known: list[tuple[int, int]], count: int, step: int) -> list[int]:
    """The times of all places, from those of some: between two of them evenly, before and behind by `step`."""
    rising = [known[0]]
    for place, time in known[1:]:
        if time > rising[-1][1]:
            rising.append((place, time))
    places, times = zip(*rising, strict=True)
    before = [times[0] - step * (places[0] - place) for place in range(places[0])]
    behind = [times[-1] + step * (place - places[-1]) for place in range(places[-1] + 1, count)]
    between = np.interp(np.arange(places[0], places[-1] + 1), places, times)
    return [*before, *(round(time) for time in between), *behind]


def picture_step(video: av.VideoStream) -> int:
    """Average distance of pictures, in units of the stream's time base."""
    assert video.time_base is not None
    fps = video.average_rate or video.guessed_rate or 25
    return max(1, round(1 / (fps * video.time_base)))
