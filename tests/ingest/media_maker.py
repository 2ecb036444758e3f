"""Films whose every picture carries its number and whose sound is one known noise.

Guarantee: "which picture, and which sound around it" is measured, whatever the codec did: `number_of` reads the number
of a decoded picture, `moment_of` finds a stretch of sound in the noise to a millisecond. Picture n shows film second
n / fps, and the noise of film second t is `noise()[t * NOISE_HZ:]`; a container's timestamps may say what they like.
Price: about 0.1 s for six seconds of film. Not exact: a codec without timestamps of its own (MP3 in AVI) begins
with its own delay, at 48 kHz some 23 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.signal import firwin, oaconvolve, resample_poly

NOISE_HZ = 16000
NOISE_S = 132.0
WRAP_S = 2**33 / 90000
"""Where the clocks of transport and program streams begin again."""
BITS = 12
_ROWS, _COLUMNS = 4, 6
_PICTURE = b"\x00\x00\x01\xb6"  # MPEG-4: here begins a picture

_FORMATS = {
    ".ts": "mpegts", ".mpg": "mpeg", ".vob": "vob", ".mkv": "matroska", ".wmv": "asf", ".ogv": "ogg", ".m4v": "mp4",
}  # fmt: skip
_CODECS = {
    ".webm": ("libvpx", "libopus"), ".avi": ("mpeg4", "pcm_s16le"), ".mpg": ("mpeg2video", "mp2"),
    ".vob": ("mpeg2video", "mp2"), ".ogv": ("libvpx", "libopus"), ".asf": ("mpeg4", "libmp3lame"),
    ".wmv": ("mpeg4", "libmp3lame"), ".3gp": ("mpeg4", "aac"), ".mxf": ("mpeg2video", "pcm_s16le"),
    ".flv": ("libx264", "aac"), ".nut": ("libx264", "pcm_s16le"),
}  # fmt: skip
_LAYOUTS = {"libmp3lame": "s16p", "libopus": "flt", "pcm_s16le": "s16", "flac": "s16", "mp2": "s16"}
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@dataclass(frozen=True)
class Film:
    """What to write; every length in seconds of the film.

    Args:
        seconds, from_s: how much of the film, and from where.
        b_pictures: how many reordered pictures stand between two others (H.264, HEVC, MPEG-4, MPEG-2).
        gop: pictures from one key picture to the next.
        sound_codec: None for no sound; "" (and codec "") for what the container usually has.
        offset_s: added to all timestamps.
        late_picture_s, late_sound_s: nothing of that stream before; what comes later keeps its time.
        early_end_picture_s, early_end_sound_s: nothing of that stream in the last seconds.
        jitter_s: each sound packet's time is off by up to that either way, drawn evenly; their order is kept.
        leap: (at, by): from film second `at` on, all timestamps are later by that many seconds.
        hole: (from, to): no packet of either stream.
        packed: each reordered picture lies in the packet of the one it waits for, as DivX and Xvid put it into AVI; of
            "mpeg4" with one B picture.
        options, muxer: of the picture's encoder and of the container.
    """

    seconds: float = 6.0
    from_s: float = 0.0
    fps: Fraction = Fraction(25)
    size: tuple[int, int] = (96, 64)
    codec: str = ""
    pix_fmt: str = "yuv420p"
    b_pictures: int = 0
    gop: int = 25
    sound_codec: str | None = ""
    rate_hz: int = 48000
    channels: int = 1
    offset_s: float = 0.0
    late_picture_s: float = 0.0
    late_sound_s: float = 0.0
    early_end_picture_s: float = 0.0
    early_end_sound_s: float = 0.0
    jitter_s: float = 0.0
    leap: tuple[float, float] | None = None
    hole: tuple[float, float] | None = None
    packed: bool = False
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)


@cache
def noise() -> np.ndarray:
    """(T,) float32: the known noise, 0.3 to 3 kHz, at NOISE_HZ."""
    white = np.random.default_rng(20).standard_normal(round(NOISE_S * NOISE_HZ) + 400)
    taps = firwin(401, [300.0, 3000.0], pass_zero=False, fs=NOISE_HZ)
    shaped = oaconvolve(white, taps, mode="valid")
    return np.asarray(0.2 * shaped / shaped.std(), np.float32).clip(-0.95, 0.95)


def picture_of(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """(H, W, 3) uint8: twelve cells of black and white, the bits of the number, and below them their opposites."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    cells = np.array([*bits, *(1 - bit for bit in bits)], np.uint8).reshape(_ROWS, _COLUMNS)
    width, height = size
    rows, columns = np.arange(height) * _ROWS // height, np.arange(width) * _COLUMNS // width
    return np.repeat((30 + 195 * cells[rows][:, columns])[..., None], 3, axis=2)


