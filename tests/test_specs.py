"""Specs: what constructs is possible, and lengths are derived once."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
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
    ],
)
def test_impossible_mel_geometry_does_not_construct(change: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        MelSpec(**change)


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
