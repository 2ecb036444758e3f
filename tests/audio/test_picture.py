"""Spectrogram pictures: readable axes, honest colours, small files."""

import io

import numpy as np
import pytest
from PIL import Image

from clipsonic.audio.picture import frequency_ticks, save_spectrogram, spectrogram_png
from clipsonic.errors import UsageError
from clipsonic.specs import MelSpec, mel_band_edges_hz

SPEC = MelSpec()


def pixels(log_mel, title=None):
    return np.asarray(Image.open(io.BytesIO(spectrogram_png(log_mel, SPEC, title))).convert("RGB"), dtype=float)


def test_a_bright_band_is_drawn_at_its_height():
    mel = np.full((64, 100), np.log(1e-5))
    mel[48:] = 0.0  # the top quarter
    column = pixels(mel)[:, 250].sum(axis=1)
    bottom = np.flatnonzero(column < 60)[-1] + 1  # below stands white paper
    bright = np.flatnonzero((column[:bottom] > 350) & (column[:bottom] < 700))
    # the axes' frame and the edge between two bands are a pixel or two of 210
    assert len(bright) / (bottom - bright[0]) == pytest.approx(0.25, abs=0.02)


def test_frequency_ticks_stand_at_their_bands():
    centres_hz = np.array(mel_band_edges_hz(SPEC)[1:-1])
    places, labels = frequency_ticks(SPEC)
    assert "1k" in labels
    for place, label in zip(places, labels, strict=True):
        hz = float(label.replace("k", "")) * (1000 if label.endswith("k") else 1)
        assert np.interp(place, np.arange(64), centres_hz) == pytest.approx(hz)


def test_the_file_is_small_and_deterministic(tmp_path):
    mel = np.random.default_rng(0).normal(-5, 2, (64, 256))
    save_spectrogram(tmp_path / "new" / "x.png", mel, SPEC, title="a $bell_1")
    data = (tmp_path / "new" / "x.png").read_bytes()
    assert len(data) < 60_000  # noise is the worst case; 45 kB measured
    assert data == spectrogram_png(mel, SPEC, title="a $bell_1")


def test_matplotlibs_global_state_is_not_touched():
    import sys

    before = "matplotlib.pyplot" in sys.modules
    spectrogram_png(np.zeros((64, 8)), SPEC)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_another_suffix_or_shape_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.png"):
        save_spectrogram(tmp_path / "x.jpg", np.zeros((64, 8)), SPEC)
    with pytest.raises(UsageError, match="64"):
        spectrogram_png(np.zeros((80, 8)), SPEC)