def number_of(picture: np.ndarray) -> int:
    """The number that a picture (H, W) or (H, W, 3) of any size tells.

    Raises:
        ValueError: it tells none.
    """
    grey = np.asarray(picture, np.float32).reshape(*picture.shape[:2], -1).mean(axis=2)
    height, width = grey.shape
    middles = [
        grey[_inside(row, height, _ROWS), _inside(column, width, _COLUMNS)].mean()
        for row in range(_ROWS)
        for column in range(_COLUMNS)
    ]
    apart = np.array(middles[:BITS]) - np.array(middles[BITS:])
    if np.abs(apart).min() < 40.0:
        raise ValueError(f"no number can be read from this picture: its cells differ by {np.abs(apart).min():.0f} only")
    return sum(1 << bit for bit in range(BITS) if apart[bit] > 0)


def _inside(place: int, length: int, count: int) -> slice:
    """The middle half of a cell."""
    cell = length / count
    return slice(round((place + 0.25) * cell), round((place + 0.75) * cell))


def moment_of(wave: np.ndarray, rate_hz: int, least: float = 0.5) -> float:
    """Film second of the first sample of (T,) or (C, T) sound, found in the noise.

    Args:
        least: correlation with the noise that counts as found; a tenth of a second or more of sound is needed.

    Raises:
        ValueError: it is not found there.
    """
    mono = np.atleast_2d(np.asarray(wave, np.float64)).mean(axis=0)
    common = gcd(NOISE_HZ, rate_hz)
    piece = resample_poly(mono, NOISE_HZ // common, rate_hz // common) if rate_hz != NOISE_HZ else mono
    whole = np.asarray(noise(), np.float64)
    sums = np.concatenate([[0.0], np.square(whole).cumsum()])
    energy = sums[len(piece) :] - sums[: -len(piece)]
    match = oaconvolve(whole, piece[::-1], mode="valid") / np.sqrt(np.maximum(energy * np.square(piece).sum(), 1e-12))
    place = int(match.argmax())
    if match[place] < least:
        raise ValueError(f"this is not the known noise: correlation {match[place]:.2f}")
    return place / NOISE_HZ


def write_film(path: Path, film: Film | None = None, **changes: Any) -> Path:
    """Write a film as the suffix of `path` says; `changes` are fields of Film."""
    film = _filled(replace(film or Film(), **changes), path.suffix)
    form = _FORMATS.get(path.suffix, path.suffix[1:])
    options = {"avoid_negative_ts": "disabled", **film.muxer} if film.offset_s < 0 else film.muxer
    with av.open(str(path), "w", format=form, options=options) as container:
        picture = container.add_stream(film.codec, rate=film.fps)
        picture.width, picture.height, picture.pix_fmt = *film.size, film.pix_fmt
        picture.gop_size, picture.codec_context.max_b_frames = film.gop, film.b_pictures
        picture.options = {**_OPTIONS.get(film.codec, {}), **_b_option(film), **film.options}
        sound = None
        if film.sound_codec is not None:
            layout = "mono" if film.channels == 1 else "stereo"
            sound = container.add_stream(film.sound_codec, rate=film.rate_hz, layout=layout)
            sound.bit_rate = 96000 * film.channels
        packets = list(_picture_packets(picture, film))
        packets = _packed(packets) if film.packed else packets
        packets += [] if sound is None else _sound_packets(sound, film)
        container.start_encoding()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def join(path: Path, parts: Sequence[Path]) -> Path:
    """The parts' bytes one behind the other, as recorders and `cat` join transport and program streams."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def write_joined(path: Path, at_s: float, second_offset_s: float = 0.0, **changes: Any) -> Path:
    """A film of two parts, the second one's clock beginning anew at `second_offset_s` (0: a restart)."""
    film = Film(**changes)
    first = write_film(path.with_name(f"first-{path.name}"), film, seconds=at_s)
    rest = {"seconds": film.seconds - at_s, "from_s": film.from_s + at_s, "offset_s": second_offset_s}
    second = write_film(path.with_name(f"second-{path.name}"), film, **rest)
    join(path, [first, second])
    first.unlink()
    second.unlink()
    return path


def numbers_of(path: Path) -> list[tuple[float, int]]:
    """(time, number) of every decoded picture, in the order in which FFmpeg gives them; the times are its own."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time) if frame.pts is not None else -1.0, number_of(frame.to_ndarray(format="gray")))
            for frame in container.decode(video=0)
        ]


def sound_of(path: Path, gap_s: float = 0.1) -> tuple[np.ndarray, int]:
    """((C, T), rate): all sound from time 0 as FFmpeg gives it, gaps filled with silence; jitter is no gap."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate_hz, channels = frames[0].sample_rate, frames[0].layout.nb_channels
    last = frames[-1]
    wave = np.zeros((channels, round(last.time * rate_hz) + last.samples), np.float32)
    end = -(10**9)
    for frame in frames:
        samples = frame.to_ndarray().astype(np.float32)
        samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T
        samples = samples / 32768.0 if "s16" in frame.format.name else samples
        first = round(frame.time * rate_hz)
        first = end if abs(first - end) < gap_s * rate_hz else first
        end = first + samples.shape[1]
        room = max(0, min(end, wave.shape[1]) - max(0, first))
        wave[:, max(0, first) : max(0, first) + room] = samples[:, max(0, -first) :][:, :room]
    return wave, rate_hz


def set_edits(path: Path, edits: dict[str, Sequence[tuple[float, float | None]]]) -> Path:
    """Give the tracks ("vide", "soun") of an MP4 or MOV other edit lists: (seconds, from which second of the media).

    None in place of the latter is an empty edit. The media's seconds count from its first decoding time.
    """
    data = path.read_bytes()
    out = b"".join(
        _box(kind, _moov_with(body, edits)) if kind == b"moov" else _box(kind, body) for kind, body in _boxes(data)
    )
    if data.find(b"moov") < data.find(b"mdat"):
        raise ValueError("the index must stand behind the data: write without faststart")
    path.write_bytes(out)
    return path


def _moov_with(moov: bytes, edits: dict[str, Sequence[tuple[float, float | None]]]) -> bytes:
    boxes = list(_boxes(moov))
    scale = _scale(dict(boxes)[b"mvhd"])
    return b"".join(
        _box(kind, _trak_with(body, edits, scale)) if kind == b"trak" else _box(kind, body) for kind, body in boxes
    )


def _trak_with(trak: bytes, edits: dict[str, Sequence[tuple[float, float | None]]], scale: int) -> bytes:
    boxes = [(kind, body) for kind, body in _boxes(trak)]
    media = dict(_boxes(dict(boxes)[b"mdia"]))
    name = media[b"hdlr"][8:12].decode()
    if name not in edits:
        return trak
    media_scale = _scale(media[b"mdhd"])
    listed = b"".join(
        struct.pack(">IiHH", round(seconds * scale), -1 if from_s is None else round(from_s * media_scale), 1, 0)
        for seconds, from_s in edits[name]
    )
    elst = _box(b"elst", struct.pack(">II", 0, len(edits[name])) + listed)
    total = round(sum(seconds for seconds, _ in edits[name]) * scale)
    out = b""
    for kind, body in boxes:
        if kind == b"tkhd":
            body = body[:20] + struct.pack(">I", total) + body[24:]
        out += b"" if kind == b"edts" else _box(kind, body)
        out += _box(b"edts", elst) if kind == b"tkhd" else b""
    return out


def _scale(header: bytes) -> int:
    """Units per second of an mvhd or mdhd of version 0."""
    return int.from_bytes(header[12:16], "big")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place + 8 : place + size]
        place += size


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _filled(film: Film, suffix: str) -> Film:
    codec, sound_codec = _CODECS.get(suffix, ("libx264", "aac"))
    codec = film.codec or codec
    sound_codec = sound_codec if film.sound_codec == "" else film.sound_codec
    return replace(film, codec=codec, sound_codec=sound_codec, fps=Fraction(film.fps))


