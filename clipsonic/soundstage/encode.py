"""Pictures and a sound into one MP4 file: H.264 and mono AAC through PyAV.

Guarantee: picture k is shown from k / fps, sound sample n is heard at n / sample_rate_hz, both counted from 0: the AAC
encoder's delay of 1024 samples is told to the muxer, whose edit list makes players and PyAV drop it. Equal input gives
equal bytes on the same library versions (one thread, no clock in the file). AAC pads the end to whole frames of 1024.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

_AAC_FRAME = 1024
_AUDIO_BITS = 64_000
_AAC = {"aac_coder": "fast"}  # 11 against 38 ms for 7 s of sound, and nearer to it: log-mel error 0.040 against 0.047
_X264 = {"preset": "ultrafast", "crf": "20", "g": "30"}


def encode_mp4(
    pictures: Iterable[NDArray[np.uint8]], wave: NDArray[np.float32] | None, *, fps: int, sample_rate_hz: int = 16000
) -> bytes:
    """The bytes of an MP4 file.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB, all of one even size.
        wave: (T,) float32 in [-1, 1], or None for a file without a sound track.
    """
    shown = iter(pictures)
    first = next(shown)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = _video_stream(container, first.shape[1], first.shape[0], fps)
        sound = iter(()) if wave is None else _sound_packets(container, wave, sample_rate_hz)
        for number, picture in enumerate(chain([first], shown)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
            for start_s, packets in sound:
                container.mux(packets)
                if start_s > (number + 1) / fps:
                    break
        container.mux(video.encode(None))
        for _, packets in sound:
            container.mux(packets)
    return buffer.getvalue()


def _video_stream(container: Any, width: int, height: int, fps: int) -> Any:
    stream = container.add_stream("libx264", rate=fps, options=_X264)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.thread_count = 1
    stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    return stream


def _sound_packets(container: Any, wave: NDArray[np.float32], rate_hz: int) -> Iterator[tuple[float, list[Any]]]:
    """(start in seconds, packets) of each block of sound; the stream is added at once, the encoding is lazy."""
    stream = container.add_stream("aac", rate=rate_hz, layout="mono", options=_AAC)
    stream.bit_rate = _AUDIO_BITS
    stream.codec_context.flags |= av.codec.context.Flags.bitexact

    def packets() -> Iterator[tuple[float, list[Any]]]:
        for start in range(0, len(wave), _AAC_FRAME):
            block = np.ascontiguousarray(wave[None, start : start + _AAC_FRAME], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            yield start / rate_hz, stream.encode(frame)
        yield len(wave) / rate_hz, stream.encode(None)

    return packets()
