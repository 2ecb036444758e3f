"""Which packets of a video's picture are copied, and when each is decoded and shown: settled before a byte is written.

Guarantee: every picture that a player shows is copied bit for bit and keeps its film time; what an edit list hides is
left out, or copied (others are made from it) and hidden again; decoding times rise and never pass their picture. Price:
one pass over the packets, some hundred bytes of memory for each; a pass through the decoder where the container does
not tell when pictures are shown (AVI, raw streams). Not exact: packed pictures of MPEG-4 (Xvid, DivX) are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from av.bitstream import BitStreamFilterContext

from clipsonic.errors import UsageError
from clipsonic.generate.edits import Shown
from clipsonic.ingest.clock import Clock
from clipsonic.ingest.opening import FFMPEG_ERRORS, open_media, raise_if_not_its_fault, video_stream
from clipsonic.ingest.probe import clock_of

UNPACK = "mpeg4_unpack_bframes"


class Seen(NamedTuple):
    """A packet as it was read, times in units of the stream's time base on the film's clock."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_hidden: bool


class Edit(NamedTuple):
    """A stretch that is shown, in units of the time base: from and to in the film, and where its media begin."""

    from_: int
    to: int
    media: int


@dataclass(frozen=True)
class Copying:
    """How a picture stream is copied.

    Args:
        times: for every packet in turn (pts, dts) of the media; None for one that is left out.
        edits: what of the media is shown when, ascending.
        hidden: how many packets are needed for decoding, but not shown.
        last_hidden: the greatest presentation time of these in the media; -1 if all lie before 0.
        end: where the film's last picture ends.
        time_base: seconds per unit of all these.
        clock: the file's.
    """

    times: tuple[tuple[int, int] | None, ...]
    edits: tuple[Edit, ...]
    hidden: int
    last_hidden: int
    end: int
    time_base: Fraction
    clock: Clock

    @property
    def end_s(self) -> float:
        """Where the film's last picture ends, in seconds."""
        return float(self.end * self.time_base)

    def shown(self) -> list[Shown]:
        """The edits in seconds, the media counted from their first decoding time."""
        begins = min(dts for _, dts in filter(None, self.times))
        base = self.time_base
        return [Shown(one.from_ * base, one.to * base, (one.media - begins) * base) for one in self.edits]

    @property
    def needs_edits(self) -> bool:
        """Whether an edit list is needed beyond the one that hides what lies before 0."""
        return self.last_hidden >= 0


def copying_of(path: str | Path) -> Copying:
    """How the picture of a video is copied.

    Raises:
        UsageError: there is none.
        RefusedError: the file cannot be opened.
    """
    with open_media(path) as source:
        picture = video_stream(source)
        if picture is None:
            raise UsageError(f"{path} has no moving picture to put a sound to: give a video")
        clock, base = clock_of(path), Fraction(picture.time_base or Fraction(1, 1000))
        seen = [_seen(packet) for packet in packets_of(source, picture, clock, unpacker(picture))]
    if all(one.is_hidden for one in seen):
        raise UsageError(f"{path} shows no picture to put a sound to: give another video")
    return _arranged(seen, base, clock)


def packets_of(source: Any, picture: Any, clock: Clock, unpack: BitStreamFilterContext | None) -> Iterator[Any]:
    """The packets of the picture on the film's clock, packed ones unpacked; as far as the file can be read.

    Args:
        unpack: the `unpacker` of this stream.
    """
    try:
        for packet in clock.packets(source, picture):
            if packet.size == 0:
                continue
            yield from _unpacked(unpack, packet, picture)
        yield from _unpacked(unpack, None, picture)
    except FFMPEG_ERRORS as error:
        raise_if_not_its_fault(error)  # what could be read up to here counts


def unpacker(picture: Any, copied: Any = None) -> BitStreamFilterContext | None:
    """What unpacks the packets of this stream, None where none can be packed.

    Args:
        copied: the stream they are written to; it learns what unpacking changes of the stream's facts.
    """
    is_packable = picture.codec_context is not None and picture.codec_context.name == "mpeg4"
    return BitStreamFilterContext(UNPACK, picture, copied) if is_packable else None


def _unpacked(unpack: BitStreamFilterContext | None, packet: Any, picture: Any) -> Iterator[Any]:
    if unpack is None:
        yield from () if packet is None else (packet,)
        return
    for one in unpack.filter(packet):
        one.time_base = picture.time_base
        yield one


def _seen(packet: Any) -> Seen:
    return Seen(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.is_discard)


def _slots(seen: Sequence[Seen]) -> list[int]:
    """The decoding times; a packet without one follows its predecessor."""
    slots: list[int] = []
    for one in seen:
        following = slots[-1] + max(1, one.duration) if slots else 0
        slots.append(following if one.dts is None else one.dts)
    return slots


