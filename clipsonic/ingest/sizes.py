"""Whether the pictures of a stream change their size: said by the first bytes of its packets, nothing is decoded.

Guarantee: of VP8, VP9 (8 bit, 4:2:0) and MJPEG every size that a packet tells is seen; a stream of another codec, or a
packet that cannot be read, tells none. Why it is asked: decord brings all pictures to the first one's size, and so
squeezes what changes its shape within a file. Price: 3 microseconds a packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_HEAD_BYTES = 4096
_VP9_REFERENCES = 3
_KEY_FRAME_SYNC = 0x498342
_SRGB = 7

Size = tuple[int, int]
"""Width and height in pixels."""


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
