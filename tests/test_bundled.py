"""The bundled pipeline is as small as promised and as good as its card says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from clipsonic.cli import main
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.resources import bundled_path

SEED = 770_078
NUM_SCENES = 80


def test_pipeline_and_judge_fit_into_24_mb_and_no_file_is_above_15_mib() -> None:
    files = [path for name in ("tiny", "judge") for path in bundled_path("priors", name).rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) <= 24e6
    assert max(sizes) <= 15 * 2**20


def card_share(row: str) -> float:
    """The judge's share that the card prints for this row."""
    card = bundled_path("priors", "tiny", "card.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| {re.escape(row)} \| ([\d.]+)%", card, flags=re.MULTILINE)
    assert found is not None
    return float(found[1]) / 100


@pytest.mark.slow
def test_on_scenes_that_no_card_used_the_figures_of_the_card_hold(tmp_path: Path) -> None:
    videos, corpus = tmp_path / "videos", tmp_path / "corpus"
    words = [
        ["soundstage", "--out", videos, "--num-videos", 120, "--seed", SEED, "--split", "heldout"],
        ["ingest", videos, "--out", corpus, "--seconds", 4.096],
        [
            "evaluate",
            "--model",
            "tiny",
            "--corpus",
            corpus,
            "--out",
            tmp_path,
            "--num-scenes",
            NUM_SCENES,
            "--prompts",
            "image,text",
            "--closers",
            "prior",
            "--num-players",
            1,
        ],
    ]
    for command in words:
        assert main([str(word) for word in command]) == 0
    rows = {row["label"]: row["figures"] for row in json.loads((tmp_path / "report.json").read_text())["rows"]}
    assert rows["true sound"]["accuracy"]["value"] >= 0.95
    assert rows["shuffled prompts"]["accuracy"]["value"] <= 0.15
    for row in ("picture", "text (prior)"):
        share, count = card_share(row), rows[row]["num_sounds"]
        deviation = (share * (1 - share) / count + share * (1 - share) / 60) ** 0.5  # the card's rows have 60 at least
        print(f"{row}: {rows[row]['accuracy']['value']:.3f}, card {share:.3f}, {count} sounds")
        assert rows[row]["accuracy"]["value"] >= share - 3 * deviation


def test_only_the_parts_that_a_kind_of_prompt_needs_are_loaded() -> None:
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.load_parts("embeds")
    assert (pipeline._clip, pipeline._prior) == (None, None)
    pipeline.load_parts("image")
    assert pipeline._clip is not None
    assert pipeline._prior is None
    pipeline.load_parts("text")
    assert pipeline._prior is not None
