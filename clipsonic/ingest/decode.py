"""Pictures of a video by presentation time: the one a player shows at that instant, upright, as uint8 RGB in its shape.

Guarantee: of all decodable pictures the latest whose time is at most 0.1 ms past the wanted one (the first picture,
before it); the same picture, bit for bit, whichever decoder gave it and whatever was skipped; in its own size where
that changes in the file, and with square pixels: a pixel's shape is applied as players do, unless it is within 2 % of a
square. With a tolerance, H.264 gives instead the nearest picture that others are made from, if one is near enough, and
leaves out the filter that smooths the borders of blocks: measured on ten real videos, pictures then differ from their
filtered selves by 0.2 to 3 of 255 on the mean.
Price: each stretch is decoded once, from the key frame before it. Measured on one core, 4 to 10 pictures out of files
of up to ten seconds: H.264 through PyAV, which leaves out pictures that nobody wants and no other one needs (0.65 to
0.95 of the time of decoding all, on 12 videos), takes 0.7 of decord's time; 8-bit VP9, MJPEG and FFV1 through decord
take 0.6 to 0.8 of PyAV's. So decord opens the latter, from containers that turn no picture, and PyAV everything else:
10 bit, AV1, long files, whatever decord cannot open, HEVC, MPEG-TS and MPEG-4 with reordered pictures, where decord was
seen to give other pictures than those asked for, and what it would show in another shape: it squeezes pictures of a new
size into that of the first, and ignores the shape of pixels.
Not exact: of a shape of pixels that changes within a file, the first is applied to all.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np

from clipsonic.ingest.opening import (
    FFMPEG_ERRORS,
    IMPRECISE_CONTAINERS,
    IMPRECISE_S,
    Tally,
    open_media,
    video_stream,
)
from clipsonic.ingest.probe import Media, picture_step, picture_times, probe
from clipsonic.refusals import RefusalReason, RefusedError

Decoder = Literal["auto", "pyav", "decord"]

_TIME_TOLERANCE_S = 1e-4
_DECORD_CODECS = ("vp8", "vp9", "mjpeg", "ffv1")  # none of them reorders pictures
_DECORD_CONTAINERS = ("matroska,webm", "avi")
_DECORD_FORMATS = ("yuv420p", "yuvj420p")
_DECORD_MAX_PICTURES = 3600  # decord reads and keeps the index of the whole file
_SEEK_GAIN_S = 2.0  # a seek that saves less decoding than this is not worth its own cost
_SKIPPING_CODECS = ("h264",)  # HEVC's NONREF is per temporal layer: a higher layer may need what it leaves out

Timed = tuple[int, av.VideoFrame]


def frames_at(path: str | Path, times_s: Sequence[float], decoder: Decoder = "auto") -> list[np.ndarray]:
    """The pictures a player shows at these times, in their order: (H, W, 3) uint8 RGB each, upright, in their shape.

    Args:
        times_s: seconds from the start of the file, in any order; after its end the last picture stands.
        decoder: which decoder; "auto" takes the better one for this file.

    Raises:
        RefusedError: not_media, no_video or decode_error, with the decoder's own words.
    """
    order = sorted(range(len(times_s)), key=lambda place: times_s[place])
    if not order:
        return []
    media = probe(path, until_s=times_s[order[-1]], needs_sound=False)
    with PictureReader(path, media, decoder) as reader:
        pictures = dict(zip(order, reader.read([times_s[place] for place in order]), strict=True))
    return [pictures[place] for place in range(len(times_s))]


class PictureReader:
    """Reads the pictures of one file in rising time, over any number of calls, without decoding a stretch twice.

    Args:
        media: what `probe` found.
        decoder: which decoder; "auto" takes the better one for this file.
        tolerance_s: how far from the wanted time a picture may be where that saves decoding; 0 = the one shown then.
    """

    def __init__(self, path: str | Path, media: Media, decoder: Decoder = "auto", *, tolerance_s: float = 0.0) -> None:
        self._path, self._media, self._tolerance_s = path, media, tolerance_s
        self._must_be_decord = decoder == "decord"
        self._decord = decoder == "decord" or (decoder == "auto" and _decord_is_better(media))
        self._decord_reader: Any = None
        self._pyav: SequentialPictures | None = None
        self.tally = Tally()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, times_s: Sequence[float]) -> list[np.ndarray]:
        """The pictures shown at these ascending times, in seconds from the start of the file.

        Raises:
            RefusedError: decode_error, nothing could be decoded.
        """
        wanted = [self._near(time_s) for time_s in times_s]
        if self._decord:
            try:
                return self._read_decord(wanted)
            except DecordError:
                if self._must_be_decord:
                    raise
                self._decord = False
        try:
            return self._read_pyav(wanted)
        except StartAgainError:
            self._close()
            return self._read_pyav(wanted, may_seek=False)

    def _near(self, time_s: float) -> int:
        """The nearest reference picture within the tolerance, else the picture shown at this time."""
        references, base_s = self._media.reference_pts, self._media.time_base
        if not self._tolerance_s or not references:
            return self._shown_at(time_s)
        wanted = time_s / base_s
        place = bisect.bisect_left(references, wanted)
        nearest = min(references[max(0, place - 1) : place + 1], key=lambda pts: abs(pts - wanted))
        return nearest if abs(nearest - wanted) * base_s <= self._tolerance_s else self._shown_at(time_s)

    def _shown_at(self, time_s: float) -> int:
        pts = self._media.picture_pts
        limit = (time_s + _TIME_TOLERANCE_S) / self._media.time_base
        return pts[max(0, bisect.bisect_right(pts, limit) - 1)]

    def _read_pyav(self, wanted: list[int], *, may_seek: bool = True) -> list[np.ndarray]:
        if self._pyav is None:
            self._pyav = SequentialPictures(
                self._path, self._media, self.tally, may_seek=may_seek, unfiltered=self._tolerance_s > 0
            )
        return self._pyav.read(wanted)

    def _read_decord(self, wanted: list[int]) -> list[np.ndarray]:
        if self._decord_reader is None:
            self._decord_reader = _open_decord(self._path, self._media)
        places = [bisect.bisect_left(self._media.picture_pts, pts) for pts in wanted]
        try:
            return list(self._decord_reader.get_batch(places).asnumpy())
        except _decord_errors() as error:
            raise DecordError(str(error)) from None

    def _close(self) -> None:
        if self._pyav is not None:
            self._pyav.close()
        self._pyav = self._decord_reader = None


class DecordError(Exception):
    """decord is not there, cannot read this file, or would give other pictures than there are."""


def _decord_is_better(media: Media) -> bool:
    return (
        media.video_codec in _DECORD_CODECS
        and media.container in _DECORD_CONTAINERS
        and media.pixel_format in _DECORD_FORMATS
        and _keeps_its_shape(media)
        and media.clock.may_seek
        and media.clock.origin_s >= 0  # before 0, decord was seen to give pictures a second late
        and media.is_whole
        and len(media.picture_pts) <= _DECORD_MAX_PICTURES
    )


def _keeps_its_shape(media: Media) -> bool:
    return media.is_one_size and media.pixel_aspect == 1.0


def _open_decord(path: str | Path, media: Media) -> Any:
    if not _keeps_its_shape(media):
        raise DecordError("decord would show its pictures in another shape")
    try:
        import decord
    except (ImportError, OSError) as error:  # no wheel for this platform
        raise DecordError(str(error)) from None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except _decord_errors() as error:
        raise DecordError(str(error)) from None
    if len(reader) != len(media.picture_pts):
        raise DecordError(f"decord counts {len(reader)} pictures, there are {len(media.picture_pts)}")
    return reader


def _decord_errors() -> tuple[type[BaseException], ...]:
    from decord._ffi.base import DECORDError  # decord's own error is a plain Exception and has no public name

    return DECORDError, RuntimeError, IndexError


class StartAgainError(Exception):
    """Only a fresh reader that decodes from the start can give this picture."""


class SequentialPictures:
    """An open video and a place in it.

    Args:
        tally: counts packets.
        may_seek: whether to trust the container's index and key frames.
        unfiltered: leave H.264's deblocking filter out, about a seventh of the decoding.

    Raises:
        RefusedError: the file cannot be opened.
    """

    def __init__(
        self, path: str | Path, media: Media, tally: Tally, *, may_seek: bool = True, unfiltered: bool = False
    ) -> None:
        self._media, self._tally = media, tally
        self._may_go = may_seek and len(media.key_pts) > 0
        self._opening = open_media(path)
        self._container = self._opening.__enter__()
        stream = video_stream(self._container)
        assert stream is not None
        self._stream, self._context = stream, stream.codec_context
        self._context.thread_count = 1  # files are decoded in parallel, pictures are not
        if unfiltered and media.video_codec == "h264":
            self._context.options = {"skip_loop_filter": "all"}
        self._skips = media.is_timed and media.video_codec in _SKIPPING_CODECS
        self._wanted: set[int] = set()
        self._skipped: set[int] = set()
        self._needs_key = False  # after a seek: nothing can be decoded before the first key frame
        self._skip_to: int | None = None  # without seeks: what lies before this key frame is read and not decoded
        self._packets = media.clock.packets(self._container, stream)
        self._shown: Timed | None = None  # the picture on the screen
        self._next: Timed | None = None  # decoded already, not shown yet
        self._rewind()

    def close(self) -> None:
        """Close the file."""
        self._shown, self._next = None, None
        self._opening.__exit__(None, None, None)

    def read(self, wanted: list[int]) -> list[np.ndarray]:
        """The pictures of these ascending times (of `media.picture_pts`), as they are shown.

        Raises:
            RefusedError: decode_error, nothing could be decoded.
            StartAgainError: see there.
        """
        self._wanted = set(wanted)
        pictures: dict[int, np.ndarray] = {}
        for pts in wanted:
            if pts not in pictures:
                pictures[pts] = as_shown(self._advance_to(pts), self._media.pixel_aspect)
        return [pictures[pts] for pts in wanted]

    def _rewind(self) -> None:
        """Forget the place: the next packet is the first of a new stretch."""
        self._shown, self._next = None, None
        self._skipped.clear()
        self._frames = picture_times(self._decode(), picture_step(self._stream))

    def _advance_to(self, pts: int) -> av.VideoFrame:
        sought = self._seek_if_it_pays(pts)
        while self._shown is None or self._shown[0] < pts:
            self._next = self._next or next(self._frames, None)
            if self._next is None or self._next[0] > pts:
                break
            self._shown, self._next = self._next, None
        if self._shown is not None:
            return self._shown[1]
        if sought:
            raise StartAgainError  # the index led past the wanted picture, or the key frame does not stand alone
        if self._next is None:
            raise RefusedError(RefusalReason.DECODE_ERROR, self._tally.words or "no picture could be decoded")
        return self._next[1]

    def _seek_if_it_pays(self, pts: int) -> bool:
        """Go to the key frame before `pts` if the place is behind it by long, or past it, or unknown."""
        keys = self._media.key_pts
        key = keys[max(0, bisect.bisect_right(keys, pts) - 1)] if keys else 0
        here = self._here()
        is_ahead = here is not None and here <= pts and pts not in self._skipped
        if here is not None and is_ahead:
            gain_s = (key - here) * self._media.time_base
            if not self._may_go or gain_s < _SEEK_GAIN_S:
                return False
        elif not self._may_go:
            if here is None:
                return False
            raise StartAgainError
        return self._go_to(key, is_ahead)

    def _go_to(self, key: int, is_ahead: bool) -> bool:
        """Go on at this key frame: by a seek, or, where film time cannot be sought, reading on."""
        clock = self._media.clock
        if clock.may_seek:
            early_s = IMPRECISE_S if self._media.container in IMPRECISE_CONTAINERS else 0.0
            clock.seek(self._container, key * self._media.time_base - early_s, self._stream)
            self._packets = clock.packets(self._container, self._stream)
        elif is_ahead:
            self._skip_to = key
            self._context.flush_buffers()
        else:
            raise StartAgainError
        self._rewind()
        self._needs_key = True
        return True

    def _here(self) -> int | None:
        if self._shown is not None:
            return self._shown[0]
        return self._media.picture_pts[0] if self._media.is_from_start else None

    def _decode(self) -> Iterator[av.VideoFrame]:
        """All pictures from here on, less those that are neither wanted nor needed by others."""
        packet: av.Packet[Any] | None
        while True:
            try:
                packet = next(self._packets)
            except StopIteration:
                return
            except FFMPEG_ERRORS as error:
                self._tally.count(error)
                packet = None
            if packet is not None and packet.size and self._is_before_key(packet):
                continue
            if self._skips and packet is not None and packet.pts is not None:
                self._choose_skipping(packet.pts)
            yield from self._decode_one(packet)
            if packet is None:
                return

    def _is_before_key(self, packet: av.Packet[Any]) -> bool:
        """Whether decoding has not begun yet, after a seek, or before the key frame that is read on to."""
        if self._needs_key and packet.is_keyframe and (self._skip_to is None or packet.pts == self._skip_to):
            self._needs_key, self._skip_to = False, None
        return self._needs_key

    def _choose_skipping(self, pts: int) -> None:
        if pts in self._wanted:
            self._context.skip_frame = "DEFAULT"
        else:
            self._context.skip_frame = "NONREF"
            self._skipped.add(pts)

    def _decode_one(self, packet: av.Packet[Any] | None) -> list[av.VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except FFMPEG_ERRORS as error:
            self._tally.count(error)
            return []  # as a player does: a damaged picture is left out
        self._tally.count()
        return frames


def as_shown(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> np.ndarray:
    """(H, W, 3) uint8 RGB with square pixels, turned and mirrored as the display matrix says; nothing is made smaller.

    Args:
        pixel_aspect: width of a decoded pixel over its height.
    """
    width, height = frame.width, frame.height
    if pixel_aspect != 1.0:
        width, height = round(width * max(1.0, pixel_aspect)), round(height / min(1.0, pixel_aspect))
    picture = frame.to_ndarray(
        format="rgb24", width=width, height=height, interpolation="BICUBIC" if pixel_aspect != 1.0 else None, threads=1
    )  # swscale could not always start more threads
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:  # rows (a, b, u), (c, d, v), ...: x' = a x + c y
        a, b, c, d = np.frombuffer(bytes(matrix)[:20], np.int32)[[0, 1, 3, 4]].tolist()
        if abs(a) + abs(d) < abs(b) + abs(c):
            picture, a, d = picture.transpose(1, 0, 2), c, b
        picture = picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(picture)
