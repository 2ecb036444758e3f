"""The figures of a row of sounds are in decibels in every mel space."""

from __future__ import annotations

import numpy as np
import pytest

from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.evaluate.rows import Row
from clipsonic.evaluate.score import Scorer
from clipsonic.seeding import numpy_rng


@pytest.mark.parametrize("name", MEL_SPACES)
def test_sounds_of_half_the_amplitude_differ_by_6_02_db(name: str) -> None:
    true = numpy_rng(0, "score").normal(size=(3, 20000)).astype(np.float32) * np.float32(0.1)
    scorer = Scorer(true, MEL_SPACES[name], None, [0], seed=0)
    figures = scorer.score(Row("made", "made", "", 0.5 * true)).figures
    # an offset of the power is 60 dB below this noise
    assert figures["mel_difference_db"]["value"] == pytest.approx(20.0 * np.log10(2.0), abs=0.01)
