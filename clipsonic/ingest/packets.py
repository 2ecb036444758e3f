"""What the packets of a picture and of a sound stream tell, one by one: times, places to begin, references, sizes.

Guarantee: nothing is decoded; what an edit list hides is counted and left out. Of H.264, a packet that cannot be read,
or whose slices begin late, counts as needed by others (whether a picture is of type B would not do: encoders let P
pictures refer to B pictures, and leaving those out was seen to change the rest by up to 27 of 255 on the mean). Of VP8,
VP9 (8 bit, 4:2:0) and MJPEG every size that a packet tells is seen; another codec, or a packet that cannot be read,
tells none. (decord brings all pictures to the first one's size, and so squeezes what changes its shape within a file.)
Price: two microseconds a packet, and three where its first bytes are read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from clipsonic.ingest.clock import LEAP_S, Clock, Lags, Parts, Steps, StreamClock, Turns, units

_MOST_REORDERED = 16
_SLICES = (1, 2, 5)  # nal_unit_type of a picture's slices (ITU-T H.264, table 7-1)
_MOST_UNITS = 64
_HEAD_BYTES = 4096
_VP9_REFERENCES = 3
_KEY_FRAME_SYNC = 0x498342
_SRGB = 7

Size = tuple[int, int]
"""Width and height in pixels."""


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


@dataclass(frozen=True)
class H264Packets:
    """How the packets of one stream are laid out.

    Args:
        length_size: bytes of the length before every unit (MP4, Matroska), 0 for start codes (MPEG-TS, raw streams).
    """

    length_size: int

    @classmethod
    def of(cls, codec: str, extradata: bytes | None) -> H264Packets | None:
        """The layout of a stream by its header (ISO/IEC 14496-15, 5.3.3.1), None if it is not H.264."""
        if codec != "h264":
            return None
        has_lengths = extradata is not None and len(extradata) > 4 and extradata[0] == 1
        return cls((extradata[4] & 3) + 1 if has_lengths and extradata is not None else 0)

    def is_reference(self, packet: av.Packet[Any]) -> bool:
        """Whether other pictures may be made from this one: nal_ref_idc of its first slice (7.4.1) is not 0."""
        head, place = bytes(memoryview(packet)[:_HEAD_BYTES]), 0
        for _ in range(_MOST_UNITS):
            header, place = self._next_unit(head, place)
            if header is None:
                return True
            if header & 31 in _SLICES:
                return bool(header >> 5 & 3)
        return True

    def _next_unit(self, head: bytes, place: int) -> tuple[int | None, int]:
        """The first byte of the unit at or after this place, and the place behind what is known of it."""
        if self.length_size:
            start = place + self.length_size
            after = start + int.from_bytes(head[place:start], "big")
        else:
            start = head.find(b"\0\0\1", place) + 3
            after = start
            if start < 3:
                return None, place
        return (head[start], after) if start < len(head) else (None, place)


class SizesOf:
    """The sizes that the packets of one stream tell, as they pass by.

    Args:
        codec: FFmpeg's name of the decoder.
    """

    def __init__(self, codec: str) -> None:
        self._sizes_of = _READERS.get(codec)
        self._seen: set[Size] = set()

    @property
    def are_one(self) -> bool:
        """Whether no two packets have told different sizes."""
        return len(self._seen) <= 1

    def see(self, packet: memoryview) -> None:
        """The next packet."""
        if self._sizes_of is not None and self.are_one:
            self._seen.update(self._sizes_of(packet))


def vp8_sizes(packet: memoryview) -> Iterator[Size]:
    """Of a key frame its size (RFC 6386, 9.1)."""
    head = bytes(packet[:10])
    if len(head) == 10 and not head[0] & 1 and head[3:6] == b"\x9d\x01\x2a":
        yield int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def vp9_sizes(packet: memoryview) -> Iterator[Size]:
    """Of each frame in a packet the size, if it tells a new one (VP9 bitstream specification, 6.2 and annex B)."""
    for frame in _vp9_frames(packet):
        size = _vp9_size(_Bits(bytes(frame[:24])))
        if size is not None:
            yield size


def _vp9_frames(packet: memoryview) -> Iterator[memoryview]:
    """The frames of a superframe, or the packet itself."""
    last = packet[-1] if len(packet) else 0
    count, width = (last & 7) + 1, (last >> 3 & 3) + 1
    index = len(packet) - 2 - count * width
    if last & 0xE0 != 0xC0 or index < 0 or packet[index] != last:
        yield packet
        return
    start = 0
    for place in range(index + 1, index + 1 + count * width, width):
        stop = start + int.from_bytes(packet[place : place + width], "little")
        yield packet[start : min(stop, index)]
        start = stop


def _vp9_size(bits: _Bits) -> Size | None:
    """The size in an uncompressed header of profile 0; None if it tells none, or takes that of an earlier picture."""
    if bits.take(2) != 2 or bits.take(2) or bits.take(1):  # marker, profile, a picture that is only shown again
        return None
    is_inter, is_shown, is_resilient = bits.take(1), bits.take(1), bits.take(1)
    is_intra_only = is_inter and not is_shown and bits.take(1)
    if is_inter and not is_resilient:
        bits.take(2)
    if not is_inter or is_intra_only:
        if bits.take(24) != _KEY_FRAME_SYNC:
            return None
        if is_intra_only:
            bits.take(8)
        elif bits.take(3) != _SRGB:
            bits.take(1)
    else:
        bits.take(8 + 4 * _VP9_REFERENCES)
        if any(bits.take(1) for _ in range(_VP9_REFERENCES)):
            return None
    size = bits.take(16) + 1, bits.take(16) + 1
    return None if bits.are_exhausted else size


def jpeg_sizes(packet: memoryview) -> Iterator[Size]:
    """The size in the frame header of a JPEG (ITU-T T.81, B.2.2)."""
    head, place = bytes(packet[:_HEAD_BYTES]), 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            yield int.from_bytes(head[place + 7 : place + 9], "big"), int.from_bytes(head[place + 5 : place + 7], "big")
            return
        place += 2 + max(2, length)


class _Bits:
    """Bits of a few bytes, the highest first; zeros behind their end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    @property
    def are_exhausted(self) -> bool:
        """Whether more was taken than was there."""
        return self._left < 0

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        return self._value >> self._left & (1 << count) - 1 if self._left >= 0 else 0


_READERS: dict[str, Callable[[memoryview], Iterator[Size]]] = {
    "vp8": vp8_sizes, "libvpx": vp8_sizes, "vp9": vp9_sizes, "libvpx-vp9": vp9_sizes, "mjpeg": jpeg_sizes,
}  # fmt: skip
