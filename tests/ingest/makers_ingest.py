"""Videos whose every picture tells its own number and whose sound clicks when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

DIGITS = 10
CLICK_S = 0.01
_CELL = 16


def numbered_picture(number: int, width: int = 160, height: int = 96, *, white: bool = False) -> np.ndarray:
    """(H, W, 3): the number in binary as ten black or white cells at the top, grey noise-free below; or all white."""
    if white:
        return np.full((height, width, 3), 255, np.uint8)
    picture = np.full((height, width, 3), 60, np.uint8)
    for digit in range(DIGITS):
        picture[:_CELL, digit * _CELL : (digit + 1) * _CELL] = 255 * ((number >> digit) & 1)
    x = (number * 3) % (width - 20)
    picture[40:60, x : x + 20] = (200, 30, 90)
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that a decoded picture tells."""
    cells = [picture[4 : _CELL - 4, digit * _CELL + 4 : (digit + 1) * _CELL - 4].mean() for digit in range(DIGITS)]
    return sum(1 << digit for digit, level in enumerate(cells) if level > 128)


def clicking_wave(seconds: float, clicks_s: Sequence[float], rate_hz: int, level: float = 0.5) -> np.ndarray:
    """(T,) float32: silence, and at each time a 10 ms burst of 1 kHz that begins at full level."""
    wave = np.zeros(round(seconds * rate_hz), np.float32)
    burst = level * np.cos(2 * np.pi * 1000.0 * np.arange(round(CLICK_S * rate_hz)) / rate_hz)
    for click_s in clicks_s:
        start = round(click_s * rate_hz)
        wave[start : start + len(burst)] = burst[: len(wave) - start]
    return wave


def onset_s(wave: np.ndarray, rate_hz: int) -> float:
    """When the sound first reaches half of its peak."""
    level = np.abs(wave)
    return float(np.argmax(level > 0.5 * level.max())) / rate_hz


def make_video(
    path: Path,
    *,
    seconds: float = 3.0,
    fps: float | Fraction = 15,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (160, 96),
    sound_codec: str | None = "aac",
    rate_hz: int = 16000,
    layout: str = "mono",
    sound_seconds: float | None = None,
    sound_start_s: float = 0.0,
    clicks_s: Sequence[float] = (1.0,),
    flashes_s: Sequence[float] = (),
    still: bool = False,
    silent: bool = False,
    has_video: bool = True,
    times_s: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video by PyAV. Picture i stands from i / fps (or times_s[i]); flashes are white pictures."""
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options=container_options or {}) as container:
        if has_video:
            video = container.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = *size, pix_fmt
            video.options = options if options is not None else _options_of(codec)
            if times_s is not None:
                video.codec_context.time_base = Fraction(1, 1000)
        if sound_codec is not None:
            sound = container.add_stream(sound_codec, rate=rate_hz, layout=layout)
        packets: list[av.Packet] = []
        if has_video:
            packets += picture_packets(video, seconds, rate, size, flashes_s, still, times_s)
        if sound_codec is not None:
            length_s = seconds if sound_seconds is None else sound_seconds
            wave = clicking_wave(length_s, [] if silent else [click - sound_start_s for click in clicks_s], rate_hz)
            packets += sound_packets(sound, wave, rate_hz, layout, sound_start_s)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _options_of(codec: str) -> dict[str, str]:
    return {
        "libx264": {"preset": "veryfast", "crf": "18"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=4"},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    }.get(codec, {})


def picture_packets(
    video: av.VideoStream,
    seconds: float,
    rate: Fraction,
    size: tuple[int, int],
    flashes_s: Sequence[float],
    still: bool,
    times_s: Sequence[float] | None,
) -> list[av.Packet]:
    """The encoded pictures."""
    packets = []
    times = [number / rate for number in range(round(seconds * rate))] if times_s is None else list(times_s)
    white = {max(place for place, time in enumerate(times) if time <= flash + 1e-6) for flash in flashes_s}
    for number, time in enumerate(times):
        picture = numbered_picture(0 if still else number, *size, white=number in white)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = Fraction(1, 1000) if times_s is not None else 1 / rate
        frame.pts = round(Fraction(time) / frame.time_base)
        packets += video.encode(frame)
    return packets + video.encode(None)


def sound_packets(
    sound: av.AudioStream, wave: np.ndarray, rate_hz: int, layout: str, start_s: float
) -> list[av.Packet]:
    """The encoded sound."""
    packets = []
    num_channels = av.AudioLayout(layout).nb_channels
    first = round(start_s * rate_hz)
    for start in range(0, len(wave), 1024):
        piece = np.tile(wave[None, start : start + 1024], (num_channels, 1))
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, first + start, Fraction(1, rate_hz)
        packets += sound.encode(frame)
    return packets + sound.encode(None)


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Give the picture of an MP4 a display matrix (a, b, c, d) of 1, 0 and -1: x' = a x + c y, y' = b x + d y."""
    data = bytearray(path.read_bytes())
    identity = b"".join(value.to_bytes(4, "big") for value in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    place = data.find(b"tkhd")
    while place >= 0:
        start = data.find(identity, place)
        if any(data[start + 36 : start + 44]):  # width and height: this track has a picture
            a, b, c, d = ((value * 0x10000) & 0xFFFFFFFF for value in matrix)
            values = (a, b, 0, c, d, 0, 0, 0, 0x40000000)
            data[start : start + 36] = b"".join(value.to_bytes(4, "big") for value in values)
        place = data.find(b"tkhd", place + 4)
    path.write_bytes(bytes(data))
    return path


class DoubleEmbedder:
    """A stand-in for a CLIP: a fixed random projection of the picture averaged over 4 x 4 cells."""

    fingerprint = "double/0"
    width = 16

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(0).standard_normal((48, self.width)).astype(np.float32)
        self.batches: list[int] = []

    def embed_pictures(self, pictures: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
        self.batches.append(len(pictures))
        vectors = np.stack([self._cells(picture) for picture in pictures]) @ self._matrix
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @staticmethod
    def _cells(picture: np.ndarray) -> np.ndarray:
        rows = np.array_split(picture.astype(np.float32) / 255.0, 4, axis=0)
        return (
            np.concatenate([cell.mean(axis=(0, 1)) for row in rows for cell in np.array_split(row, 4, axis=1)]) + 0.01
        )
