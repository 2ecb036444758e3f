"""A video with its picture untouched and another sound track.

Guarantee: the packets of the picture stream are copied bit for bit, with their times, shape, colours, rotation and
tags; what an edit list hides stays hidden; the sound track begins at 0 on the clock that players show and lasts as long
as the picture, or longer if the new sound does; the file is written whole. What cannot be copied is known beforehand,
see `check_copy`. Price: the other streams (old sound, subtitles, chapters) are left out, and only codecs that the
container can hold are possible; three passes over the packets before the one that writes, 5 s for a gigabyte. Not
exact: H.264 and HEVC out of a transport stream have the start codes between their coded units replaced by lengths,
which is how MP4 holds them; packed pictures of MPEG-4 are unpacked; the sound is AAC, in WebM Opus, and so nearly what
was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from clipsonic.audio.formats import container_tags
from clipsonic.audio.loudness import QUIETEST_DB, true_peak_db
from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.files import whole_file
from clipsonic.generate.copied import copied_stream, film_tags
from clipsonic.generate.copying import Copying, copying_of, packets_of
from clipsonic.generate.edits import TIME_SCALE, write_edits
from clipsonic.generate.track import OTHER_RATE_HZ, NewSound, Track
from clipsonic.ingest.opening import open_media, video_stream, words_of
from clipsonic.refusals import RefusedError

_BITS_PER_SAMPLE = 6  # 96 kbit/s at 16 kHz
_MOST_BITS_PER_SECOND = 160_000  # per channel
_CHUNK_S = 1.0
_MUXER = {"strict": "unofficial"}  # else FFmpeg leaves out what it knows of Dolby Vision


@dataclass(frozen=True)
class Kind:
    """A container: FFmpeg's name of it, people's with its article, and its codec of sound with the rates of that.

    `has_edits`: whether it can hide pictures.
    """

    format: str
    name: str
    codec: str
    rates_hz: tuple[int, ...]
    has_edits: bool = False


_AAC_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_HZ = (8000, 12000, 16000, 24000, 48000)
KINDS = {
    ".mp4": Kind("mp4", "an MP4", "aac", _AAC_HZ, has_edits=True),
    ".mov": Kind("mov", "a MOV", "aac", _AAC_HZ, has_edits=True),
    ".mkv": Kind("matroska", "an MKV", "aac", _AAC_HZ),
    ".webm": Kind("webm", "a WebM", "libopus", _OPUS_HZ),
}


def replace_sound(
    video: str | Path, out: str | Path, wave: np.ndarray, sample_rate_hz: int, start_s: float,
    tags: dict[str, str] | None = None, copying: Copying | None = None,
) -> None:  # fmt: skip
    """Write `out` (MP4, MOV, MKV or WebM, by its suffix): the picture of `video`, and `wave` from `start_s`.

    Args:
        wave: (T,) or (2, T) float32 in [-1, 1].
        start_s: where the sound begins, in seconds of the video; before and behind it is silence.
        copying: what `check_copy` found, if it was asked.

    Raises:
        UsageError: the picture cannot be copied into such a file.
    """
    with whole_file(Path(out)) as temporary:
        track = new_sound(wave, sample_rate_hz, start_s, Path(out).suffix)
        mux(video, temporary, Path(out).suffix, track, tags, copying)


def new_sound(wave: np.ndarray, sample_rate_hz: int, start_s: float, suffix: str) -> NewSound:
    """The track that holds the new sound alone, at a rate that the container's codec knows."""
    if sample_rate_hz not in KINDS[suffix.lower()].rates_hz:
        wave = np.stack([resample(channel, sample_rate_hz, OTHER_RATE_HZ) for channel in np.atleast_2d(wave)])
        sample_rate_hz = OTHER_RATE_HZ
    return NewSound(wave, sample_rate_hz, start_s)


def mux(
    video: str | Path, out: Path, suffix: str, track: Track, tags: dict[str, str] | None = None,
    copying: Copying | None = None,
) -> None:  # fmt: skip
    """Write the picture of `video` with `track` to `out`, as the kind of file that `suffix` names.

    Args:
        copying: what `check_copy` found, if it was asked.

    Raises:
        UsageError: the picture cannot be copied into such a file.
    """
    kind = KINDS[suffix.lower()]
    with _refusals(video, kind):
        copying = copying or copying_of(video)
        _check_hidden(video, kind, copying)
        _write(video, str(out), kind, copying, track, tags or {})
        if kind.has_edits and copying.needs_edits:
            write_edits(out, copying.shown())


