"""One record of a corpus: a mono sound, the CLIP embeddings of the pictures of the same seconds, and their facts.

Guarantee: `decode_record(encode_record(r))` gives `r` back, the sound rounded to 16 bits and nothing else changed;
equal records give equal bytes. Nothing in a sample is executed or used as a path (no pickle, no tar name).
Price: FLAC of 10 s at 16 kHz takes about 5 ms to write and 2 ms to read.

The layout is WebDataset's, so any reader of plain tars can use it: KEY.flac, KEY.frames.npy, KEY.json and, where
there are such, KEY.jpg (thumbnail), KEY.000.jpg, KEY.001.jpg ... (the pictures themselves, so that another CLIP can
embed them), KEY.txt (caption, for evaluation only) and KEY.audio.npy (an embedding of the sound, for whoever trains on
such: ingest makes none, the loader hands it on).
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soundfile

from clipsonic.errors import CorpusError

_PICTURE = re.compile(r"\d{3,}\.jpg")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
_NPY_HEADER = 10
"""Bytes of an .npy file, version 1.0, before its header."""
_FULL_SCALE = 32768.0  # of 16-bit sound: the value that reads back as 1.0


@dataclass(frozen=True)
class Record:
    """One sample of a corpus.

    Args:
        key: its name in the corpus: ASCII letters, digits, `-` and `_` only (a dot would end the key in a tar).
        wave: (T,) float32 in [-1, 1], mono, at `facts["sample_rate"]`.
        frames: (S, E) float16 unit vectors, one for each of `facts["frame_times_s"]`.
        facts: plain JSON values: source, start_s, seconds, frame_times_s, sample_rate, valid_seconds, rms_db, ...
        thumbnail: JPEG bytes of the middle picture, if kept.
        caption: words about it, if the source had any; never read by training unless a config says so.
        pictures: JPEG bytes of the S pictures, or none.
        audio_embed: (A,) float16 unit vector of the sound in a space of its own, or none.

    Raises:
        CorpusError: a key with other characters, a wave or frames of the wrong rank or type.
    """

    key: str
    wave: np.ndarray
    frames: np.ndarray
    facts: dict[str, Any]
    thumbnail: bytes | None = None
    caption: str | None = None
    pictures: tuple[bytes, ...] = ()
    audio_embed: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise CorpusError(f"record key {self.key!r} must be 1 to 90 ASCII letters, digits, '-' or '_'")
        if self.wave.ndim != 1 or self.wave.dtype != np.float32:
            raise CorpusError(
                f"record {self.key}: wave is {self.wave.dtype} {self.wave.shape}, it must be float32 of shape (T,)"
            )
        if self.frames.ndim != 2 or self.frames.dtype != np.float16:
            raise CorpusError(
                f"record {self.key}: frames are {self.frames.dtype} {self.frames.shape}, they must be float16 (S, E)"
            )
        if self.audio_embed is not None and (self.audio_embed.ndim != 1 or self.audio_embed.dtype != np.float16):
            raise CorpusError(
                f"record {self.key}: audio_embed is {self.audio_embed.dtype} {self.audio_embed.shape}, it must be "
                "float16 of shape (A,)"
            )

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the wave."""
        return int(self.facts["sample_rate"])


def encode_record(record: Record) -> dict[str, bytes]:
    """The record's files as suffix -> bytes, suffixes sorted; a tar member is called `KEY.SUFFIX`."""
    files = {
        "flac": _encode_flac(record.wave, record.sample_rate_hz),
        "frames.npy": encode_npy(record.frames),
        "json": encode_facts(record.facts),
    }
    if record.thumbnail is not None:
        files["jpg"] = record.thumbnail
    if record.caption is not None:
        files["txt"] = record.caption.encode()
    if record.audio_embed is not None:
        files["audio.npy"] = encode_npy(record.audio_embed)
    files.update((f"{number:03d}.jpg", picture) for number, picture in enumerate(record.pictures))
    return dict(sorted(files.items()))


def decode_record(sample: Mapping[str, Any]) -> Record:
    """A record from a WebDataset sample: `__key__` and suffix -> bytes (other suffixes and `__...__` are ignored).

    Raises:
        CorpusError: a part is missing or damaged; the message names the record.
    """
    key = str(sample.get("__key__", ""))
    with _damage_of(key):
        facts, wave = _decoded(key, sample, "float32")
        caption = sample["txt"].decode() if "txt" in sample else None
        frames, embed = _npy(sample["frames.npy"]), _npy(sample["audio.npy"]) if "audio.npy" in sample else None
    return Record(key, wave, frames, facts, sample.get("jpg"), caption, pictures_of(sample), embed)


def decode_stored(
    key: str, sample: Mapping[str, bytes], start: int = 0, count: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """What training needs of a record: sound (T,) int16, frames (S, E) float16, their times (S,) float32 in seconds,
    and the embedding of its sound (A,) or None; of the sound only what there is from `start` on, up to `count` samples.

    Raises:
        CorpusError: as `decode_record`.
    """
    with _damage_of(key):
        facts, wave = _decoded(key, sample, "int16", start, count)
        times_s = np.asarray(facts["frame_times_s"], dtype=np.float32)
        frames, embed = _viewed(sample["frames.npy"]), _viewed(sample["audio.npy"]) if "audio.npy" in sample else None
        if wave.ndim != 1 or frames.ndim != 2 or frames.dtype != np.float16:
            raise ValueError(f"wave {wave.shape}, frames {frames.dtype} {frames.shape}")
    return wave, frames, times_s, embed


def _decoded(
    key: str, sample: Mapping[str, Any], dtype: str, start: int = 0, count: int | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    facts = json.loads(sample["json"])
    with soundfile.SoundFile(io.BytesIO(sample["flac"])) as file:
        rate_hz = file.samplerate
        file.seek(min(start, file.frames))
        wave = file.read(-1 if count is None else count, dtype=dtype)
    if rate_hz != facts["sample_rate"]:
        raise CorpusError(f"record {key}: its sound is at {rate_hz} Hz, its facts say {facts['sample_rate']}")
    return facts, wave


@contextmanager
def _damage_of(key: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError, EOFError, MemoryError, soundfile.LibsndfileError) as error:
        raise CorpusError(f"record {key or '?'} is damaged ({error}): build its shard again with ingest") from None


def _npy(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _viewed(data: bytes) -> np.ndarray:
    """As `_npy`, for reading only; the headers, which are nearly all alike, are parsed once each."""
    if data[6:8] != b"\x01\x00":
        return _npy(data)
    end = _NPY_HEADER + int.from_bytes(data[8:_NPY_HEADER], "little")
    shape, is_fortran, dtype = _npy_header(data[:end])
    return np.frombuffer(data, dtype, math.prod(shape), end).reshape(shape, order="F" if is_fortran else "C")


@lru_cache(maxsize=256)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    file = io.BytesIO(head)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)


def pictures_of(sample: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The JPEG bytes of a sample's kept pictures, in order."""
    return tuple(
        sample[suffix] for suffix in sorted(filter(_PICTURE.fullmatch, sample), key=lambda name: (len(name), name))
    )


def encode_facts(facts: Mapping[str, Any]) -> bytes:
    """Facts as one line of JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _encode_flac(wave: np.ndarray, sample_rate_hz: int) -> bytes:
    """16-bit FLAC; rounding is ours, so that a second encoding of the decoded sound gives the same bytes."""
    pcm = np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def encode_npy(array: np.ndarray) -> bytes:
    """The bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
