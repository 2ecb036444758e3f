"""What a media file is, before a picture is decoded: its streams, and the time of every packet.

Guarantee: decodes nothing unless packets have no times, and ends with a fact or a refusal that names its reason. The
ends are those of the packets that are there, not what the header promises.
Price: one pass over the packets, about 3 ms for a ten-second file, a second or two per gigabyte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from clipsonic.ingest.opening import (
    FFMPEG_ERRORS,
    IMPRECISE_CONTAINERS,
    IMPRECISE_S,
    open_media,
    packets_of,
    pixel_aspect,
    raise_if_out_of_memory,
    seek_before,
    sound_stream,
    streams_in_words,
    video_stream,
    words_of,
)
from clipsonic.ingest.quarantine import RefusalReason, RefusedError
from clipsonic.ingest.references import H264Packets
from clipsonic.ingest.sizes import SizesOf

__all__ = ["Media", "open_media", "picture_step", "picture_times", "probe", "video_stream", "words_of"]

MAX_HOURS = 1000.0
"""Between the first and the last packet of a file: beyond, its timestamps are not times."""
MAX_GAP_S = 10.0
"""How long a picture or a sound packet stands for something: where neither has come for longer, there is nothing."""
_PAST_END_S = 3.0  # how far both streams are read past a wanted end: packets are interleaved and reordered


@dataclass(frozen=True)
class Media:
    """A file that has a moving picture; times in seconds from what a player shows as 0.

    Args:
        container, video_codec, sound_codec, pixel_format: FFmpeg's names; no sound, no `sound_codec`.
        fps: average frame rate, 0 where unknown.
        origin_s: the container's timestamp of time 0.
        time_base: seconds per unit of the picture timestamps.
        picture_pts: the time of every picture, ascending, in units of `time_base`.
        key_pts: those where decoding can start.
        reference_pts: those that others are made from, in H.264; of other codecs, and without times, none is known.
        is_one_size: whether no packet tells that the pictures change their size.
        pixel_aspect: width of a pixel over its height, as a player shows it before it turns the picture; 1 = square.
        is_timed: whether every packet told its time (else `picture_pts` was found by decoding).
        is_from_start, is_whole: whether the file was looked at from its start, and from there to its end.
        picture_end_s, sound_end_s: where the last packet of each stream ends.
        gaps_s: (from, to) where there is neither picture nor sound, ascending; the last one has no end.
        promised_s: the least length of these streams by the header; 0 where it says nothing.
    """

    container: str
    video_codec: str
    sound_codec: str
    pixel_format: str
    fps: float
    origin_s: float
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
    gaps_s: tuple[tuple[float, float], ...]
    promised_s: float


def probe(path: str | Path, from_s: float = 0.0, until_s: float | None = None, *, needs_sound: bool = True) -> Media:
    """Look at the file from before `from_s` to a little after `until_s` (default: all of it).

    Raises:
        RefusedError: not_media, decode_error, no_video, and no_audio unless sound is not needed.
    """
    with open_media(path) as container:
        video, sound = video_stream(container), sound_stream(container)
        if not len(container.streams):
            raise RefusedError(RefusalReason.DECODE_ERROR, "the container lists no streams")
        if video is None:
            raise RefusedError(RefusalReason.NO_VIDEO, f"streams: {streams_in_words(container)}")
        if sound is None and needs_sound:
            raise RefusedError(RefusalReason.NO_AUDIO, f"streams: {streams_in_words(container)}")
        if video.codec_context is None or (needs_sound and sound is not None and sound.codec_context is None):
            raise RefusedError(
                RefusalReason.DECODE_ERROR, f"no decoder for one of the streams: {streams_in_words(container)}"
            )
        origin_s = max(0, container.start_time or 0) / av.time_base
        if from_s > 0:
            early_s = IMPRECISE_S if container.format.name in IMPRECISE_CONTAINERS else 0.0
            seek_before(container, origin_s + from_s - early_s)
        scan = _Scan(video, sound if needs_sound else None)
        scan.run(container, None if until_s is None else origin_s + until_s + _PAST_END_S)
        if from_s > 0 and not scan.can_show(origin_s + from_s):
            return probe(path, 0.0, until_s, needs_sound=needs_sound)
        if sound is not None and scan.sound_end_s is None and needs_sound:
            reason = RefusalReason.DECODE_ERROR if _promised_s(sound) else RefusalReason.NO_AUDIO
            raise RefusedError(reason, f"the sound stream has no packets {scan.words}".strip())
        return _media_of(container, scan, origin_s, from_s <= 0, path)


def _media_of(container: InputContainer, scan: _Scan, origin_s: float, is_from_start: bool, path: str | Path) -> Media:
    pictures = scan.pictures if scan.is_timed else _times_by_decoding(path)
    if not pictures:
        raise RefusedError(RefusalReason.DECODE_ERROR, f"the picture stream has no packets {scan.words}".strip())
    video, sound, pictures = scan.video, scan.sound, sorted(pictures)
    covered = _covered([pts * scan.picture_base for pts in pictures], scan.sound_runs_s)
    if covered[-1][1] - covered[0][0] > 3600.0 * MAX_HOURS:
        span = f"its packets lie {_hours_in_words((covered[-1][1] - covered[0][0]) / 3600.0)} apart"
        raise RefusedError(RefusalReason.DECODE_ERROR, f"{span}: no file of more than {MAX_HOURS:g} is read")
    # Matroska rounds times and lengths to milliseconds: no file may miss the length of a segment by that
    rounding_s = 2 * min(scan.picture_base, 0.001)
    return Media(
        container=container.format.name,
        video_codec=video.codec_context.codec.name,
        sound_codec=sound.codec_context.codec.name if sound else "",
        pixel_format=video.codec_context.pix_fmt or "",
        fps=scan.fps,
        origin_s=origin_s,
        time_base=scan.picture_base,
        picture_pts=tuple(pictures),
        key_pts=tuple(sorted(scan.keys)) if scan.is_timed else (),
        reference_pts=tuple(sorted(scan.references)) if scan.is_timed else (),
        is_one_size=scan.sizes.are_one,
        pixel_aspect=pixel_aspect(video),
        is_timed=scan.is_timed,
        is_from_start=is_from_start or not scan.is_timed,
        is_whole=is_from_start and scan.reached_end,
        picture_end_s=pictures[-1] * scan.picture_base + scan.last_picture_s + rounding_s - origin_s,
        sound_end_s=(scan.sound_end_s or origin_s) - origin_s,
        gaps_s=tuple(
            (before[1] - origin_s, after[0] - origin_s)
            for before, after in itertools.pairwise([*covered, (math.inf, math.inf)])
        ),
        promised_s=min(_promised_s(stream) for stream in (video, sound or video)),
    )


def _covered(pictures_s: Sequence[float], sound_runs_s: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(from, to) where there is a picture or a sound, or has been one less than MAX_GAP_S before; ascending."""
    runs: list[tuple[float, float]] = []
    for start_s, last_s in sorted([*((time_s, time_s) for time_s in pictures_s), *sound_runs_s]):
        if runs and start_s <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], last_s + MAX_GAP_S)
        else:
            runs.append((start_s, last_s + MAX_GAP_S))
    return runs


