"""One record of a corpus: a mono sound, the CLIP embeddings of the pictures of the same seconds, and their facts.

Guarantee: `decode_record(encode_record(r))` gives `r` back, the sound rounded to 16 bits and nothing else changed;
equal records give equal bytes. Nothing in a sample is executed or used as a path (no pickle, no tar name).
Price: FLAC of 10 s at 16 kHz takes about 5 ms to write and 2 ms to read.

The layout is WebDataset's, so any reader of plain tars can use it: KEY.flac, KEY.frames.npy, KEY.json and, where
there are such, KEY.jpg (thumbnail), KEY.000.jpg, KEY.001.jpg ... (the pictures themselves, so that another CLIP can
embed them) and KEY.txt (caption, for evaluation only).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from clipsonic.errors import CorpusError

_PICTURE = re.compile(r"\d{3,}\.jpg")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
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
    files.update((f"{number:03d}.jpg", picture) for number, picture in enumerate(record.pictures))
    return dict(sorted(files.items()))


def decode_record(sample: Mapping[str, Any]) -> Record:
    """A record from a WebDataset sample: `__key__` and suffix -> bytes (other suffixes and `__...__` are ignored).

    Raises:
        CorpusError: a part is missing or damaged; the message names the record.
    """
    key = str(sample.get("__key__", ""))
    try:
        facts = json.loads(sample["json"])
        wave, rate_hz = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        frames = np.load(io.BytesIO(sample["frames.npy"]), allow_pickle=False)
        if rate_hz != facts["sample_rate"]:
            raise CorpusError(f"record {key}: its sound is at {rate_hz} Hz, its facts say {facts['sample_rate']}")
        caption = sample["txt"].decode() if "txt" in sample else None
    except (KeyError, ValueError, TypeError, EOFError, MemoryError, soundfile.LibsndfileError) as error:
        raise CorpusError(f"record {key or '?'} is damaged ({error}): build its shard again with ingest") from None
    return Record(key, wave, frames, facts, sample.get("jpg"), caption, pictures_of(sample))


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
