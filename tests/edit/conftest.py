"""A tiny untrained pipeline folder, one prompt of each kind, and files to edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from makers_ingest import make_video
from makers_model import make_model, make_prompts

from clipsonic.seeding import numpy_rng


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Noise of 1.2 s in two channels, 24 bits at 44.1 kHz, and a video of 2 s with clicks in its track."""
    folder = tmp_path_factory.mktemp("given")
    wave = 0.1 * numpy_rng(1, "test.edit").standard_normal((52920, 2)) @ np.array([[1.0, 0.3], [0.0, 0.8]])
    soundfile.write(folder / "noise.wav", wave, 44100, "PCM_24")
    make_video(folder / "film.mp4", seconds=2.0, rate_hz=44100, layout="stereo", clicks_s=(0.3, 1.0, 1.35, 1.8))
    return {"sound": str(folder / "noise.wav"), "film": str(folder / "film.mp4")}