def _promised_s(stream: av.VideoStream | av.AudioStream) -> float:
    return _believed_s(float(stream.duration * stream.time_base)) if stream.duration and stream.time_base else 0.0


def _believed_s(length_s: float) -> float:
    """A length that a header or a packet claims; 0, as if nothing were said, where it is none."""
    return length_s if 0.0 < length_s <= 3600.0 * MAX_HOURS else 0.0


def _hours_in_words(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 1e7 else "more than ten million hours"


class _Scan:
    """One pass over the packets of a picture and, if given, a sound stream."""

    def __init__(self, video: av.VideoStream, sound: av.AudioStream | None) -> None:
        assert video.time_base is not None
        self.video, self.sound = video, sound
        self.picture_base = float(video.time_base)
        self._sound_base = float(sound.time_base) if sound is not None and sound.time_base is not None else 1.0
        self.fps = float(video.average_rate or video.guessed_rate or 0)
        self.pictures: list[int] = []
        self.keys: list[int] = []
        self.references: list[int] = []
        self._packets = H264Packets.of(video.codec_context.name, video.codec_context.extradata)
        self.sizes = SizesOf(video.codec_context.name)
        self.sound_end_s: float | None = None
        self.sound_runs_s: list[tuple[float, float]] = []  # starts of the first and of the last packet of each run
        self._sound_start_s: float | None = None
        self.last_picture_s = 1 / self.fps if self.fps else 0.04  # how long the last picture stands
        self.is_timed, self.reached_end, self.words = True, False, ""

    def run(self, container: InputContainer, last_s: float | None) -> None:
        """Read until both streams are past `last_s`, or to the end, or as far as the file can be read."""
        streams = [self.video] if self.sound is None else [self.video, self.sound]
        going_on = {stream.index for stream in streams}
        try:
            for packet in packets_of(container, *streams):
                if packet.size == 0 or packet.is_discard:
                    continue
                time_s = self._picture(packet) if packet.stream.index == self.video.index else self._sound(packet)
                if last_s is not None and time_s > last_s:
                    going_on.discard(packet.stream.index)
                    if not going_on:
                        return
        except FFMPEG_ERRORS as error:
            raise_if_out_of_memory(error)
            self.words = f"({words_of(error)})"  # what could be read up to here counts
        self.reached_end = True

    def can_show(self, time_s: float) -> bool:
        """Whether the picture of this time can be decoded from what was read."""
        return any(key * self.picture_base <= time_s for key in self.keys)

    def _picture(self, packet: av.Packet[Any]) -> float:
        pts = packet.pts
        if pts is None:
            self.is_timed, pts = False, packet.dts or 0
        if not self.pictures or pts >= self.pictures[-1]:
            self.last_picture_s = _believed_s((packet.duration or 0) * self.picture_base) or self.last_picture_s
        self.pictures.append(pts)
        if packet.is_keyframe:
            self.keys.append(pts)
        if self._packets is not None and self._packets.is_reference(packet):
            self.references.append(pts)
        self.sizes.see(memoryview(packet))
        return pts * self.picture_base

    def _sound(self, packet: av.Packet[Any]) -> float:
        pts = packet.pts if packet.pts is not None else packet.dts
        start_s = self.sound_end_s or 0.0 if pts is None else pts * self._sound_base
        length_s = _believed_s((packet.duration or 0) * self._sound_base)
        if not length_s and pts is not None:  # without a time and a length it belongs to the packet before it
            length_s = max(0.0, start_s - (start_s if self._sound_start_s is None else self._sound_start_s))
        self._sound_start_s = start_s
        if self.sound_runs_s and 0.0 <= start_s - self.sound_runs_s[-1][1] <= MAX_GAP_S:
            self.sound_runs_s[-1] = self.sound_runs_s[-1][0], start_s
        else:
            self.sound_runs_s.append((start_s, start_s))
        self.sound_end_s = max(self.sound_end_s or 0.0, start_s + length_s)
        return start_s


def picture_times(frames: Iterator[av.VideoFrame], step: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, picture) of decoded pictures; one without a time follows its predecessor by `step`."""
    pts = -step
    for frame in frames:
        pts = pts + step if frame.pts is None else frame.pts
        yield pts, frame


def picture_step(video: av.VideoStream) -> int:
    """Average distance of pictures, in units of the stream's time base."""
    assert video.time_base is not None
    fps = video.average_rate or video.guessed_rate or 25
    return max(1, round(1 / (fps * video.time_base)))


def _times_by_decoding(path: str | Path) -> list[int]:
    """Where packets have no times (AVI with reordered pictures, raw streams) only the decoder knows them."""
    with open_media(path) as container:
        video = video_stream(container)
        assert video is not None
        times: list[int] = []
        try:
            frames = (frame for packet in packets_of(container, video) for frame in packet.decode())
            for pts, _ in picture_times(frames, picture_step(video)):
                times.append(pts)
        except FFMPEG_ERRORS as error:
            raise_if_out_of_memory(error)  # what could be decoded up to here counts
    if not times:
        raise RefusedError(RefusalReason.DECODE_ERROR, "no picture could be decoded")
    return times
