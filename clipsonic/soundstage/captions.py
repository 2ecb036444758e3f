"""Captions of a scene in many phrasings, for a text encoder: what a person would say who sees one still.

Guarantee: `captions` is a pure function of its arguments; phrasings of the two splits never share a template, and
only nouns known from training are used, since a small text encoder cannot guess a noun that it never read.
"""

from __future__ import annotations

import numpy as np

from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.scene import Scene
from clipsonic.soundstage.silent_captions import PLACES

# Slots: {it} "a small glass bell" / "three bells", {bare} the same without article or number, {be} is/are,
# {pron} it/they, {do} "ringing", {pace} " slowly" or "", {place} " in a meadow" or "", {where} "in a meadow" or "here".
TRAIN_TEMPLATES = (
    "{it}",
    "{bare}, {do}{pace}",
    "{it} {do}{pace}",
    "{it} {do}{pace}{place}",
    "{it}{place}, {do}{pace}",
    "{where}, {it} {do}{pace}",
    "a picture of {it} {do}{pace}{place}",
    "a photo of {it}{place}",
    "a video of {it} {do}{pace}",
    "the sound of {it} {do}{pace}",
    "there {be} {it}{place}, {do}{pace}",
    "{it} {be} {do}{pace}{place}",
    "{it} that {be} {do}{pace}",
    "you can see {it} {do}{pace}{place}",
    "here {be} {it}, {do}{pace}",
    "{it} and how {pron} sound{s} when {do}{pace}",
)
HELDOUT_TEMPLATES = (
    "listen to {it} {do}{pace}{place}",
    "someone filmed {it} while {pron} {were} {do}{pace}{place}",
    "this scene shows {it}{place}; {pron} {be} {do}{pace}",
    "what we hear {where} comes from {it} {do}{pace}",
    "a short recording made{place} with {it} {do}{pace}",
    "{it} can be heard {do}{pace}{place}",
    "look, {pron_be} {it} {do}{pace}{place}",
    "close view of {it}{place}, {do}{pace}",
)
"""Phrasings reserved for judging: sentence structures that training never shows."""
RESTING_TRAIN_TEMPLATES = (
    "{silent_it}",
    "{silent_it}{place}",
    "{it} at rest",
    "{it}{place}, at rest",
    "a picture of {silent_it}{place}",
    "a photo of {it} at rest{place}",
    "there {be} {it}{place}, making no sound",
    "{it} {be} silent{place}",
    "{where}, {silent_it}",
)
RESTING_HELDOUT_TEMPLATES = (
    "this scene shows {it}{place}; {pron} {be} silent",
    "someone filmed {silent_it}{place}",
    "nothing is heard from {it}{place}",
    "look, {pron_be} {silent_it}{place}",
    "close view of {it}{place}, at rest",
    "{it} can be seen at rest{place}",
)

_SIZES = (
    ("tiny", "very small"),
    ("small", "little"),
    ("medium", "medium-sized"),
    ("big", "large"),
    ("huge", "very large"),
)
_PACES = (("slowly", "at a slow pace"), ("at a moderate pace", "steadily"), ("fast", "quickly"))
_NUMBERS = ("one", "two", "three", "four")


def captions(scene: Scene, split: str, *, resting: bool = False, count: int = 6) -> tuple[str, ...]:
    """`count` captions: the kind's noun always, other visible attributes in a random subset, split's own templates.

    Args:
        split: `train` or `heldout`, which phrasings to use.
        resting: the thing rests at the moment of the picture.

    Raises:
        UsageError: an unknown split.
    """
    if split not in ("train", "heldout"):
        raise UsageError(f"caption split {split!r} is unknown: choose train or heldout")
    rng = numpy_rng(scene.seed, "soundstage.captions", split, scene.index, *(["resting"] if resting else []))
    templates = _templates(split, resting)
    order = [int(place) for start in range(0, count, len(templates)) for place in rng.permutation(len(templates))]
    return tuple(_fill(templates[place], scene, rng) for place in order[:count])


def _templates(split: str, resting: bool) -> tuple[str, ...]:
    if resting:
        return RESTING_TRAIN_TEMPLATES if split == "train" else RESTING_HELDOUT_TEMPLATES
    return TRAIN_TEMPLATES if split == "train" else HELDOUT_TEMPLATES


def _fill(template: str, scene: Scene, rng: np.random.Generator) -> str:
    law, several = scene.law, scene.count > 1
    known = law.nouns[:-1] if len(law.nouns) > 1 else law.nouns
    noun = known[0] if rng.random() < 0.6 else str(rng.choice(known))
    bare = " ".join([*_adjectives(scene, rng), plural(noun) if several else noun])
    number = (_NUMBERS[scene.count - 1] if rng.random() < 0.8 else "some") if several else None
    where = PLACES[scene.background]
    has_place = rng.random() < 0.5
    pace = _pace(scene, rng) if rng.random() < 0.6 else ""
    return template.format(
        it=f"{number} {bare}" if number else with_article(bare),
        silent_it=f"{number} silent {bare}" if number else f"a silent {bare}",
        bare=bare,
        do=law.verb,
        be="are" if several else "is",
        were="were" if several else "was",
        pron="they" if several else "it",
        pron_be="there are" if several else "there is",
        s="" if several else "s",
        pace=f" {pace}" if pace else "",
        place=f" {where}" if has_place else "",
        where=where if has_place else "here",
    )


def _adjectives(scene: Scene, rng: np.random.Generator) -> list[str]:
    words = []
    if rng.random() < 0.6:
        words.append(str(rng.choice(_SIZES[min(int(scene.size * len(_SIZES)), len(_SIZES) - 1)], p=(0.75, 0.25))))
    if rng.random() < 0.6:
        words.append(scene.material)
    return words


def _pace(scene: Scene, rng: np.random.Generator) -> str:
    if scene.law.slow_hz is None:
        return ""
    return str(rng.choice(_PACES[min(int(scene.speed * len(_PACES)), len(_PACES) - 1)], p=(0.75, 0.25)))


def with_article(phrase: str) -> str:
    """`a` or `an` before the phrase, by its first letter (no known word is an exception)."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(noun: str) -> str:
    """The plural of a noun phrase: its head is the word before "in" or "of", else the last one."""
    for joint in (" in ", " of "):
        if joint in noun:
            head, rest = noun.split(joint, 1)
            return f"{plural(head)}{joint}{rest}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
