"""What a media file is, before a picture is decoded: its streams, its clock, and the time of every packet.

Guarantee: decodes nothing unless packets have no times, and ends with a fact or a refusal that names its reason. The
ends are those of the packets that are there, not what the header promises; all times are the film's (see `clock`).
Price: one pass over the packets, about 3 ms for a ten-second file, a second or two per gigabyte; of a container whose
clock may leap (MPEG-TS, MPEG-PS, FLV, Ogg) always over all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from clipsonic.ingest.clock import DISCONTINUOUS, Clock, MediaStream, origin_of
from clipsonic.ingest.opening import (
    IMPRECISE_CONTAINERS,
    IMPRECISE_S,
    open_media,
    pixel_aspect,
    seek_before,
    sound_stream,
    streams_in_words,
    video_stream,
    words_of,
)
from clipsonic.ingest.quarantine import RefusalReason, RefusedError
from clipsonic.ingest.scan import Scan, picture_step

MAX_HOURS = 1000.0
"""Between the first and the last packet of a film: beyond, its timestamps are not times."""
MAX_GAP_S = 10.0
"""How long a picture or a sound packet stands for something: where neither has come for longer, there is nothing."""
_MAX_STILL_S, _MAX_STILL_STEPS = 2.0, 10.0  # a picture that stands for longer than both is followed by a hole
_FIRST_EARLY_S = 0.1  # encoders let the picture begin this much later than the sound
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


__all__ = ["Media", "clock_of", "open_media", "picture_step", "picture_times", "probe", "video_stream", "words_of"]
