"""What a media file is, before a picture is decoded: its streams, its clock, and the time of every packet.

Guarantee: decodes nothing unless packets have no times, and ends with a fact or a refusal that names its reason; what
can be read counts, whatever breaks off behind it. The ends are those of the packets that are there, not what the header
promises; all times are the film's (see `clock`). Where a container does not say when pictures are shown (AVI with
reordered or packed ones, raw streams), every picture has its own time, in the order in which the decoder shows them.
Price: one pass over the packets, about 3 ms for a ten-second file, a second or two per gigabyte; of a container whose
clock may leap (MPEG-TS, MPEG-PS, FLV, Ogg) always over all of them; without times, the pictures up to the last wanted
one are decoded once more, without what does not change their order, about half of the work.
Not exact: which time the first picture of an AVI has, within the encoder's delay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from clipsonic.ingest.clock import (
    DISCONTINUOUS,
    LEAP_S,
    Clock,
    MediaStream,
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
from clipsonic.ingest.opening import (
    FFMPEG_ERRORS,
    IMPRECISE_CONTAINERS,
    IMPRECISE_S,
    demuxed,
    open_media,
    pixel_aspect,
    raise_if_not_its_fault,
    seek_before,
    sound_stream,
    streams_in_words,
    video_stream,
    words_of,
)
from clipsonic.ingest.packets import Pictures, Sounds
from clipsonic.refusals import RefusalReason, RefusedError

MAX_HOURS = 1000.0
"""Between the first and the last packet of a film: beyond, its timestamps are not times."""
MAX_GAP_S = 10.0
"""How long a picture or a sound packet stands for something: where neither has come for longer, there is nothing."""
_MAX_STILL_S, _MAX_STILL_STEPS = 2.0, 10.0  # a picture that stands for longer than both is followed by a hole
_FIRST_EARLY_S = 0.1  # encoders let the picture begin this much later than the sound
_UNORDERED = ("avi",)  # containers that tell in which order pictures are decoded, not in which they are shown
_QUICK = {"skip_loop_filter": "all", "skip_idct": "all"}
_PAST_END_S = 3.0  # how far both streams are read past a wanted end: packets are interleaved and reordered


@dataclass(frozen=True)
class Media:
    """A file that has a moving picture; times are the film's: 0 is what a player shows as 0.

    Args:
        container, video_codec, sound_codec, pixel_format: FFmpeg's names; no sound, no `sound_codec`.
        fps: average frame rate, 0 where unknown.
        clock: hands out the file's packets in film time.
        time_base: seconds per unit of the picture timestamps.
        picture_pts: the time of every picture, ascending, in units of `time_base`.
        key_pts: those where decoding can start.
        reference_pts: those that others are made from, in H.264; of other codecs, and without times, none is known.
        is_one_size: whether no packet tells that the pictures change their size.
        pixel_aspect: width of a pixel over its height, as a player shows it before it turns the picture; 1 = square.
        is_timed: whether every packet told its time (else `picture_pts` was found by decoding).
        is_from_start, is_whole: whether the file was looked at from its start, and from there to its end.
        picture_end_s, sound_end_s: where the last packet of each stream ends.
        shown_s: (from, to) where pictures come, ascending: not before the first, nor where one stands for so long that
            others must have been lost.
        gaps_s: (from, to) where there is neither picture nor sound, ascending; the last one has no end.
        promised_s: the least length of these streams by the header; 0 where it says nothing.
    """

    container: str
    video_codec: str
    sound_codec: str
    pixel_format: str
    fps: float
    clock: Clock
    time_base: float
    picture_pts: tuple[int, ...]
    key_pts: tuple[int, ...]
    reference_pts: tuple[int, ...]
    is_one_size: bool
    pixel_aspect: float
    is_timed: bool
    is_from_start: bool
    is_whole: bool
    picture_end_s: float
    sound_end_s: float
    shown_s: tuple[tuple[float, float], ...]
    gaps_s: tuple[tuple[float, float], ...]
    promised_s: float


def clock_of(path: str | Path) -> Clock:
    """The clock of a whole video, for whoever reads its packets.

    Raises:
        RefusedError: not_media, decode_error, no_video.
    """
    return probe(path, needs_sound=False).clock


def probe(path: str | Path, from_s: float = 0.0, until_s: float | None = None, *, needs_sound: bool = True) -> Media:
    """Look at the file from before `from_s` to a little after `until_s` (default: all of it), both in film time.

    Raises:
        RefusedError: not_media, decode_error, no_video, and no_audio unless sound is not needed.
    """
    with open_media(path) as container:
        video, sound = _streams_of(container, needs_sound)
        if container.format.name in DISCONTINUOUS:
            from_s, until_s = 0.0, None
        origin_s = float(origin_of(container))
        if from_s > 0:
            early_s = IMPRECISE_S if container.format.name in IMPRECISE_CONTAINERS else 0.0
            seek_before(container, origin_s + from_s - early_s)
        scan = Scan(container, video, sound)
        scan.run(None if until_s is None else origin_s + until_s + _PAST_END_S)
        pictures, sounds = scan.pictures, scan.sounds
        is_clear = pictures.is_timed and len(scan.parts) < 2 and pictures.can_show(origin_s + from_s)
        if from_s > 0 and not is_clear:  # packets are told apart by their number from the start
            return probe(path, 0.0, until_s, needs_sound=needs_sound)
        if not pictures.pts:
            raise RefusedError(RefusalReason.DECODE_ERROR, f"the picture stream has no packets {scan.words}".strip())
        if sounds is not None and not sounds.pts and needs_sound:
            reason = RefusalReason.DECODE_ERROR if _promised_s(sounds.stream) else RefusalReason.NO_AUDIO
            raise RefusedError(reason, f"the sound stream has no packets {scan.words}".strip())
        return _media_of(container, scan, scan.clock(path), from_s <= 0, needs_sound)


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
            streams[index] = _with_order(self.pictures, streams[index], path)
        return Clock(origin_s, streams, self.sounds.jitter_s() if self.sounds else 0.0)

    def _moved(self, index: int, origin_s: Fraction) -> Steps:
        """From which packet of a stream on how many units are added to its times, for a film that begins there."""
        stream: Any = self._container.streams[index]
        shifts = [
            (number, units(Fraction(shift_s) - origin_s, stream)) for number, shift_s in self.parts.shifts()[index]
        ]
        return added(shifts, self._turns.changes.get(index, [(0, 0)]))


def _streams_of(container: InputContainer, needs_sound: bool) -> tuple[av.VideoStream, av.AudioStream | None]:
    video, sound = video_stream(container), sound_stream(container)
    if not len(container.streams):
        raise RefusedError(RefusalReason.DECODE_ERROR, "the container lists no streams")
    if video is None:
        raise RefusedError(RefusalReason.NO_VIDEO, f"streams: {streams_in_words(container)}")
    if sound is None and needs_sound:
        raise RefusedError(RefusalReason.NO_AUDIO, f"streams: {streams_in_words(container)}")
    if video.codec_context is None or (sound is not None and sound.codec_context is None and needs_sound):
        raise RefusedError(
            RefusalReason.DECODE_ERROR, f"no decoder for one of the streams: {streams_in_words(container)}"
        )
    return video, sound


def _media_of(container: InputContainer, scan: Scan, clock: Clock, is_from_start: bool, needs_sound: bool) -> Media:
    video, base = scan.pictures.stream, scan.pictures.base
    film = scan.pictures.film_pts(clock)
    pictures = sorted(pts for pts in film if pts is not None)
    starts_s, ends_s = scan.sounds.film_s(clock) if scan.sounds else (np.zeros(0), np.zeros(0))
    covered = _covered(np.array(pictures) * base, starts_s)
    if covered[-1][1] - covered[0][0] > 3600.0 * MAX_HOURS:
        span = f"its packets lie {_hours_in_words((covered[-1][1] - covered[0][0]) / 3600.0)} apart"
        raise RefusedError(RefusalReason.DECODE_ERROR, f"{span}: no file of more than {MAX_HOURS:g} is read")
    fps = float(video.average_rate or video.guessed_rate or 0)
    last = film.index(pictures[-1])
    last_picture_s = _believed_s(scan.pictures.durations[last] * base) or (1 / fps if fps else 0.04)
    # Matroska rounds times and lengths to milliseconds: no file may miss the length of a segment by that
    rounding_s = 2 * min(base, 0.001)
    promising: list[MediaStream] = [video, *([scan.sounds.stream] if scan.sounds and needs_sound else [])]
    picture_end_s = pictures[-1] * base + last_picture_s + rounding_s
    is_timed = scan.pictures.is_timed
    return Media(
        container=container.format.name,
        video_codec=video.codec_context.codec.name,
        sound_codec=scan.sounds.stream.codec_context.codec.name if scan.sounds and needs_sound else "",
        pixel_format=video.codec_context.pix_fmt or "",
        fps=fps,
        clock=clock,
        time_base=base,
        picture_pts=tuple(pictures),
        key_pts=_chosen(film, scan.pictures.keys),
        reference_pts=_chosen(film, scan.pictures.references) if is_timed else (),
        is_one_size=scan.pictures.sizes.are_one,
        pixel_aspect=pixel_aspect(video),
        is_timed=is_timed,
        is_from_start=is_from_start,
        is_whole=is_from_start and scan.reached_end,
        picture_end_s=picture_end_s,
        sound_end_s=float(ends_s.max(initial=0.0)) + 2 * clock.jitter_s,
        shown_s=_shown(np.array(pictures) * base, picture_end_s),
        gaps_s=tuple((before[1], after[0]) for before, after in itertools.pairwise([*covered, (math.inf, math.inf)])),
        promised_s=min(_promised_s(stream) for stream in promising) if len(scan.parts) < 2 else 0.0,
    )


def _chosen(film: Sequence[int | None], places: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(pts for place in places if (pts := film[place]) is not None))


def _shown(times_s: np.ndarray, end_s: float) -> tuple[tuple[float, float], ...]:
    """Where pictures come; a picture may stand for 2 s, or ten times as long as most, and a little before the first."""
    steps_s = np.diff(times_s)
    usual_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    breaks = np.flatnonzero(steps_s > max(_MAX_STILL_S, _MAX_STILL_STEPS * usual_s))
    froms_s = times_s[[0, *(breaks + 1)]] - [_FIRST_EARLY_S, *(0.0 for _ in breaks)]
    return tuple(zip(froms_s.tolist(), [*(times_s[breaks] + usual_s).tolist(), end_s], strict=True))


def _covered(pictures_s: np.ndarray, sounds_s: np.ndarray) -> list[tuple[float, float]]:
    """(from, to) where there is a picture or a sound, or has been one less than MAX_GAP_S before; ascending."""
    times_s = np.sort(np.concatenate([pictures_s, sounds_s]))
    breaks = np.flatnonzero(np.diff(times_s) > MAX_GAP_S)
    firsts_s, lasts_s = times_s[[0, *(breaks + 1)]], times_s[[*breaks, -1]] + MAX_GAP_S
    return list(zip(firsts_s.tolist(), lasts_s.tolist(), strict=True))


def _promised_s(stream: MediaStream) -> float:
    return _believed_s(float(stream.duration * stream.time_base)) if stream.duration and stream.time_base else 0.0


def _believed_s(length_s: float) -> float:
    """A length that a header or a packet claims; 0, as if nothing were said, where it is none."""
    return length_s if 0.0 < length_s <= 3600.0 * MAX_HOURS else 0.0


def _hours_in_words(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 1e7 else "more than ten million hours"


def picture_times(frames: Iterator[av.VideoFrame], step: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, picture) of decoded pictures; one without a time follows its predecessor by `step`."""
    pts = -step
    for frame in frames:
        pts = pts + step if frame.pts is None else frame.pts
        yield pts, frame


def _with_order(pictures: Pictures, clock: StreamClock, path: str | Path) -> StreamClock:
    """The clock with presentation times found by decoding, of pictures of which not every packet tells its own.

    Raises:
        RefusedError: no picture could be decoded.
    """
    shifts = dict(zip(pictures.numbers, clock.shifts_of(pictures.numbers), strict=True))
    rows = zip(pictures.numbers, pictures.pts, pictures.told, pictures.decoded, strict=True)
    told, decoded = {}, {}
    for number, pts, is_told, dts in rows:
        told[number] = pts + shifts[number] if is_told else None
        decoded[number] = None if dts is None else dts + shifts[number]
    shown = [number for number in shown_order(path, pictures.count) if number in told]
    if not shown:
        raise RefusedError(RefusalReason.DECODE_ERROR, "no picture could be decoded")
    given = dict(zip(shown, times_in_order(shown, told, decoded, picture_step(pictures.stream)), strict=True))
    late = [dts - given[number] for number in shown if (dts := decoded[number]) is not None]
    given_pts = tuple(given.get(number) for number in range(pictures.count))
    return replace(clock, given_pts=given_pts, lead=max(0, max(late, default=0)))


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
