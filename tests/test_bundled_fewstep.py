"""The bundled few-step adapter belongs to the bundled weights and is as good as the card says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clipsonic.cli import main
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.resources import bundled_path

SEED = 770_079
NUM_SCENES = 80


@pytest.fixture(scope="module")
def tiny() -> ClipSonicPipeline:
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    if pipeline._few_steps_folder() is None:
        pytest.skip("priors/tiny has no few-step adapter yet: scripts/bundle_fewstep.py puts one there")
    return pipeline


def card_shares() -> dict[int, float]:
    """The judge's shares that the card prints, by calls of the network."""
    card = bundled_path("priors", "tiny", "card.md").read_text(encoding="utf-8")
    return {int(steps): float(share) / 100 for steps, share in re.findall(r"(\d): ([\d.]+)% named rightly", card)}


def test_the_bundled_adapter_fits_the_bundled_weights_and_the_card_says_how_good_it_is(tiny: ClipSonicPipeline) -> None:
    for steps in (1, 2, 3, 4):
        tiny.set_few_steps(steps)
        assert tiny.default_steps == steps
    shares = card_shares()
    assert list(shares) == [1, 2, 3, 4]
    assert sorted(shares.values()) == list(shares.values())  # more calls are worth what they cost


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_on_scenes_that_no_card_used_the_figures_of_few_steps_hold(tmp_path: Path) -> None:
    videos, corpus = tmp_path / "videos", tmp_path / "corpus"
    words: list[list[object]] = [
        ["soundstage", "--out", videos, "--num-videos", 120, "--seed", SEED, "--split", "heldout"],
        ["ingest", videos, "--out", corpus, "--seconds", 4.096],
    ]
    judged = ["evaluate", "--model", "tiny", "--corpus", corpus, "--num-scenes", NUM_SCENES, "--prompts", "image",
              "--no-laws", "--num-players", 0]  # fmt: skip
    words += [[*judged, "--few-steps", steps, "--out", tmp_path / str(steps)] for steps in (1, 4)]
    for command in words:
        assert main([str(word) for word in command]) == 0
    for steps in (1, 4):
        rows = json.loads((tmp_path / str(steps) / "report.json").read_text())["rows"]
        value = next(row["figures"]["accuracy"]["value"] for row in rows if row["name"] == "image")
        share = card_shares()[steps]
        deviation = (share * (1 - share) / NUM_SCENES + share * (1 - share) / 100) ** 0.5  # the card's has 100 at least
        print(f"{steps} calls: {value:.3f}, card {share:.3f}")
        assert value >= share - 3 * deviation