def _b_option(film: Film) -> dict[str, str]:
    if film.codec == "libx265":
        params = f"{_OPTIONS['libx265']['x265-params']}:bframes={film.b_pictures}:keyint={film.gop}:b-adapt=0"
        return {"x265-params": params}
    if film.codec == "libx264":
        return {"x264-params": f"bframes={film.b_pictures}:b-adapt=0:scenecut=0:open-gop=0"}
    return {"bf": str(film.b_pictures)} if film.codec in ("mpeg4", "mpeg2video") else {}


def _picture_packets(stream: Any, film: Film) -> Iterator[av.Packet]:
    begin, count = round(film.late_picture_s * film.fps), round((film.seconds - film.early_end_picture_s) * film.fps)
    first = round(film.from_s * film.fps)
    for number in range(begin, count):
        frame = av.VideoFrame.from_ndarray(picture_of(first + number, film.size), format="rgb24")
        frame = frame.reformat(format=film.pix_fmt)
        frame.pts, frame.time_base = number, 1 / film.fps
        yield from _placed(stream.encode(frame), film)
    yield from _placed(stream.encode(None), film)


def _packed(packets: list[av.Packet]) -> list[av.Packet]:
    """The second of two in the packet of the first wherever it is a B picture, and in its own place an empty one."""
    data = [bytes(packet) for packet in packets]
    kinds = [one[one.index(_PICTURE) + 4] >> 6 for one in data]
    for place, kind in enumerate(kinds):
        if packets[place].is_keyframe:
            data[place] = data[place].replace(_PICTURE, b"\x00\x00\x01\xb2DivX503b1393p" + _PICTURE, 1)
        if kind == 2:
            data[place - 1] += data[place]
            data[place] = _PICTURE + b"\x51\x1f\xff\xff"  # not coded: the one before stands
    made = []
    for old, one in zip(packets, data, strict=True):
        packet = av.Packet(one)
        packet.pts, packet.dts, packet.time_base, packet.stream = old.pts, old.dts, old.time_base, old.stream
        packet.duration, packet.is_keyframe = old.duration or 0, old.is_keyframe
        made.append(packet)
    return made


