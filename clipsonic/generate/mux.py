"""A video with its picture untouched and another sound track.

Guarantee: the packets of the picture stream are copied bit for bit, with rotation and timing; the sound track begins at
0 on the clock that players show and lasts as long as the picture, or longer if the new sound does; the file is written
whole. Price: the other streams (old sound, subtitles) are left out, and only codecs that the container can hold are
possible. Not exact: H.264 and HEVC out of a transport stream have the start codes between their coded units replaced by
lengths, which is how MP4 holds them; the sound is AAC, in WebM Opus, and so nearly what was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from clipsonic.audio.formats import container_tags
from clipsonic.audio.peaks import QUIETEST_DB, true_peak_db
from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.files import whole_file
from clipsonic.generate.track import OTHER_RATE_HZ, NewSound, Track
from clipsonic.ingest.probe import open_media, video_stream, words_of
from clipsonic.ingest.quarantine import RefusedError

_BITS_PER_SAMPLE = 6  # 96 kbit/s at 16 kHz
_MOST_BITS_PER_SECOND = 160_000  # per channel
_CHUNK_S = 1.0


@dataclass(frozen=True)
class Kind:
    """A container: FFmpeg's name of it, people's with its article, and its codec of sound with the rates of that."""

    format: str
    name: str
    codec: str
    rates_hz: tuple[int, ...]


_AAC_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_HZ = (8000, 12000, 16000, 24000, 48000)
KINDS = {
    ".mp4": Kind("mp4", "an MP4", "aac", _AAC_HZ),
    ".mov": Kind("mov", "a MOV", "aac", _AAC_HZ),
    ".mkv": Kind("matroska", "an MKV", "aac", _AAC_HZ),
    ".webm": Kind("webm", "a WebM", "libopus", _OPUS_HZ),
}


def replace_sound(
    video: str | Path, out: str | Path, wave: np.ndarray, sample_rate_hz: int, start_s: float,
    tags: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Write `out` (MP4, MOV, MKV or WebM, by its suffix): the picture of `video`, and `wave` from `start_s`.

    Args:
        wave: (T,) or (2, T) float32 in [-1, 1].
        start_s: where the sound begins, in seconds of the video; before and behind it is silence.

    Raises:
        UsageError: the picture cannot be copied into such a file.
    """
    with whole_file(Path(out)) as temporary:
        track = new_sound(wave, sample_rate_hz, start_s, Path(out).suffix)
        mux(video, temporary, Path(out).suffix, track, tags)


def new_sound(wave: np.ndarray, sample_rate_hz: int, start_s: float, suffix: str) -> NewSound:
    """The track that holds the new sound alone, at a rate that the container's codec knows."""
    if sample_rate_hz not in KINDS[suffix.lower()].rates_hz:
        wave = np.stack([resample(channel, sample_rate_hz, OTHER_RATE_HZ) for channel in np.atleast_2d(wave)])
        sample_rate_hz = OTHER_RATE_HZ
    return NewSound(wave, sample_rate_hz, start_s)


def mux(video: str | Path, out: Path, suffix: str, track: Track, tags: dict[str, str] | None = None) -> None:
    """Write the picture of `video` with `track` to `out`, as the kind of file that `suffix` names.

    Raises:
        UsageError: the picture cannot be copied into such a file.
    """
    kind = KINDS[suffix.lower()]
    options = {"movflags": "faststart"} if kind.format in ("mp4", "mov") else {}
    try:
        with open_media(video) as source, av.open(str(out), "w", format=kind.format, options=options) as target:
            picture = video_stream(source)
            if picture is None:
                raise UsageError(f"{video} has no moving picture to put a sound to: give a video")
            target.metadata.update(container_tags(tags or {}))
            copied = target.add_stream_from_template(picture, opaque=True)
            sound = _Sound(target, kind, track)
            end_s = _copy(source, target, picture, copied, sound)
            sound.finish(end_s)
    except RefusedError as error:
        raise UsageError(f"video {video} cannot be read ({error.detail}): give another file") from None
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # the disk is full, or the like
            raise
        raise UsageError(
            f"the picture of {video} cannot be copied into {kind.name} ({words_of(error)}): "
            "write the sound alone with --out FILE.wav, take another container, or convert the video to H.264 first"
        ) from None


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


def _copy(source: Any, target: Any, picture: Any, copied: Any, sound: _Sound) -> float:
    """Copy the picture's packets, the sound kept abreast, so that the muxer holds little; returns where they end."""
    origin_s = Fraction(max(0, source.start_time or 0), av.time_base)
    end_s = 0.0
    for packet in _packets(source, picture):
        shift = round(origin_s / packet.time_base)
        packet.stream, packet.pts, packet.dts = copied, packet.pts - shift, packet.dts - shift
        end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        sound.advance(float(packet.dts * packet.time_base))
        target.mux(packet)
    return end_s


def _packets(source: Any, picture: Any) -> Iterator[Any]:
    """Packets of the picture stream, each with both times.

    Matroska tells no decoding time for the first packets of a reordered stream: they are counted back from the first
    one that has it. AVI tells decoding times only: they are presentation times too.
    """
    held: list[Any] = []
    for packet in source.demux(picture):
        if packet.size == 0:
            continue
        held.append(packet)
        if packet.dts is not None:
            yield from _with_times(held, packet.dts)
            held = []
    if held:
        yield from _with_times(held, held[-1].pts or 0)


def _with_times(packets: list[Any], last_dts: int) -> Iterator[Any]:
    step = max(1, packets[-1].duration or 0)
    for back, packet in zip(range(len(packets) - 1, -1, -1), packets, strict=True):
        packet.dts = last_dts - back * step
        packet.pts = packet.dts if packet.pts is None else packet.pts
        yield packet


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
