"""Specs: what constructs is possible, and lengths are derived once."""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsonic.errors import SpecError
from clipsonic.specs import CorpusSpec, MelSpec, SegmentSpec, mel_band_edges_hz


def test_the_tiny_preset_lasts_4_096_seconds() -> None:
    segment = SegmentSpec(MelSpec(), num_mel_frames=256, embed_width=128, fingerprint="a/b")
    assert segment.num_samples == 65536
    assert segment.seconds == 4.096


def test_a_rank_deficient_filterbank_is_refused_with_its_rank() -> None:
    # librosa's own 100 slaney filters over a 512-point FFT at 16 kHz have rank 99 (numpy's matrix_rank)
    rank = np.linalg.matrix_rank(librosa.filters.mel(sr=16000, n_fft=512, n_mels=100))
    assert rank == 99
    with pytest.raises(SpecError, match="rank 99"):
        MelSpec(n_fft=512, num_mels=100, hop_length=128)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"f_max_hz": 9000.0}, "Nyquist"),
        ({"f_min_hz": 8000.0}, "Nyquist"),
        ({"hop_length": 700}, "hop_length 700"),
        ({"hop_length": 0}, "hop_length 0"),
        ({"hop_length": 255}, "even"),
        ({"num_mels": 0}, "num_mels 0"),
        ({"log_floor": 0.0}, "log_floor"),
        ({"n_fft": 1023, "hop_length": 255, "padding": "center"}, "n_fft even with centred columns"),
    ],
)
def test_impossible_mel_geometry_does_not_construct(change: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        MelSpec(**change)


def test_centred_columns_may_have_an_odd_hop() -> None:
    assert MelSpec(n_fft=1024, hop_length=275, padding="center").num_mel_frames(2 * 275) == 3


SMALL = {"sample_rate_hz": 16000, "num_mels": 2}


@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from(["same", "center"]), st.integers(1, 10**7))
def test_of_enough_columns_the_last_one_is_needed(hop: int, more: int, padding: str, num_samples: int) -> None:
    n_fft = 600 + 2 * more + (hop % 2 if padding == "same" else 0)
    mel = MelSpec(**SMALL, n_fft=n_fft, hop_length=hop, padding=padding)
    enough = mel.enough_mel_frames(num_samples)
    assert mel.num_samples(enough - 1) < num_samples <= mel.num_samples(enough)
    assert mel.num_mel_frames(num_samples) in (enough, enough - 1)
    assert mel.num_samples(mel.num_mel_frames(num_samples)) <= num_samples
    assert mel.num_mel_frames(mel.num_samples(enough)) == enough


@given(st.sampled_from(["ln", "log10"]), st.floats(-120.0, 40.0), st.floats(-60.0, 60.0))
def test_decibels_are_twenty_log10_of_the_amplitude_whatever_the_logarithm(
    logarithm: str, level_db: float, shift_db: float
) -> None:
    mel, amplitude = MelSpec(logarithm=logarithm), 10.0 ** (level_db / 20.0)
    log_mel = math.log(amplitude) if logarithm == "ln" else math.log10(amplitude)
    assert mel.db(log_mel) == pytest.approx(level_db, abs=1e-9)  # float64 rounding, as everywhere here
    assert mel.from_db(level_db) == pytest.approx(log_mel, abs=1e-9)
    assert mel.nepers(log_mel) == pytest.approx(math.log(amplitude), abs=1e-9)
    assert mel.from_nepers(mel.nepers(log_mel)) == pytest.approx(log_mel, abs=1e-9)
    assert mel.db(mel.shift_db(log_mel, shift_db)) == pytest.approx(level_db + shift_db, abs=1e-9)
    for values in (np.array([log_mel]), torch.tensor([log_mel], dtype=torch.float64)):
        assert type(mel.shift_db(values, shift_db)) is type(values)
        assert float(mel.db(values)[0]) == mel.db(log_mel)


def test_centred_columns_stand_out_of_the_sound_by_half_a_hop_at_both_ends() -> None:
    same, centred = (MelSpec(padding=padding) for padding in ("same", "center"))
    assert same.span_s(10) == (0.0, 2560 / 16000)
    assert centred.span_s(10) == pytest.approx((-128 / 16000, (9 * 256 + 128) / 16000))
    assert same.start_s(4) == centred.start_s(4) == 1024 / 16000


# --------------------------------------------------------------- written once

PACKAGE = Path(__file__).resolve().parents[1] / "clipsonic"
FIELDS = {field.name for field in dataclasses.fields(MelSpec)}


@functools.cache
def sources() -> dict[str, ast.Module]:
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def test_the_fields_of_a_mel_space_are_written_in_one_place() -> None:
    lists = []
    for place, tree in sources().items():
        for node in ast.walk(tree):
            names: set[str] = set()
            if isinstance(node, ast.ClassDef):
                names = {line.target.id for line in node.body if isinstance(line, ast.AnnAssign)}  # type: ignore[union-attr]
            elif isinstance(node, ast.FunctionDef):
                names = {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
            if len(names & FIELDS) > 4:
                lists.append(f"{place}: {node.name}")  # type: ignore[attr-defined]
    assert lists == ["specs.py: MelFields"]


def test_nobody_but_the_spec_asks_for_a_logarithm_or_for_centred_columns() -> None:
    asking = {
        (place, node.attr)
        for place, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("logarithm", "padding")
    }
    words = ("audio/spaces.py", "logarithm")  # a space in words
    assert asking == {("specs.py", "logarithm"), ("specs.py", "padding"), words}


def test_band_edges_agree_with_librosa() -> None:
    spec = MelSpec()
    expected = librosa.mel_frequencies(n_mels=spec.num_mels + 2, fmin=0.0, fmax=8000.0, htk=False)
    np.testing.assert_allclose(mel_band_edges_hz(spec), expected, rtol=1e-9, atol=1e-9)


@given(st.floats(0.5, 600.0))
def test_frame_times_are_bin_centres_one_per_second_and_at_least_four(seconds: float) -> None:
    times = CorpusSpec.frame_times_s(seconds)
    assert len(times) == max(4, round(seconds))
    widths = np.diff(times)
    assert times[0] == pytest.approx(widths[0] / 2)
    assert seconds - times[-1] == pytest.approx(widths[0] / 2)
    np.testing.assert_allclose(widths, widths[0], rtol=1e-9)


def test_every_spec_survives_a_round_trip_through_plain_values() -> None:
    segment = SegmentSpec(MelSpec(hop_length=160), num_mel_frames=992, embed_width=768, fingerprint="ViT-L-14/0123")
    assert SegmentSpec.from_dict(segment.to_dict()) == segment
    assert CorpusSpec.from_dict(CorpusSpec(seconds=2.56).to_dict()) == CorpusSpec(seconds=2.56)


def test_an_unknown_or_missing_field_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="sample_rat"):
        MelSpec.from_dict({"sample_rat": 1})
    with pytest.raises(SpecError, match="SegmentSpec"):
        SegmentSpec.from_dict({"num_mel_frames": 256})


def test_a_minimum_longer_than_the_segment_is_refused() -> None:
    with pytest.raises(SpecError, match=r"min_seconds 3.0"):
        CorpusSpec(seconds=2.0, min_seconds=3.0)