def check_copy(video: str | Path, suffix: str) -> Copying:
    """Copy the picture of `video` to nowhere, as into the kind of file that `suffix` names; how it is to be copied.

    Raises:
        UsageError: it cannot be copied into such a file.
    """
    kind = KINDS[suffix.lower()]
    with _refusals(video, kind):
        copying = copying_of(video)
        _check_hidden(video, kind, copying)
        _write(video, _Nowhere(), kind, copying, None, {})
    return copying


def heard_peak_db(path: str | Path) -> float:
    """The true peak of a file's sound track in dBTP, decoded piece by piece; at least -120."""
    highest_db, held = QUIETEST_DB, np.zeros((1, 0), np.float32)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            held = np.concatenate([held if held.size else samples[:, :0], samples], axis=1)
            if held.shape[1] > 10 * frame.sample_rate:
                highest_db, held = max(highest_db, true_peak_db(held)), held[:, -64:]
    return max(highest_db, true_peak_db(held)) if held.size else highest_db


@contextmanager
def _refusals(video: str | Path, kind: Kind) -> Iterator[None]:
    """What a file, a codec or a container does not allow, in one sentence."""
    try:
        yield
    except RefusedError as error:
        raise UsageError(f"video {video} cannot be read ({error.detail}): give another file") from None
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # the disk is full, or the like
            raise
        raise UsageError(
            f"the picture of {video} cannot be copied into {kind.name} ({words_of(error)}): "
            "write the sound alone with --out FILE.wav, take another container, or convert the video to H.264 first"
        ) from None


def _check_hidden(video: str | Path, kind: Kind, copying: Copying) -> None:
    if copying.hidden and not kind.has_edits:
        pictures = "a picture" if copying.hidden == 1 else f"{copying.hidden} pictures"
        raise UsageError(
            f"{video} was cut by an edit list that hides {pictures} which others are made from, and "
            f"{kind.name} cannot hide them: end --out in .mp4 or .mov"
        )


class _Nowhere:
    """A file that keeps nothing."""

    def __init__(self) -> None:
        self._place = self._end = 0

    def write(self, data: bytes) -> int:
        self._place += len(data)
        self._end = max(self._end, self._place)
        return len(data)

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._end)[whence]
        return self._place


def _write(
    video: str | Path, out: Any, kind: Kind, copying: Copying, track: Track | None, tags: dict[str, str]
) -> None:
    """Copy the picture's packets, the sound kept abreast, so that the muxer holds little."""
    options = dict(_MUXER)
    if kind.has_edits and copying.needs_edits:
        options["movie_timescale"] = str(TIME_SCALE)
    elif kind.has_edits and isinstance(out, str):
        options["movflags"] = "+faststart"
    with open_media(video) as source, av.open(out, "w", format=kind.format, options=options) as target:
        picture = video_stream(source)
        assert picture is not None
        target.metadata.update(film_tags(source.metadata, container_tags(tags)))
        copied, unpack = copied_stream(target, picture, video, kind.has_edits)
        sound = None if track is None else _Sound(target, kind, track)
        for packet, times in zip(packets_of(source, picture, copying.clock, unpack), copying.times, strict=False):
            if times is None:
                continue
            packet.stream, (packet.pts, packet.dts) = copied, times
            if sound is not None:
                sound.advance(float(packet.dts * packet.time_base))
            target.mux(packet)
        if sound is not None:
            sound.finish(copying.end_s)


class _Sound:
    """The sound track, encoded as far as the picture has come."""

    def __init__(self, target: Any, kind: Kind, track: Track) -> None:
        self._target, self._track, self._position = target, track, 0
        self._rate_hz = track.rate_hz
        self._layout = "mono" if track.channels == 1 else "stereo"
        self._stream = target.add_stream(kind.codec, rate=self._rate_hz, layout=self._layout)
        self._stream.bit_rate = min(_BITS_PER_SAMPLE * self._rate_hz, _MOST_BITS_PER_SECOND) * track.channels

    def advance(self, until_s: float) -> None:
        """Encode whole chunks up to `until_s`."""
        chunk, goal = round(_CHUNK_S * self._rate_hz), round(until_s * self._rate_hz)
        while self._position + chunk <= goal:
            self._encode(self._position + chunk)

    def finish(self, end_s: float) -> None:
        """Encode what is left, up to the end of the picture or of the new sound, and flush."""
        end = max(round(end_s * self._rate_hz), self._track.length)
        self.advance(end / self._rate_hz)
        if self._position < end:
            self._encode(end)
        self._target.mux(self._stream.encode(None))

    def _encode(self, stop: int) -> None:
        samples = np.ascontiguousarray(self._track.read(stop - self._position))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._position, Fraction(1, self._rate_hz)
        self._target.mux(self._stream.encode(frame))
        self._position = stop
