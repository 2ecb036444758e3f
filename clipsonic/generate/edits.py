"""The edit list of the picture in an MP4 or MOV, written anew: what of the media is shown, and when.

Guarantee: only the index at the end of the file changes, and there only the picture's edit list and the durations that
follow from it. Price: the index is read whole, some tens of bytes for each picture. Not exact: an edit's length is
rounded down to the film's time scale, so that nothing hidden is shown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

TIME_SCALE = 90000
"""For `movie_timescale`: FFmpeg's own, 1,000, is too coarse for an edit of pictures."""


class Shown(NamedTuple):
    """A stretch of the film, in seconds: from and to, and the media time (0 = its first decoding time) it begins at."""

    from_s: Fraction
    to_s: Fraction
    media_s: Fraction


Box = tuple[bytes, bytes]


def write_edits(path: Path, shown: Sequence[Shown]) -> None:
    """Let the picture of a file whose index stands at its end show these stretches, ascending, one behind the other."""
    with path.open("r+b") as file:
        place, moov = _index(file)
        file.seek(place)
        file.truncate()
        file.write(_box(b"moov", _with_edits(moov, shown)))


def _index(file: BinaryIO) -> tuple[int, bytes]:
    """Place and body of the last box, which is the index."""
    place, last = 0, (0, b"", 0)
    while header := file.read(16):
        size, kind = struct.unpack(">I4s", header[:8])
        head = 16 if size == 1 else 8
        size = struct.unpack(">Q", header[8:16])[0] if size == 1 else size
        last = place, kind, head
        place += size
        file.seek(place)
    start, kind, head = last
    assert kind == b"moov", "written without faststart"
    file.seek(start + head)
    return start, file.read()


def _with_edits(moov: bytes, shown: Sequence[Shown]) -> bytes:
    boxes = list(_boxes(moov))
    scale = _scale(dict(boxes)[b"mvhd"])
    boxes = [(kind, _track(body, shown, scale)) if kind == b"trak" else (kind, body) for kind, body in boxes]
    longest = max(_duration(dict(_boxes(body))[b"tkhd"], 20, 28) for kind, body in boxes if kind == b"trak")
    return b"".join(_box(kind, _lasting(body, longest, 16, 24) if kind == b"mvhd" else body) for kind, body in boxes)


def _track(trak: bytes, shown: Sequence[Shown], scale: int) -> bytes:
    """The same track; that of the picture with its new edits."""
    boxes = list(_boxes(trak))
    media = dict(_boxes(dict(boxes)[b"mdia"]))
    if media[b"hdlr"][8:12] != b"vide":
        return trak
    listed = list(_entries(shown, scale, _scale(media[b"mdhd"])))
    elst = struct.pack(">II", 1 << 24, len(listed)) + b"".join(struct.pack(">QqHH", *entry, 1, 0) for entry in listed)
    out = b""
    for kind, body in boxes:
        if kind == b"tkhd":
            out += _box(kind, _lasting(body, sum(length for length, _ in listed), 20, 28))
            out += _box(b"edts", _box(b"elst", elst))
        elif kind != b"edts":
            out += _box(kind, body)
    return out


def _entries(shown: Sequence[Shown], scale: int, media_scale: int) -> Iterator[tuple[int, int]]:
    """(length, media time) of each edit, -1 for nothing to show; each begins where the film wants it."""
    at = 0
    for place, one in enumerate(shown):
        begins = round(one.from_s * scale)
        if begins > at:
            if place == 0:
                yield begins, -1
            at = begins
        until = shown[place + 1].from_s if place + 1 < len(shown) else one.to_s
        yield int(until * scale) - at, round(one.media_s * media_scale)
        at = int(until * scale)


def _scale(header: bytes) -> int:
    """Units per second of an mvhd or mdhd."""
    place = 20 if header[0] else 12
    return int.from_bytes(header[place : place + 4], "big")


def _duration(header: bytes, place: int, place_long: int) -> int:
    """Of an mvhd or tkhd, whose field lies at one of two places, by version."""
    return int.from_bytes(header[place_long : place_long + 8] if header[0] else header[place : place + 4], "big")


def _lasting(header: bytes, duration: int, place: int, place_long: int) -> bytes:
    where, size = (place_long, 8) if header[0] else (place, 4)
    return header[:where] + duration.to_bytes(size, "big") + header[where + size :]


def _boxes(data: bytes) -> Iterator[Box]:
    place = 0
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place + 8 : place + size]
        place += size


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body
