"""Opening a media file: local, of a known container, with FFmpeg's errors told apart and put into its own words.

Guarantee: opens nothing but the file it is given (no URL, no playlist that names other files); what cannot be opened
is refused as `not_media`, or as `decode_error` where its first bytes announce media. What the disk does not give is
told apart from what the file does not hold: it is `trouble`, and never taken for the end of the file. Everybody who
opens a file sees the same streams and chooses the same ones: picture and sound of one programme, each with a decoder if
any has one.
Price: about 1 ms; where a stream is missing or its format unknown after FFmpeg's first look (5 MB or a few seconds), a
second one at 64 MB or two minutes at most: measured 0.25 s and 64 MB of memory; of a file that is refused, one more
look at its first and last 16 MB.
Not told apart: a programme of sound alone, in a transport stream where the programme of the picture has none.
"""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import av
import av.error
import av.stream
from av.container import InputContainer

from clipsonic.files import is_trouble
from clipsonic.refusals import RefusalReason, RefusedError

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,ogg,asf,mxf,rm,dv,ivf,nut,gif,"
    "h264,hevc,wav,w64,mp3,aac,flac,ac3,aiff,caf,amr"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_SECOND_LOOK = {**_OPTIONS, "probesize": str(64 * 2**20), "analyzeduration": str(120 * 10**6)}  # bytes, microseconds
_HEADERLESS = ("mpegts", "mpeg", "flv", "live_flv")  # a stream is known when its first packet has come
_MAGIC = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (
        0,
        (b"\x1aE\xdf\xa3", b"RIFF", b"FLV\x01", b"OggS", b"\x00\x00\x01\xba", b"\x30\x26\xb2\x75", b"\x06\x0e\x2b\x34"),
    ),
    (0, (b"ID3", b"fLaC", b"FORM", b".RMF", b"GIF8", b"DKIF", b"caff", b"#!AMR")),
)
_Stream = TypeVar("_Stream", av.VideoStream, av.AudioStream)
FFMPEG_ERRORS = (OSError, ValueError, av.error.FFmpegError)
"""What PyAV raises for a damaged file; for a failed allocation and a failing disk too, see `raise_if_not_its_fault`."""
_AMBIGUOUS = (errno.EIO, errno.EPERM, errno.ENOSPC, errno.EBUSY, errno.ENODEV)
"""FFmpeg's demuxers say these of damaged files too: the system itself is asked."""
_HEADER_BYTES = 2**24
_PATIENCE_S = 20.0

_SQUARE_PIXEL = 0.02  # encoders that round sizes to even numbers call pixels 1792:1791: such pictures stay as they are
_MOST_ASPECT = 4.0

IMPRECISE_CONTAINERS = ("mpegts", "mpeg")
"""They have no index: FFmpeg searches by bytes, and may land past the wanted place."""
IMPRECISE_S = 1.0


@dataclass
class Tally:
    """How decoding goes: packets given to a decoder, those it could not read, and its last words on them."""

    packets: int = 0
    damaged: int = 0
    words: str = ""

    def count(self, error: BaseException | None = None) -> None:
        """One packet more; `error` if it could not be read."""
        self.packets += 1
        if error is not None:
            raise_if_not_its_fault(error)
            self.damaged += 1
            self.words = words_of(error)


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """Open a local file.

    Raises:
        RefusedError: not_media or decode_error, with the decoder's own words; memory.
    """
    container = _opened(path, _OPTIONS)
    if _lacks_a_stream(container):
        container.close()
        container = _opened(path, _SECOND_LOOK)
    with container:
        yield container


def _opened(path: str | Path, options: dict[str, str]) -> InputContainer:
    try:
        return av.open(str(Path(path).absolute()), container_options=options, metadata_errors="replace")
    except FFMPEG_ERRORS as error:
        raise_if_not_its_fault(error)
        raise_if_unreadable(path)
        is_media = isinstance(error, OSError) or _announces_media(Path(path))
        raise RefusedError(
            RefusalReason.DECODE_ERROR if is_media else RefusalReason.NOT_MEDIA, words_of(error)
        ) from None


def _lacks_a_stream(container: InputContainer) -> bool:
    """Whether more of the file might show a stream that is missing, or what is not known of one that is there."""
    video, sound = video_stream(container), sound_stream(container)
    if container.format.name in _HEADERLESS and (video is None or sound is None):
        return True
    is_shapeless = video is not None and video.codec_context is not None and not video.codec_context.width
    return is_shapeless or (sound is not None and sound.codec_context is not None and not sound.codec_context.rate)


def words_of(error: BaseException) -> str:
    """The decoder's own words: FFmpeg's last log line where there is one."""
    log = getattr(error, "log", None)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{said} ({log[1]}: {log[2].strip()})" if log else str(said)


