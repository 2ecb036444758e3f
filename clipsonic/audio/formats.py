"""Sound files of every kind people ask for: WAV, FLAC, Ogg Vorbis, Opus and MP3, in memory, with tags.

Guarantee: one or two channels; the tags come back from `read_tags`, letters of any script too; WAV and FLAC hold the
samples on the 16-bit grid and give equal bytes for equal sound. Price: the other kinds are lossy, so their peaks may
pass those of the sound that was given; Opus and MP3 know few rates, and a sound of another one is resampled to 48 kHz.
Not exact: Ogg files carry a number of the writer's own, so their bytes differ from run to run.
"""

from __future__ import annotations

import io
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from clipsonic.audio.wave import resample
from clipsonic.errors import ClipsonicError, UsageError

_KINDS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS")}
SUFFIXES = (*_KINDS, ".mp3")
LOSSLESS = (".wav", ".flac")
_RATES_HZ = {
    ".opus": (8000, 12000, 16000, 24000, 48000),
    ".mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
_OTHER_RATE_HZ = 48000
_MP3_BITS_PER_SECOND = 128_000  # per channel; LAME lowers it where the rate allows less
_COMPRESSION = {"VORBIS": 0.2, "OPUS": 0.7}  # of 1, about 72 and 95 kbit/s; at its own rates noise is 1 to 3 LU off
_FULL_SCALE = 32768
_NAMED = ("title", "software", "comment")  # what every one of these kinds has a place for

Samples = npt.NDArray[np.float32]


def encode_sound(wave: npt.ArrayLike, sample_rate_hz: int, suffix: str, tags: dict[str, str] | None = None) -> bytes:
    """(T,) or (C, T) samples, C 1 or 2, as a file of the kind that `suffix` names; what is beyond [-1, 1) is clipped.

    Args:
        tags: title and software stand as such; all of them stand in the comment, as one JSON object.

    Raises:
        UsageError: another suffix, or a sound of another shape or not finite.
    """
    samples = np.atleast_2d(np.asarray(wave, np.float32))
    if samples.ndim != 2 or len(samples) > 2 or not np.isfinite(samples).all():
        raise UsageError(f"sound of shape {np.shape(wave)} cannot be written: it must be (T,) or (2, T), and finite")
    kind = suffix.lower()
    if kind not in SUFFIXES:
        raise UsageError(f"suffix {suffix!r} is not a sound format here: use one of {', '.join(SUFFIXES)}")
    if sample_rate_hz not in _RATES_HZ.get(kind, (sample_rate_hz,)):
        samples = np.stack([resample(channel, sample_rate_hz, _OTHER_RATE_HZ) for channel in samples])
        sample_rate_hz = _OTHER_RATE_HZ
    if kind == ".mp3":
        return _mp3(samples, sample_rate_hz, container_tags(tags or {}))
    return _by_libsndfile(samples, sample_rate_hz, *_KINDS[kind], tags or {})


def decode_sound(data: bytes) -> tuple[Samples, int]:
    """The sound (C, T) of a file in memory, and its rate in Hz.

    Raises:
        ClipsonicError: the bytes are no sound file.
    """
    try:
        samples, sample_rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ClipsonicError(
            f"{len(data)} bytes are not a sound file ({error.error_string}): make the file again"
        ) from None
    return np.ascontiguousarray(samples.T), int(sample_rate_hz)


def container_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags as every container can hold them: the title, and all of them as one JSON object in the comment."""
    named = {name: value for name, value in tags.items() if name in _NAMED and name != "comment"}
    return {**named, "comment": json.dumps(tags, ensure_ascii=False, sort_keys=True)} if tags else {}


def read_tags(path: str | os.PathLike[str]) -> dict[str, str]:
    """The tags that `container_tags` put into a sound or video file, empty if there are none.

    Raises:
        UsageError: there is no such file.
        ClipsonicError: it cannot be read.
    """
    import av

    if not Path(path).is_file():
        raise UsageError(f"file {path} does not exist: give the path of a sound or a video")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            held = [container.metadata, *(stream.metadata for stream in container.streams.audio)]
    except (av.error.FFmpegError, ValueError) as error:
        raise ClipsonicError(f"{path} cannot be read ({error}): give a sound or a video") from None
    found = next((tags for tags in held if tags), {})
    comment = {name.lower(): value for name, value in found.items()}.get("comment", "")
    try:
        values = json.loads(comment)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}


def _by_libsndfile(samples: Samples, rate_hz: int, form: str, subtype: str, tags: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    grid = np.clip(np.rint(samples.T * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    values = grid if subtype == "PCM_16" else np.ascontiguousarray(samples.T)
    quality = {"compression_level": _COMPRESSION[subtype]} if subtype in _COMPRESSION else {}
    with soundfile.SoundFile(buffer, "w", int(rate_hz), len(samples), subtype, format=form, **quality) as file:
        for name, value in container_tags(tags).items():
            setattr(file, name, value)
        for at in range(0, len(values), rate_hz):  # libsndfile overflows its stack on long blocks of Vorbis
            file.write(values[at : at + rate_hz])
    return buffer.getvalue()


def _mp3(samples: Samples, rate_hz: int, tags: dict[str, str]) -> bytes:
    """By FFmpeg, since libsndfile's tags are those of 1996: no letters beyond Latin, 30 of them."""
    import av

    buffer, layout = io.BytesIO(), "mono" if len(samples) == 1 else "stereo"
    with av.open(buffer, "w", format="mp3") as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream("libmp3lame", rate=rate_hz, layout=layout)
        stream.bit_rate = _MP3_BITS_PER_SECOND * len(samples)
        for at in range(0, samples.shape[1], rate_hz):
            block = np.ascontiguousarray(np.clip(samples[:, at : at + rate_hz], -1.0, 1.0))
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
