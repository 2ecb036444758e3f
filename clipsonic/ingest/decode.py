"""Pictures of a video by presentation time: the one a player shows at that instant, upright, as uint8 RGB in its shape.

Guarantee: of all pictures the latest whose time is at most 0.1 ms past the wanted one (the first picture, before it);
the same picture, bit for bit, whichever decoder gave it; in its own size where that changes in the file, and with
square pixels: a pixel's shape is applied as players do, unless it is within 2 % of a square. With a tolerance, H.264
gives instead the nearest picture that others are made from, if one is near enough, and leaves out the filter that
smooths the borders of blocks: measured on ten real videos, pictures then differ from their filtered selves by 0.2 to 3
of 255 on the mean.
Price: each stretch is decoded once, from the key frame before it. Measured on one core, 4 to 10 pictures out of files
of up to ten seconds: H.264 through PyAV, which can leave out pictures that nobody needs, takes 0.7 of decord's time;
8-bit VP9, MJPEG and FFV1 through decord take 0.6 to 0.8 of PyAV's. So decord opens the latter, from containers that
turn no picture, and PyAV everything else: 10 bit, AV1, long files, whatever decord cannot open, HEVC, MPEG-TS and
MPEG-4 with reordered pictures, where decord was seen to give other pictures than those asked for, and what it would
show in another shape: it squeezes pictures of a new size into that of the first, and ignores the shape of pixels.
Not exact: of a shape of pixels that changes within a file, the first is applied to all.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipsonic.ingest.opening import Tally
from clipsonic.ingest.probe import Media, probe
from clipsonic.ingest.sequential import SequentialPictures, StartAgainError

Decoder = Literal["auto", "pyav", "decord"]

_TIME_TOLERANCE_S = 1e-4
_DECORD_CODECS = ("vp8", "vp9", "mjpeg", "ffv1")  # none of them reorders pictures
_DECORD_CONTAINERS = ("matroska,webm", "avi")
_DECORD_FORMATS = ("yuv420p", "yuvj420p")
_DECORD_MAX_PICTURES = 3600  # decord reads and keeps the index of the whole file


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
