"""Records survive their bytes, and bytes that are no record are refused in one sentence."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest

from clipsonic.errors import CorpusError
from clipsonic.shards.record import Record, decode_record, encode_record


def make_record(key: str = "a1-00000000", num_samples: int = 1600, **changes: object) -> Record:
    rng = np.random.default_rng(num_samples)
    wave = (rng.integers(-32768, 32768, num_samples) / 32768.0).astype(np.float32)
    frames = rng.standard_normal((4, 8)).astype(np.float16)
    facts = {"source": "videos/名 é.mp4", "sample_rate": 16000, "seconds": num_samples / 16000, "rms_db": -3.5}
    return Record(**{"key": key, "wave": wave, "frames": frames, "facts": facts, **changes})  # type: ignore[arg-type]


def as_sample(record: Record) -> dict[str, object]:
    return {"__key__": record.key, **encode_record(record)}


@pytest.mark.parametrize("extras", [{}, {"thumbnail": b"\xff\xd8jpeg", "caption": "a dog, é 漢"}])
def test_a_record_on_the_sixteen_bit_grid_comes_back_exactly(extras: dict[str, object]) -> None:
    record = make_record(**extras)
    again = decode_record(as_sample(record))
    assert np.array_equal(again.wave, record.wave)
    assert np.array_equal(again.frames, record.frames)
    assert again.frames.dtype == np.float16
    assert (again.key, again.facts, again.thumbnail, again.caption) == (
        record.key, record.facts, record.thumbnail, record.caption,
    )  # fmt: skip


def test_any_sound_comes_back_within_half_a_step_of_sixteen_bits_and_is_clipped_at_full_scale() -> None:
    wave = np.array([0.1, -0.33333, 1.0, -1.0, 1.7, -1.7], np.float32)
    again = decode_record(as_sample(make_record(wave=wave))).wave
    expected = np.clip(wave, -1.0, 32767 / 32768)
    assert np.abs(again - expected).max() <= 0.5 / 32768  # rounding to the nearest step


def test_equal_records_give_equal_bytes_and_a_second_round_changes_nothing() -> None:
    record = make_record(wave=np.sin(np.arange(4000, dtype=np.float32)))
    once = encode_record(record)
    assert encode_record(record) == once
    assert encode_record(decode_record({"__key__": record.key, **once})) == once


def test_members_are_sorted_and_named_by_suffix() -> None:
    record = make_record(thumbnail=b"x", caption="y")
    assert list(encode_record(record)) == ["flac", "frames.npy", "jpg", "json", "txt"]


def test_an_embedding_of_the_sound_comes_back_and_must_be_a_vector() -> None:
    embed = np.linspace(-1, 1, 6, dtype=np.float16)
    again = decode_record(as_sample(make_record(audio_embed=embed)))
    assert again.audio_embed is not None
    assert np.array_equal(again.audio_embed, embed)
    with pytest.raises(CorpusError, match=r"audio_embed is float32 \(6,\), it must be float16"):
        make_record(audio_embed=embed.astype(np.float32))


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "../x", "a b", "é", "x" * 91])
def test_a_key_that_could_be_a_path_or_would_be_cut_is_refused(key: str) -> None:
    with pytest.raises(CorpusError, match="record key"):
        make_record(key=key)


def test_facts_that_are_no_json_are_refused() -> None:
    record = make_record(facts={"sample_rate": 16000, "rms_db": float("-inf")})
    with pytest.raises(ValueError, match="JSON"):
        encode_record(record)


def _pickled_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("frames.npy", pickle.dumps([1])),
        ("frames.npy", _pickled_npy()),
        (
            "frames.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f2', 'fortran_order': False, 'shape': (9999999, 9999999), }",
        ),
        ("frames.npy", b""),
        ("flac", b"no sound"),
        ("json", b"{"),
        ("json", json.dumps({"sample_rate": 8000}).encode()),
        ("json", b"[1]"),
        ("json", b"{}"),
        ("txt", b"\xff"),
    ],
)
def test_a_damaged_or_hostile_part_is_refused_by_the_records_name(suffix: str, data: bytes) -> None:
    sample = {**as_sample(make_record()), suffix: data}
    with pytest.raises(CorpusError, match="a1-00000000"):
        decode_record(sample)


@pytest.mark.parametrize("suffix", ["flac", "frames.npy", "json"])
def test_a_missing_part_is_refused(suffix: str) -> None:
    sample = as_sample(make_record())
    del sample[suffix]
    with pytest.raises(CorpusError, match="damaged"):
        decode_record(sample)


def test_parts_of_other_tools_are_ignored() -> None:
    sample = {**as_sample(make_record()), "__url__": "x.tar", "cls": b"3"}
    assert decode_record(sample).key == "a1-00000000"
