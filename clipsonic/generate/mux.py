"""A video with its picture untouched and a new sound.

Guarantee: the packets of the picture stream are copied bit for bit, with rotation and timing; the new sound lies at
`start_s` on the clock that players show, silence elsewhere; the file is written whole. Price: the other streams (old
sound, subtitles) are left out, and only codecs that MP4 can hold are possible. Not exact: H.264 and HEVC out of a
transport stream have the start codes between their coded units replaced by lengths, which is how MP4 holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from clipsonic.errors import UsageError
from clipsonic.files import whole_file
from clipsonic.ingest.probe import open_media, video_stream, words_of
from clipsonic.ingest.quarantine import RefusedError

_BITS_PER_SAMPLE = 6  # AAC, mono: 96 kbit/s at 16 kHz
_CHUNK_S = 1.0


def replace_sound(video: str | Path, out: str | Path, wave: np.ndarray, sample_rate_hz: int, start_s: float) -> None:
    """Write `out` (MP4): the picture of `video`, and `wave` as AAC from `start_s`.

    Args:
        wave: (T,) float32 in [-1, 1]; the sound track is as long as the picture, or longer if the wave is.
        start_s: where the sound begins, in seconds of the video.

    Raises:
        UsageError: the picture cannot be copied into an MP4.
    """
    with whole_file(Path(out)) as temporary:
        _write(video, temporary, np.asarray(wave, np.float32), sample_rate_hz, round(start_s * sample_rate_hz))


def _write(video: str | Path, out: Path, wave: np.ndarray, rate_hz: int, first: int) -> None:
    try:
        with (
            open_media(video) as source,
            av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as target,
        ):
            picture = video_stream(source)
            if picture is None:
                raise UsageError(f"{video} has no moving picture to put a sound to: give a video")
            copied = target.add_stream_from_template(picture, opaque=True)
            sound = _Sound(target, wave, rate_hz, first)
            end_s = _copy(source, target, picture, copied, sound)
            sound.finish(end_s)
    except RefusedError as error:
        raise UsageError(f"video {video} cannot be read ({error.detail}): give another file") from None
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # the disk is full, or the like
            raise
        raise UsageError(
            f"the picture of {video} cannot be copied into an MP4 ({words_of(error)}): "
            "write the sound alone with --out FILE.wav, or convert the video to H.264 first"
        ) from None


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
    """The sound track, encoded as far as the picture has come: `wave` from sample `first`, zeros elsewhere."""

    def __init__(self, target: Any, wave: np.ndarray, rate_hz: int, first: int) -> None:
        self._target, self._wave, self._rate_hz, self._first = target, wave, rate_hz, first
        self._stream = target.add_stream("aac", rate=rate_hz, layout="mono")
        self._stream.bit_rate = _BITS_PER_SAMPLE * rate_hz
        self._position = 0

    def advance(self, until_s: float) -> None:
        """Encode whole chunks up to `until_s`."""
        chunk, goal = round(_CHUNK_S * self._rate_hz), round(until_s * self._rate_hz)
        while self._position + chunk <= goal:
            self._encode(self._position + chunk)

    def finish(self, end_s: float) -> None:
        """Encode what is left, up to the end of the picture or of the wave, and flush."""
        end = max(round(end_s * self._rate_hz), self._first + len(self._wave))
        self.advance(end / self._rate_hz)
        if self._position < end:
            self._encode(end)
        self._target.mux(self._stream.encode(None))

    def _encode(self, stop: int) -> None:
        samples = np.zeros((1, stop - self._position), np.float32)
        low, high = max(self._position, self._first), min(stop, self._first + len(self._wave))
        if low < high:
            samples[0, low - self._position : high - self._position] = self._wave[
                low - self._first : high - self._first
            ]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._position, Fraction(1, self._rate_hz)
        self._target.mux(self._stream.encode(frame))
        self._position = stop
