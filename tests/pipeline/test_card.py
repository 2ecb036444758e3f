"""A card says what is known and no more."""

from __future__ import annotations

from pathlib import Path

from clipsonic.evaluate.command import put_into_card
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.card import NOT_MEASURED, default_card, with_tables, with_training

TABLES = "| prompt | named |\n|---|---|\n| picture | 50 % |\n\n| prompt | pitch off |\n|---|---|\n| picture | 2 |\n"


def test_a_card_tells_geometry_space_and_training_and_what_nobody_said() -> None:
    training = {
        "steps": 7,
        "minutes": 2.0,
        "samples_per_s": 3.5,
        "val_loss": 0.25,
        "corpus": {"used": 40, "validation": 2},
    }
    card = default_card(ClipSonicPipeline.from_pretrained("tiny"), training)
    assert card.startswith("---\nlibrary_name: clipsonic\n")
    for fact in (
        "4.096 s of mono sound at 16000 Hz",
        "soundstage-clip-v1/",
        "7 steps in 2.0 minutes",
        "40 records trained on",
    ):
        assert fact in card
    assert "validation loss: 0.2500" in card
    assert NOT_MEASURED in card
    assert "Not said yet" in card.split("## Licence")[1]


def test_tables_take_the_place_of_the_word_that_there_are_none_and_then_of_each_other() -> None:
    card = default_card(ClipSonicPipeline.from_pretrained("tiny"))
    once = with_tables(card, TABLES)
    assert NOT_MEASURED not in once
    assert once.count("| prompt |") == 2
    again = with_tables(once, TABLES.replace("50 %", "60 %"))
    assert "60 %" in again
    assert "50 %" not in again
    assert again.replace("60 %", "50 %") == once
    assert with_tables("# Mine\n", TABLES) == f"# Mine\n\n## Measured\n\n{TABLES}"


def test_what_training_tells_takes_the_place_of_nothing_and_a_card_of_ones_own_stays() -> None:
    card = default_card(ClipSonicPipeline.from_pretrained("tiny"))
    told = with_training(card, {"steps": 7, "minutes": 2.0, "samples_per_s": 3.5, "init": "tiny"})
    assert told == default_card(
        ClipSonicPipeline.from_pretrained("tiny"), {"steps": 7, "minutes": 2.0, "samples_per_s": 3.5, "init": "tiny"}
    )
    assert "begun from the weights of tiny" in told
    assert with_training("# Mine\n", {}) == "# Mine\n"


def test_tables_are_put_into_the_card_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(f"# Mine\n\n{NOT_MEASURED}\n", encoding="utf-8")
    put_into_card(tmp_path, TABLES)
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == f"# Mine\n\n{TABLES}"