def _arranged(seen: Sequence[Seen], base: Fraction, clock: Clock) -> Copying:
    seen = _all_timed(seen)
    kept = _kept(seen)
    media, edits = _laid_out(seen, kept)
    dts = _decoding_times(media, _counted_back([seen[place] for place in kept]))
    times: list[tuple[int, int] | None] = [None] * len(seen)
    for place, pts, decoded in zip(kept, media, dts, strict=True):
        times[place] = pts, decoded
    hidden = [pts for place, pts in zip(kept, media, strict=True) if seen[place].is_hidden]
    last_hidden = max([-1, *hidden])
    return Copying(tuple(times), tuple(edits), len(hidden), last_hidden, edits[-1].to, base, clock)


def _all_timed(seen: Sequence[Seen]) -> list[Seen]:
    """Presentation times for all: one that tells none is shown when it is decoded."""
    slots = _slots(seen)
    return [one if one.pts is not None else one._replace(pts=slot) for one, slot in zip(seen, slots, strict=True)]


def _kept(seen: Sequence[Seen]) -> list[int]:
    """Places of the packets that are shown or that shown ones are made from.

    Of every group from one key picture to the next: all up to the last one shown; of a group with none shown, all if
    pictures of the next one are shown before its key picture, for these are made from both.
    """
    groups: list[list[int]] = []
    for place, one in enumerate(seen):
        if one.is_key or not groups:
            groups.append([])
        groups[-1].append(place)
    kept: list[int] = []
    for group, after in pairwise([*groups, []]):
        shown = [place for place in group if not seen[place].is_hidden]
        leads = [place for place in after if not seen[place].is_hidden and _pts(seen[place]) < _pts(seen[after[0]])]
        if shown or leads:
            kept += [place for place in group if leads or place <= shown[-1]]
    return kept


def _pts(one: Seen) -> int:
    assert one.pts is not None
    return one.pts


def _laid_out(seen: Sequence[Seen], kept: Sequence[int]) -> tuple[list[int], list[Edit]]:
    """Presentation times of the media, and the edits that show the film of them.

    The media run as the film does until hidden pictures are in the way: those behind them are then laid out later.
    """
    media: list[int] = []
    edits: list[Edit] = []
    shift, end, blocked = 0, -(2**62), -(2**62)  # where the last picture, and the last hidden one, ends in the media
    for group in _groups(seen, kept):
        times = [_pts(seen[place]) + shift for place in group]
        hidden = [time for place, time in zip(group, times, strict=True) if seen[place].is_hidden]
        if min(times) < blocked or (hidden and min(hidden) < end):
            more = end - min(times)
            shift, times, hidden = shift + more, [time + more for time in times], [time + more for time in hidden]
        media += times
        end = max(end, *(time + max(1, seen[place].duration) for place, time in zip(group, times, strict=True)))
        blocked = end if hidden and max(hidden) == max(times) else blocked
        if shown := [place for place in group if not seen[place].is_hidden]:
            _show(edits, seen, shown, shift)
    return media, _in_turn(edits)


def _show(edits: list[Edit], seen: Sequence[Seen], shown: Sequence[int], shift: int) -> None:
    from_ = min(_pts(seen[place]) for place in shown)
    last = max(shown, key=lambda place: _pts(seen[place]))
    to = _pts(seen[last]) + max(1, seen[last].duration)
    if edits and edits[-1].media - edits[-1].from_ == shift:
        edits[-1] = Edit(edits[-1].from_, max(edits[-1].to, to), edits[-1].media)
    else:
        edits.append(Edit(from_, to, from_ + shift))


def _in_turn(edits: Sequence[Edit]) -> list[Edit]:
    """The edits one behind the other: FFmpeg tells the times of a further edit up to some pictures early."""
    turned: list[Edit] = []
    late = 0
    for one in edits:
        late = max(late, turned[-1].to - one.from_) if turned else 0
        turned.append(Edit(one.from_ + late, one.to + late, one.media))
    return turned


def _groups(seen: Sequence[Seen], kept: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for place in kept:
        if seen[place].is_key or not groups:
            groups.append([])
        groups[-1].append(place)
    return groups


def _counted_back(seen: Sequence[Seen]) -> list[int | None]:
    """The decoding times told; the first ones, that Matroska does not tell, counted back from the first one told."""
    told = [one.dts for one in seen]
    known = next((place for place, dts in enumerate(told) if dts is not None), 0)
    for place in range(known - 1, -1, -1):
        after = told[place + 1]
        told[place] = None if after is None else after - max(1, seen[place].duration)
    return told


def _decoding_times(pts: Sequence[int], told: Sequence[int | None]) -> list[int]:
    """Decoding times that rise, none after its picture: those told, where they rise; else those shown, sorted.

    All are moved back by the same time until none passes its picture.
    """
    times = [time for time in told if time is not None]
    if len(times) < len(told) or any(after <= before for before, after in pairwise(times)):
        times = []
        for time in sorted(pts):
            times.append(time if not times or time > times[-1] else times[-1] + 1)
    back = max(0, max(time - shown for time, shown in zip(times, pts, strict=True)))
    return [time - back for time in times]
