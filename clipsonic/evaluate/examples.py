"""Which items can be heard on the page, and what is said of them.

Guarantee: examples are drawn by the seed alone, never by how good they sound: one per kind (or per video) in random
order, then the next ones.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from clipsonic.evaluate.material import Material
from clipsonic.evaluate.plan import Item
from clipsonic.evaluate.report import Example, Sound
from clipsonic.evaluate.score import Scored
from clipsonic.measure.judge import Judge
from clipsonic.seeding import numpy_rng

Judged = tuple[np.ndarray, Judge]
"""The true class of each item, and who names them."""


def pick_places(items: tuple[Item, ...], count: int, seed: int) -> list[int]:
    """At most `count` items in random order, the first of every kind (or video) before the second ones."""
    seen: Counter[str] = Counter()
    rounds = {}
    for place in numpy_rng(seed, "evaluate.examples").permutation(len(items)).tolist():
        group = items[place].kind or items[place].source
        rounds[place] = seen[group]
        seen[group] += 1
    return sorted(rounds, key=lambda place: (rounds[place], not items[place].is_first))[:count]


def make_example(material: Material, scored: list[Scored], judged: Judged | None, place: int) -> Example:
    """The card of an item: the true sound and what was made of every kind of prompt."""
    item = material.items[place]
    name = PurePosixPath(item.source).name
    return Example(
        title=item.kind or name,
        subtitle=f"{name}, from {item.video_start_s:.1f} s" if item.kind else f"from {item.video_start_s:.1f} s",
        thumbnail=material.thumbnails[place],
        sounds=tuple(_sound(one, material, judged, place) for one in scored if one.row.heard),
    )


def describe_example(material: Material, scored: list[Scored], judged: Judged | None, place: int) -> dict[str, Any]:
    """The same without its sounds, as plain values; `file` is the path inside the folder that was ingested."""
    item = material.items[place]
    names = judged[1].config.kinds if judged else ()
    return {
        "title": item.kind or PurePosixPath(item.source).name,
        "source": item.source,
        "file": "/".join(PurePosixPath(item.source).parts[1:]) or item.source,
        "start_s": item.video_start_s,
        "caption": material.captions[place],
        "verdicts": {
            one.row.name: names[one.verdicts.named[place]] for one in scored if one.row.heard and one.verdicts
        },
    }


def _sound(one: Scored, material: Material, judged: Judged | None, place: int) -> Sound:
    assert one.row.waves is not None
    prompt = f"“{material.captions[place]}”" if one.row.name.startswith("text") else one.row.about
    verdict, is_right = "", None
    if one.verdicts is not None and judged is not None:
        named = int(one.verdicts.named[place])
        verdict = f"{judged[1].config.kinds[named]} ({one.verdicts.probabilities[place, named]:.0%})"
        is_right = named == int(judged[0][place])
    return Sound(one.row.label, one.row.waves[place], prompt, verdict, is_right)
