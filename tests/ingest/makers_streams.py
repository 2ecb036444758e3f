"""Files whose streams are the question: two programmes, a codec nobody knows, streams that come late, odd shapes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.stream
import makers_ingest as makers
import numpy as np

_TS = 188


def tone(seconds: float, hz: float, rate_hz: int = 48000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def pitch_hz(wave: np.ndarray, rate_hz: int) -> float:
    """The loudest frequency."""
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * rate_hz / len(wave))


def write(path: Path, streams: Sequence[dict[str, Any]], fps: int = 25, **options: str) -> Path:
    """A file of these streams, in their order.

    A picture is {"pictures": [(H, W, 3), ...], "codec", "from_s", "aspect", "pix_fmt", "options"}; a sound is
    {"wave": (T,) or (2, T), "codec", "rate_hz", "from_s"}. Either may have "is_default".
    """
    with av.open(str(path), "w", options=options) as container:
        made = [(container.add_stream(how["codec"], **_kind(how, fps)), how) for how in streams]
        for stream, how in made:
            if how.get("is_default"):
                stream.disposition = av.stream.Disposition.default
            if "pictures" in how:
                stream.height, stream.width = how["pictures"][0].shape[:2]
                stream.pix_fmt, stream.options = how.get("pix_fmt", "yuv420p"), how.get("options", {})
                stream.codec_context.sample_aspect_ratio = how.get("aspect", Fraction(1))
        packets = [packet for stream, how in made for packet in _packets(stream, how, fps)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _kind(how: dict[str, Any], fps: int) -> dict[str, Any]:
    if "pictures" in how:
        return {"rate": fps}
    return {"rate": how.get("rate_hz", 48000), "layout": "mono" if np.ndim(how["wave"]) == 1 else "stereo"}


def _packets(stream: Any, how: dict[str, Any], fps: int) -> list[av.Packet]:
    if "wave" in how:
        waves = np.atleast_2d(how["wave"])
        kinds = {"mp2": "s16", "pcm_s16le": "s16", "libopus": "flt", "libmp3lame": "s16p"}
        kind, layout = kinds.get(how["codec"], "fltp"), "mono" if len(waves) == 1 else "stereo"
        waves = (waves * 32767).astype(np.int16) if kind.startswith("s16") else waves
        rate_hz, packets = how.get("rate_hz", 48000), []
        for start in range(0, waves.shape[1], 1152):
            piece = waves[:, start : start + 1152]
            piece = piece if kind.endswith("p") else piece.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=kind, layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = start + round(how.get("from_s", 0.0) * rate_hz)
            packets += stream.encode(frame)
        return packets + stream.encode(None)
    packets = []
    for number, picture in enumerate(how["pictures"]):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base, frame.pts = Fraction(1, fps), number + round(how.get("from_s", 0.0) * fps)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def numbered(count: int, width: int = 160, height: int = 96, first: int = 0) -> list[np.ndarray]:
    return [makers.numbered_picture(first + number, width, height) for number in range(count)]


def two_programmes(path: Path, programmes: Sequence[Sequence[dict[str, Any]]]) -> Path:
    """A transport stream of several programmes, packet by packet in turns, with one table of them."""
    parts = []
    for number, streams in enumerate(programmes, start=1):
        part = path.with_name(f"{number}-{path.name}")
        pids = {"mpegts_start_pid": str(0x100 * number), "mpegts_pmt_start_pid": str(0x1000 + number)}
        write(part, streams, **pids, mpegts_service_id=str(number))
        data = part.read_bytes()
        parts.append([data[place : place + _TS] for place in range(0, len(data), _TS)])
        part.unlink()
    table = _programme_table({number: 0x1000 + number for number in range(1, len(parts) + 1)})
    places = sorted(
        (at / len(part) if at > 3 else 0.0, which, at) for which, part in enumerate(parts) for at in range(len(part))
    )
    packets = [parts[which][at] for _, which, at in places]
    kept = [packet for packet in packets if (packet[1] & 0x1F, packet[2]) not in ((0, 0), (0, 17))]
    path.write_bytes(b"".join([table, *kept]))
    return path


def _programme_table(pids: dict[int, int]) -> bytes:
    """A packet with a program association section (ISO/IEC 13818-1, 2.4.4.3)."""
    entries = b"".join(number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for number, pid in pids.items())
    section = b"\0" + (0xB000 | (5 + len(entries) + 4)).to_bytes(2, "big") + b"\0\1\xc1\0\0" + entries
    packet = b"\x47\x40\0\x10\0" + section + _crc32(section).to_bytes(4, "big")
    return packet + b"\xff" * (_TS - len(packet))


def _crc32(data: bytes) -> int:
    """Of MPEG sections: the polynomial 0x04C11DB7, highest bit first."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def rename_codec(path: Path, old: bytes, new: bytes, which: int = 0) -> Path:
    """Give a track of a Matroska file the name of a codec that nobody knows."""
    assert len(old) == len(new)
    data, place = path.read_bytes(), -1
    for _ in range(which + 1):
        place = data.index(old, place + 1)
    path.write_bytes(data[:place] + new + data[place + len(old) :])
    return path


def changing_size(path: Path, codec: str, sizes: Sequence[tuple[int, int]], count: int = 25, **how: Any) -> Path:
    """A file of `count` pictures of each (width, height), one stream; sound all the while."""
    with av.open(str(path), "w") as container:
        stream, number, packets = None, 0, []
        for width, height in sizes:
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, how.get("pix_fmt", "yuv420p")
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options = how.get("options", {})
            if stream is None:
                stream = container.add_stream(codec, rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, encoder.pix_fmt
            made = []
            for picture in numbered(count, width, height, number):
                made += encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            for packet in [*made, *encoder.encode(None)]:
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                number += 1
                packets.append(packet)
        sound = container.add_stream(how["sound_codec"], rate=48000, layout="mono")
        packets += _packets(sound, {"wave": tone(number / 25, 440.0), "codec": how["sound_codec"]}, 25)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path
