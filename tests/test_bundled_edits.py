"""What the bundled pipeline fills in of scenes it has never heard is nearer to the truth than AudioLDM's way of it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from clipsonic.evaluate.edits.run import evaluate_edits
from clipsonic.evaluate.edits.tasks import frames, irregular
from clipsonic.evaluate.rows import Making
from clipsonic.evaluate.run import Options
from clipsonic.pipeline import ClipSonicPipeline

ROOT = Path(__file__).resolve().parents[1]
CHECK = runpy.run_path(str(ROOT / "scripts" / "check_bundled.py"))
NUM_VIDEOS = 26
MOST_DB = {"frames-50": 7.9, "irregular-thin": 4.3}
"""What is promised; over 320 other scenes 6.3 and 4.1 dB with all levels, and less with those of edits. A gap's error
deviates by 4 dB from scene to scene, so that whether it keeps its promise cannot be seen in so few."""


@pytest.mark.slow
def test_frames_and_strokes_are_filled_better_than_by_known_cells_that_are_noised_anew(tmp_path: Path) -> None:
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    options = Options(CHECK["make_corpus"](tmp_path, NUM_VIDEOS), making=Making(num_others=1), num_players=0)
    numbers = evaluate_edits(pipeline, options, (frames(0.5), irregular("thin"))).numbers
    rows = {row["name"]: row["figures"] for row in numbers["rows"]}
    assert numbers["num_items"] >= 20
    for task, most_db in MOST_DB.items():
        assert rows[f"{task}/picture"]["below_audioldm_db"]["low"] > 0.0, task
        assert rows[f"{task}/picture"]["error_db"]["value"] < most_db, task
        assert rows[f"{task}/picture"]["drift_db"]["value"] < 1e-4 < 1.0 < rows[f"{task}/audioldm"]["drift_db"]["value"]
