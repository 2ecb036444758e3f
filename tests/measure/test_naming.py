"""What a card says that a judge names rightly is what it names rightly."""

from __future__ import annotations

import numpy as np
import pytest

from clipsonic.measure.judge import load_judge
from clipsonic.measure.naming import confusion_table, naming_figures, naming_tables
from clipsonic.resources import bundled_path


def test_a_table_counts_every_piece_once_and_the_bundled_judge_is_nearly_always_right() -> None:
    tables = naming_tables(load_judge(), num_scenes=25)
    assert list(tables) == [("heldout", 4.096), ("heldout", 2.56), ("any", 4.096), ("any", 2.56)]
    for table in tables.values():
        assert (table.sum(axis=1) <= 1).all()
        assert 20 <= table.sum() <= 25
        assert table.trace() >= table.sum() - 1


def test_figures_are_those_of_the_tables() -> None:
    table = np.array([[9, 1], [0, 10]])
    padded = np.zeros((25, 25), dtype=np.int64)
    padded[:2, :2] = table
    said = naming_figures({("any", 2.56): padded})
    assert "| any | 2.56 s | 20 | 95.00% | 76.4% to 99.1% |" in said  # Wilson's, by hand
    assert "10.0%" in said
    assert confusion_table(table, ["cat", "dog"]).splitlines()[2:] == ["| **cat** | 9 | 1 |", "| **dog** |  | 10 |"]


@pytest.mark.slow
def test_the_card_of_the_bundled_judge_says_what_it_names_of_2000_scenes() -> None:
    assert naming_figures(naming_tables(load_judge())) in (bundled_path("priors", "judge") / "card.md").read_text()
