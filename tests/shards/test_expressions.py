"""Filters over facts: what they keep, and which mistakes are refused before anything is read."""

import pytest

from clipsonic.errors import UsageError
from clipsonic.shards.expressions import keep_where

FACTS = {"lufs": -23.5, "still_share": 0.25, "source": "videos/dogs/a.mp4", "shot_changes": 2, "caption": None}


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("lufs > -50 and still_share < 0.9", True),
        ("lufs > -20", False),
        ("'dogs' in source", True),
        ("shot_changes in (1, 2)", True),
        ("not 'dogs' in source or shot_changes == 0", False),
        ("abs(lufs + 23.5) < 1e-6 and max(shot_changes, 3) == 3", True),
        ("-30 < lufs < -10", True),
    ],
)
def test_what_holds_is_kept(expression, kept):
    assert keep_where(expression)(FACTS) is kept


@pytest.mark.parametrize("expression", ["lufs >", "", "import os", "lufs = 3", "a b"])
def test_what_is_no_expression_is_refused_at_once(expression):
    with pytest.raises(UsageError, match="filter"):
        keep_where(expression)(FACTS)


def test_an_unknown_fact_is_named_beside_the_known_ones():
    with pytest.raises(UsageError, match=r"no fact is called 'lufz'; there are caption, lufs, shot_changes"):
        keep_where("lufz > 3")(FACTS)


@pytest.mark.parametrize(
    "expression",
    ["lufs > 'loud'", "1 / 0 > 1", "len(3)", "source.__class__", "().__class__.__bases__", "open('x')", "9**9**9**9"],
)
def test_what_goes_wrong_or_reaches_further_is_refused(expression):
    with pytest.raises(UsageError, match="filter"):
        keep_where(expression)(FACTS)
