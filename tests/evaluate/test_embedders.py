"""Audio embedders: a user's own callable is found by its name, checked, and decides who is nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsonic.errors import UsageError
from clipsonic.evaluate.embedders import cosine_distances, load_embedder
from clipsonic.evaluate.rows import Row
from clipsonic.evaluate.score import Scorer
from clipsonic.specs import MelSpec

RATE_HZ = 16000
MINE = """
import numpy as np

def spectrum(waves, sample_rate_hz):
    return np.abs(np.fft.rfft(waves))[:, :4000].reshape(len(waves), 50, 80).sum(axis=2)

def flat(waves, sample_rate_hz):
    return waves.mean()

nothing = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_embedders.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


def tones(*pitches_hz: float) -> np.ndarray:
    times_s = np.arange(2 * RATE_HZ) / RATE_HZ
    return np.stack([0.1 * np.sin(2 * np.pi * pitch_hz * times_s) for pitch_hz in pitches_hz]).astype(np.float32)


def test_the_cosine_distance_is_0_for_parallel_1_for_orthogonal_and_2_for_opposite_vectors() -> None:
    true = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(cosine_distances(np.array([[1.0, 0.0]]), true), [[0.0, 1.0, 2.0]], atol=1e-12)


@pytest.mark.usefixtures("mine")
def test_an_embedder_of_ones_own_decides_who_is_nearest_and_gives_distances() -> None:
    true = tones(200.0, 400.0, 600.0, 800.0, 1000.0)
    scorer = Scorer(true, MelSpec(), None, [0, 1], seed=0, embed=load_embedder("my_embedders:spectrum"))
    same = scorer.score(Row("image", "picture", "", true)).figures
    moved = scorer.score(Row("image", "picture", "", true[[1, 0, 2, 3, 4]])).figures
    assert same["recall_at_1"]["hits"] == 5
    assert same["nearest_to_own"] == {"count": 2, "of": 2}
    assert moved["recall_at_1"]["hits"] == 3
    assert same["frechet"]["value"] == pytest.approx(0.0, abs=1.0)  # of squared features up to 10^7


def test_the_judges_features_serve_sounds_at_any_rate() -> None:
    embed = load_embedder("judge")
    assert embed is not None
    assert embed(np.repeat(tones(300.0), 2, axis=1), 2 * RATE_HZ).shape == embed(tones(300.0), RATE_HZ).shape


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [("clap", "cannot be imported"), ("my_embedders:none", "cannot be imported"), ("my_embedders:nothing", "is a int")],
)
def test_a_name_that_is_no_callable_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"--audio-embedder {name} {sentence}"):
        load_embedder(name)


@pytest.mark.usefixtures("mine")
def test_features_of_a_wrong_shape_are_refused() -> None:
    embed = load_embedder("my_embedders:flat")
    assert embed is not None
    with pytest.raises(UsageError, match=r"gave \(\) for 1 sounds"):
        embed(tones(300.0), RATE_HZ)
