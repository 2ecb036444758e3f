"""Captions say what can be seen, in phrasings that the two splits do not share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipsonic.errors import UsageError
from clipsonic.soundstage.captions import (
    HELDOUT_TEMPLATES,
    RESTING_HELDOUT_TEMPLATES,
    RESTING_TRAIN_TEMPLATES,
    TRAIN_TEMPLATES,
    captions,
    plural,
    with_article,
)
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import draw_scene

SCENES = [draw_scene(4, index, split="any") for index in range(150)]


def test_training_and_judging_share_no_template() -> None:
    assert len(set(TRAIN_TEMPLATES)) >= 12
    assert len(set(HELDOUT_TEMPLATES)) >= 6
    assert not set(TRAIN_TEMPLATES) & set(HELDOUT_TEMPLATES)
    assert not set(RESTING_TRAIN_TEMPLATES) & set(RESTING_HELDOUT_TEMPLATES)


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("resting", [False, True])
def test_every_caption_names_the_thing_by_a_noun_known_from_training(split: str, resting: bool) -> None:
    for scene in SCENES:
        nouns = [plural(noun) if scene.count > 1 else noun for noun in scene.law.nouns[:-1]]
        for caption in captions(scene, split, resting=resting):
            assert any(noun in caption for noun in nouns), caption
            assert caption == " ".join(caption.split())
            assert "{" not in caption
            assert caption.isascii()


def test_captions_are_a_pure_function_and_as_many_as_asked_for() -> None:
    assert captions(SCENES[0], "train") == captions(SCENES[0], "train")
    assert len(captions(SCENES[0], "train")) == 6
    assert len(captions(SCENES[0], "heldout", count=40)) == 40
    assert len(set(captions(SCENES[0], "train"))) > 3


def test_words_follow_the_attributes() -> None:
    scene = draw_scene(1, 2, split="any", kind="bell")
    small = " ".join(captions(replace(scene, size=0.0, count=3, material="glass", speed=0.99), "train", count=60))
    large = " ".join(captions(replace(scene, size=1.0, count=1, material="bronze", speed=0.0), "train", count=60))
    for word in ("tiny", "glass", "three", "fast"):
        assert word in small
        assert word not in large
    for word in ("huge", "bronze", "slowly"):
        assert word in large
        assert word not in small


def test_things_that_have_no_speed_are_given_none() -> None:
    for kind in (name for name, law in KINDS.items() if law.slow_hz is None):
        words = " ".join(captions(draw_scene(1, 2, split="any", kind=kind), "train", count=60))
        assert not any(word in words for word in ("slow", "fast", "quickly", "steadily", "moderate"))


def test_a_resting_thing_is_not_said_to_sound() -> None:
    for scene in SCENES:
        if scene.law.verb.split()[-1] in " ".join(scene.law.nouns):
            continue  # a dripping tap is called so even when it rests
        for split in ("train", "heldout"):
            assert not any(scene.law.verb in caption for caption in captions(scene, split, resting=True))


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("bell", "bells"),
        ("finch", "finches"),
        ("puppy", "puppies"),
        ("row of bars", "rows of bars"),
        ("tree in the wind", "trees in the wind"),
        ("tom-tom", "tom-toms"),
    ],
)
def test_plurals_are_right(noun: str, many: str) -> None:
    assert plural(noun) == many


def test_articles_are_right() -> None:
    assert with_article("oak clock") == "an oak clock"
    assert with_article("tiny oak clock") == "a tiny oak clock"


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UsageError, match="choose train or heldout"):
        captions(SCENES[0], "test")
