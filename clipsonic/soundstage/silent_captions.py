"""Captions of silent things: what each is called, in phrasings for training and others for judging.

Guarantee: a pure function of its arguments; the two splits share no template, and a colour held out for a thing is
never named in training.
"""

from __future__ import annotations

import numpy as np

NOUNS: dict[str, tuple[str, ...]] = {
    "house": ("house", "cottage"),
    "car": ("car", "automobile"),
    "cup": ("cup", "mug"),
    "chair": ("chair",),
    "ball": ("ball", "beach ball"),
    "fish": ("fish",),
    "boat": ("boat", "sailing boat"),
    "book": ("book", "open book"),
    "star": ("star",),
    "cat": ("cat", "kitten"),
    "flower": ("flower", "blossom"),
    "apple": ("apple",),
    "ladder": ("ladder",),
    "hat": ("hat", "top hat"),
    "umbrella": ("umbrella", "parasol"),
    "key": ("key",),
    "mushroom": ("mushroom", "toadstool"),
    "lamp": ("lamp", "table lamp"),
}
"""The words for each silent thing; both splits use them all."""

PLACES: dict[str, str] = {
    "room": "in a room",
    "meadow": "in a meadow",
    "street": "on a street",
    "night": "at night",
    "wall": "in front of a wall",
    "snow": "in the snow",
    "sea": "by the sea",
    "desert": "in the desert",
}

TEMPLATES: dict[str, tuple[str, ...]] = {
    "train": (
        "{it}",
        "{it}{place}",
        "a picture of {it}",
        "a picture of {it}{place}",
        "a drawing of {it}",
        "a photo of {it}{place}",
        "{it}, making no sound",
        "{it} that {be} silent",
        "there {be} {it}{place}",
        "you can see {it}{place}",
        "{it}, nothing moves",
        "here {be} {it}{place}",
    ),
    "heldout": (
        "this scene shows {it}{place}",
        "someone drew {it}{place}",
        "look, there {be} {it}{place}",
        "nothing is heard from {it}",
        "close view of {it}{place}",
        "a quiet picture with {it}{place}",
    ),
}

_SIZES = (
    ("tiny", "very small"),
    ("small", "little"),
    ("medium", "medium-sized"),
    ("big", "large"),
    ("huge", "very large"),
)
_NUMBERS = ("a", "two", "three", "four")
_SAME_PLURAL = ("fish",)


def silent_captions(
    thing: str,
    color: str,
    size: float,
    number: int,
    background: str | None,
    split: str,
    rng: np.random.Generator,
    count: int = 6,
) -> tuple[str, ...]:
    """`count` captions of a picture with `number` of these things.

    Args:
        size: 0 small .. 1 large.
        background: where they stand, None where nothing is to be said of it.
        split: `train` or `heldout`, which phrasings to use.
    """
    templates = TEMPLATES[split]
    order = [int(place) for start in range(0, count, len(templates)) for place in rng.permutation(len(templates))]
    return tuple(
        templates[place].format(
            it=_phrase(thing, color, size, number, rng),
            be="are" if number > 1 else "is",
            place=f" {PLACES[background]}" if background is not None and rng.random() < 0.6 else "",
        )
        for place in order[:count]
    )


def _phrase(thing: str, color: str, size: float, number: int, rng: np.random.Generator) -> str:
    words = [str(rng.choice(_SIZES[min(int(size * 5), 4)], p=(0.75, 0.25)))] if rng.random() < 0.5 else []
    words += [color] if rng.random() < 0.8 else []
    noun = NOUNS[thing][0] if rng.random() < 0.65 else str(rng.choice(NOUNS[thing]))
    phrase = " ".join([*words, noun if number == 1 else _plural(noun)])
    article = "an" if number == 1 and phrase[0] in "aeiou" else _NUMBERS[number - 1]
    return f"{article} {phrase}"


def _plural(noun: str) -> str:
    return noun if noun in _SAME_PLURAL else f"{noun}s"
