"""What may be asked: ranges, one prompt, sentences."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pydantic", reason="needs the packages of the page: pip install clipsonic[demo]")

from clipsonic.demo.limits import Limits
from clipsonic.demo.refusals import DemoError
from clipsonic.demo.wish import EditWish, TextCloser, Wish, checked, checked_edit, wish_of
from clipsonic.prior.closer_names import CHOICES


def test_a_wish_of_text_alone_has_the_defaults_of_the_model() -> None:
    wish = wish_of({"text": " a bell "})
    assert wish.text == "a bell"
    assert (wish.seed, wish.num_sounds, wish.steps, wish.guidance, wish.duration_s) == (0, 1, None, None, None)
    assert wish.loudness == -14.0


def test_values_of_a_form_are_taken_as_numbers() -> None:
    wish = wish_of({"text": "a bell", "seed": "7", "guidance": "1.5", "num_sounds": "2", "loudness": "off"})
    assert (wish.seed, wish.guidance, wish.num_sounds, wish.loudness) == (7, 1.5, 2, "off")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"text": "a", "volume": 3}, "'volume' is unknown"),
        ({"text": ""}, "text"),
        ({"text": "x" * 1001}, "text"),
        ({"text": 5}, "text 5"),
        ({"text": "\ud800"}, "text"),
        ({"text": "a", "steps": 0}, "steps 0"),
        ({"text": "a", "steps": 101}, "steps 101"),
        ({"text": "a", "steps": 2.5}, "steps 2.5"),
        ({"text": "a", "seed": -1}, "seed -1"),
        ({"text": "a", "seed": 2**31}, "seed 2147483648"),
        ({"text": "a", "num_sounds": 5}, "num_sounds 5"),
        ({"text": "a", "best_of": 9}, "best_of 9"),
        ({"text": "a", "best_of": 0}, "best_of 0"),
        ({"text": "a", "guidance": float("nan")}, "guidance nan"),
        ({"text": "a", "duration_s": float("inf")}, "duration_s inf"),
        ({"text": "a", "duration_s": 0}, "duration_s 0"),
        ({"text": "a", "closer": "magic"}, "closer 'magic'"),
        ({"text": "a", "loudness": 3}, "loudness 3"),
        ({"text": ["a"]}, "text ['a']"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_with_the_value(values: dict[str, Any], shown: str) -> None:
    with pytest.raises(DemoError) as caught:
        wish_of(values)
    assert shown in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ({}, None, "no prompt"),
        ({"text": "a"}, "image", "a text and a file"),
        ({"text": "a", "start_s": 1}, None, "start_s 1"),
        ({"start_s": 1}, "image", "start_s 1"),
        ({"text": "a", "duration_s": 4.2}, None, "at most 4.096"),
        ({"text": "a", "best_of": 2, "num_sounds": 3}, None, "best_of 2 is below num_sounds 3, which are kept"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], kind: str | None, shown: str) -> None:
    with pytest.raises(DemoError, match=shown):
        checked(wish_of(values), kind, Limits(4.096))


def test_one_prompt_of_any_kind_is_taken() -> None:
    checked(wish_of({"text": "a", "duration_s": 4.096}), None, Limits(4.096))
    checked(wish_of({"best_of": 2, "num_sounds": 2}), "image", Limits(4.096))
    checked(wish_of({"start_s": 2}), "video", Limits(4.096))


def test_the_closers_are_those_of_the_pipeline() -> None:
    assert set(TextCloser.__args__) == set(CHOICES)


def test_every_field_is_described_in_the_schema() -> None:
    assert all(field.get("description") for field in Wish.model_json_schema()["properties"].values())


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, "nothing is to be changed"),
        ({"text": "a bell"}, "nothing is to be changed"),
        ({"from_s": 1}, "both from_s and to_s"),
        ({"to_s": 1, "strength": 0.5}, "both from_s and to_s"),
        ({"from_s": 1, "to_s": 5.5}, "4.5 s would be made anew, and at most 4 are here"),
        ({"extend_s": 4.5}, "4.5 s would be made anew"),
        ({"strength": 0.5}, "9 s would be made anew"),
    ],
    ids=str,
)
def test_an_edit_of_nothing_or_of_too_much_is_refused(values: dict[str, Any], shown: str) -> None:
    with pytest.raises(DemoError) as caught:
        checked_edit(wish_of(values, EditWish), 9.0, Limits(4.0))
    assert shown in str(caught.value)


def test_a_part_of_a_long_sound_may_be_changed() -> None:
    for values in ({"from_s": 1, "to_s": 5}, {"extend_s": 4}, {"from_s": 0, "to_s": 1, "strength": 0.5}):
        checked_edit(wish_of(values, EditWish), 100.0, Limits(4.0))


@pytest.mark.parametrize("values", [{"strength": 0}, {"strength": 1.1}, {"from_s": -1}, {"duration_s": 1}], ids=str)
def test_an_edit_s_values_out_of_their_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DemoError, match=next(iter(values))):
        wish_of(values, EditWish)