def raise_if_not_its_fault(error: BaseException) -> None:
    """FFmpeg reports a failed allocation or a failing disk as errors like others; they must not be skipped like others.

    Raises:
        MemoryError: an allocation failed.
        RefusedError: trouble, the system does not give what the file holds.
    """
    number, path = getattr(error, "errno", None), getattr(error, "filename", None)
    if number == errno.ENOMEM:
        raise MemoryError(words_of(error)) from None
    if not is_trouble(error):
        return
    if number not in _AMBIGUOUS or (path and _trouble_of(path, whole=True) is not None):
        raise RefusedError(RefusalReason.TROUBLE, words_of(error)) from None


def raise_if_unreadable(path: str | Path) -> None:
    """FFmpeg takes a header that the disk does not give for one that is damaged: ask the system itself.

    Raises:
        RefusedError: trouble, it cannot be read where headers are.
    """
    if (trouble := _trouble_of(path, whole=False)) is not None:
        raise RefusedError(RefusalReason.TROUBLE, words_of(trouble)) from None


def _trouble_of(path: str | Path, whole: bool) -> OSError | None:
    """What the system says when the file is read (or its first and last bytes); None where it is readable, or gone."""
    try:
        facts = Path(path).stat()
        if not stat.S_ISREG(facts.st_mode):
            return None
        with Path(path).open("rb", buffering=0) as file:
            _read_on(file, facts.st_size if whole else _HEADER_BYTES)
            if not whole and facts.st_size > _HEADER_BYTES:
                file.seek(max(_HEADER_BYTES, facts.st_size - _HEADER_BYTES))
                _read_on(file, _HEADER_BYTES)
    except OSError as error:
        return error if is_trouble(error) else None
    return None


def _read_on(file: IO[bytes], num_bytes: int) -> None:
    """So many bytes or to the end, as far as there is patience for."""
    until_s, left = time.monotonic() + _PATIENCE_S, num_bytes
    while left > 0 and time.monotonic() < until_s and (block := file.read(min(left, 2**20))):
        left -= len(block)


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The moving picture a player would show; a cover picture is none, and what has no decoder gives way."""
    best = container.streams.best("video")
    candidates = [best, *container.streams.video]  # FFmpeg knows no best where it has seen no packet yet
    moving = [stream for stream in candidates if isinstance(stream, av.VideoStream) and not _is_cover(stream)]
    return _first_with_decoder(moving)


def sound_stream(container: InputContainer) -> av.AudioStream | None:
    """The sound a player would play with that picture: of the same programme; what has no decoder gives way."""
    video = video_stream(container)
    candidates = [container.streams.best("audio", related=video), *container.streams.audio]
    sounds = [stream for stream in candidates if isinstance(stream, av.AudioStream)]
    if video is None:
        return _first_with_decoder(sounds)
    programme = container.streams.best("video", related=video)  # FFmpeg's best of its programme stands for it
    return _first_with_decoder(
        [sound for sound in sounds if container.streams.best("video", related=sound) == programme]
    )


def _first_with_decoder(streams: list[_Stream]) -> _Stream | None:
    """The first that can be decoded; if none can, the first."""
    return next((stream for stream in streams if stream.codec_context is not None), next(iter(streams), None))


def pixel_aspect(stream: av.VideoStream) -> float:
    """Width of a pixel over its height; 1 where nothing is told, or what no display has."""
    told = float(stream.sample_aspect_ratio or 0.0)
    is_square = abs(told - 1.0) <= _SQUARE_PIXEL or not 1.0 / _MOST_ASPECT <= told <= _MOST_ASPECT
    return 1.0 if is_square else told


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def seek_before(
    container: InputContainer, time_s: float, stream: av.VideoStream | av.AudioStream | None = None
) -> None:
    """Go to a place at or before this container time where decoding can start; stay where there is no such index."""
    try:
        if stream is None or stream.time_base is None:
            container.seek(int(time_s * av.time_base), backward=True)
        else:
            container.seek(int(time_s / stream.time_base), backward=True, stream=stream)
    except FFMPEG_ERRORS as error:
        raise_if_not_its_fault(error)


def demuxed(container: InputContainer, *streams: av.VideoStream | av.AudioStream) -> Iterator[av.Packet[Any]]:
    """The packets of these streams in order, at last an empty one each; damaged files end it with FFMPEG_ERRORS.

    A stream that has appeared since the file was opened makes PyAV's own iterator end with an IndexError; all that
    FFmpeg reads until then was given, and a new iterator, which knows of the stream, goes on from there.
    """
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            continue


def streams_in_words(container: InputContainer) -> str:
    """Each stream's type and codec, "without a decoder" where there is none."""
    return ", ".join(_in_words(stream) for stream in container.streams) or "none"


def _in_words(stream: av.stream.Stream) -> str:
    is_media = isinstance(stream, (av.VideoStream, av.AudioStream))
    name = getattr(stream, "name", None) or "?"
    return f"{stream.type} without a decoder" if is_media and stream.codec_context is None else f"{stream.type} {name}"


def _announces_media(path: Path) -> bool:
    """Whether the first bytes are those of a known container, whatever follows."""
    with path.open("rb") as file:
        head = file.read(400)
    if any(head[place : place + len(magic)] == magic for place, magics in _MAGIC for magic in magics):
        return True
    return len(head) > 376 and head[0] == head[188] == head[376] == 0x47  # MPEG transport stream