def _sound_packets(stream: Any, film: Film) -> list[av.Packet]:
    begin, end = film.late_sound_s, film.seconds - film.early_end_sound_s
    piece = noise()[round((film.from_s + begin) * NOISE_HZ) : round((film.from_s + end) * NOISE_HZ)]
    common = gcd(NOISE_HZ, film.rate_hz)
    piece = resample_poly(piece, film.rate_hz // common, NOISE_HZ // common).astype(np.float32)
    first, packets = round(begin * film.rate_hz), []
    layout = "mono" if film.channels == 1 else "stereo"
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(piece), size):
        samples = np.tile(piece[None, start : start + size], (film.channels, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = film.rate_hz, first + start, Fraction(1, film.rate_hz)
        packets += stream.encode(frame)
    return _jittered(list(_placed([*packets, *stream.encode(None)], film)), film.jitter_s)


def _placed(packets: Iterable[Any], film: Film) -> Iterator[av.Packet]:
    """The packets at their timestamps: offset and leap added, those of a hole left out."""
    for packet in packets:
        time_s = float(packet.pts * packet.time_base)
        if film.hole is not None and film.hole[0] <= time_s < film.hole[1]:
            continue
        shift_s = film.offset_s + (film.leap[1] if film.leap is not None and time_s >= film.leap[0] else 0.0)
        shift = round(Fraction(shift_s).limit_denominator(10**6) / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        yield packet


def _jittered(packets: list[av.Packet], jitter_s: float) -> list[av.Packet]:
    if not jitter_s:
        return packets
    drawn = np.random.default_rng(5).uniform(-jitter_s, jitter_s, len(packets))
    times = sorted(packet.pts + round(off / packet.time_base) for off, packet in zip(drawn, packets, strict=True))
    for packet, time in zip(packets, times, strict=True):
        packet.pts = packet.dts = time
    return packets
