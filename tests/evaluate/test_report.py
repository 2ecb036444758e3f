"""The page and the printed table say what report.json says, and the page needs nothing from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsonic.evaluate.columns import columns_of
from clipsonic.evaluate.report import (
    Evaluation,
    Example,
    Sound,
    render_page,
    table_markdown,
    table_text,
    write_report,
)
from clipsonic.specs import MelSpec

RATE_HZ = 16000


def share(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def numbers(corpus_kind: str = "soundstage", **changes: Any) -> dict[str, Any]:
    main = (
        {"accuracy": share(0.637)} if corpus_kind == "soundstage" else {"recall_at_1": share(0.41), "mean_rank": 3.25}
    )
    level = {"value": 7.31, "low": 6.9, "high": 7.7}
    laws = {"pitch_semitones": {"value": 1.25, "low": 1.0, "high": 2.0}} if corpus_kind == "soundstage" else {}
    distances = {name: {"value": 1.0, "low": 0.5, "high": 1.5} for name in ("frechet", "kernel", "posterior_kl")}
    figures = {
        **(distances if corpus_kind == "soundstage" else {}),
        "num_sounds": 60,
        **laws,
        **main,
        "mel_difference_db": level,
        "silent_share": 0.125,
        "clipped_share": 0.0,
        "seconds_per_sound": 0.42,
    }
    settings = {
        "model": "P",
        "corpus": "C",
        "command": "clipsonic evaluate --model P",
        "seed": 3,
        "steps": 20,
        "guidance": 3.0,
    }
    return {
        **settings,
        "title": "A <title>",
        "corpus_kind": corpus_kind,
        "num_items": 200,
        "left_out": {"videos without a law": 4},
        "versions": {"python": "3.11"},
        "sentences": ["The judge names 63.7 %."],
        "skipped": [{"label": "text, prior", "reason": "the pipeline has no text prior"}],
        "confused": [("bee", "violin", 0.25)],
        "rows": [
            {"name": "image", "label": "picture", "about": "one frame", "figures": figures},
            {"name": "chance", "label": "chance", "about": "guessing", "figures": {}},
        ],
        **changes,
    }


def example(title: str = "bell") -> Example:
    wave = (0.1 * np.sin(np.arange(2 * RATE_HZ) * 0.2)).astype(np.float32)
    sounds = (
        Sound("true sound", wave, "itself", "bell (98%)", True),
        Sound("picture", wave, "one frame", "dog (51%)", False),
    )
    return Example(title, "v.mp4", b"\xff\xd8not really a jpeg", sounds)


def result(**changes: Any) -> Evaluation:
    return Evaluation(numbers(**changes), (example("<script>"),), MelSpec())


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(result())


def test_the_report_holds_the_numbers_and_the_page_shows_them(tmp_path: Path) -> None:
    paths = write_report(tmp_path / "new", result())
    assert json.loads(Path(paths["report"]).read_text())["rows"][0]["figures"]["accuracy"]["value"] == 0.637
    page = Path(paths["page"]).read_text()
    for text in (
        "63.7%",
        "59% to 69%",
        "7.3 (6.9 to 7.7)",
        "12.5%",
        "0.42",
        "bell (98%)",
        "clipsonic evaluate --model P",
    ):
        assert text in page, text
    assert "bee called violin 25 %" in page
    assert "the pipeline has no text prior" in page
    assert "videos without a law: 4" in page
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["index.html", "report.json", "table.md"]


def test_the_printed_table_has_a_line_for_every_row_and_a_dash_where_there_is_no_figure() -> None:
    rows = [*numbers()["rows"], {"name": "guess", "label": "guess", "about": "", "figures": {"accuracy": share(0.1)}}]
    lines = table_text(numbers(rows=rows)).splitlines()
    assert lines[0].split("  ")[-1] == "s per sound"
    assert "63.7% (59% to 69%)" in lines[1]
    assert lines[2].split() == ["guess", "10.0%", "(5%", "to", "15%)"] + ["–"] * 8
    assert "skipped: text, prior (the pipeline has no text prior)" in lines


def test_a_table_leaves_out_rows_that_have_none_of_its_figures() -> None:
    heard, laws = table_text(numbers()).split("\n\n")
    assert "chance" not in heard + laws
    assert [line.split()[0] for line in laws.splitlines()[:2]] == ["pitch", "picture"]


def test_the_laws_stand_in_a_table_of_their_own() -> None:
    first, second = table_markdown(numbers())
    assert "pitch off" not in first
    assert second.splitlines()[0] == "| prompt | pitch off, semitones |"
    assert "| picture | 1.2 (1.0 to 2.0) |" in second
    assert len(table_markdown(numbers(corpus_kind="videos"))) == 1


def test_the_markdown_table_has_the_cells_of_the_printed_one() -> None:
    head, rule, *rows = table_markdown(numbers())[0].splitlines()
    assert head.startswith("| prompt | named rightly | Fréchet | KAD | KL | sounds |")
    assert rule == "|" + "---|" * 10
    assert "| 63.7% (59% to 69%) |" in rows[0]
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1


def test_the_judges_own_accuracy_stands_beside_its_figures() -> None:
    true = {"name": "true", "label": "true sound", "about": "", "figures": {"accuracy": share(0.95)}}
    with_true = numbers(rows=[true, *numbers()["rows"]])
    assert "named rightly (judge itself: 95.0%)" in table_text(with_true).splitlines()[0]
    assert "named rightly (judge itself: 95.0%)" in render_page(Evaluation(with_true, (), MelSpec()))


def test_a_share_that_is_known_and_not_measured_has_no_interval() -> None:
    known = {"value": 0.04, "low": 0.04, "high": 0.04}
    rows = [{"name": "chance", "label": "chance", "about": "", "figures": {"accuracy": known}}]
    assert table_text(numbers(rows=rows)).splitlines()[1].split() == ["chance", "4.0%"]


def test_a_column_that_no_row_has_a_figure_for_is_left_out() -> None:
    assert "Fréchet" in table_text(numbers())
    assert "Fréchet" not in table_text(numbers(corpus_kind="videos"))


def test_a_report_of_real_videos_has_no_soundstage_figure() -> None:
    page = render_page(result(corpus_kind="videos", confused=[]))
    assert "named rightly" not in page
    assert "41.0%" in page
    assert "3.2" in page
    assert [column.key for column in columns_of(numbers("videos"))][:2] == ["recall_at_1", "mean_rank"]


def test_every_figure_of_the_table_is_explained(page: str) -> None:
    for column in columns_of(numbers()):
        assert f"<dt>{column.heading}</dt>" in page
        assert len(column.meaning) > 40


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    places = re.findall(r"""(?:src|href)=["']([^"']{0,30})""", page)
    assert len(places) == 5
    assert all(place.startswith("data:") for place in places)
    assert "@import" not in page
    assert "url(" not in page


def test_words_from_outside_are_escaped(page: str) -> None:
    assert "<script>" not in page
    assert "A &lt;title&gt;" in page


def test_a_page_that_would_grow_too_large_leaves_out_the_last_examples_and_says_so() -> None:
    many = Evaluation(numbers(), tuple(example(f"thing {place}") for place in range(3)), MelSpec())
    whole = render_page(many)
    limit = len(whole) // 2 + 100_000
    page = render_page(many, max_bytes=limit)
    assert len(page) <= limit
    assert "more examples were left out" in page
    assert "thing 0" in page
    assert "thing 2" not in page
