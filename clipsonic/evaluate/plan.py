"""What will be judged: which segment of which record, prompted by which of its frames and by which caption.

Guarantee: a pure function of the corpus's facts, the scenes' laws and the seed; one segment per source video of a
soundstage corpus, one per record of any other. Nothing is decoded here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipsonic.seeding import numpy_rng
from clipsonic.shards.selection import SHORT_BY, is_silent
from clipsonic.soundstage.scene import Scene, sounds_enough
from clipsonic.specs import CorpusSpec

NUM_VIDEO_FRAMES = 4


@dataclass(frozen=True)
class Law:
    """What is known of a rendered video and was never shown to a model: its scene and the captions kept for judging."""

    scene: Scene
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """One thing to judge.

    Args:
        key: of its record.
        source: the video it was cut from.
        start_s: start of the segment inside the record.
        video_start_s: start of the segment inside the video.
        image: index of the record's frame that is the picture prompt.
        frames: indexes of the record's NUM_VIDEO_FRAMES frames that are the video prompt, in order; where the record
            keeps fewer per segment, some stand twice.
        times_s: times of `frames` in the segment.
        is_first: whether it opens its video.
        kind: what sounds, if the law is known.
        caption: the text prompt, if there is one.
    """

    key: str
    source: str
    start_s: float
    video_start_s: float
    image: int
    frames: tuple[int, ...]
    times_s: tuple[float, ...]
    is_first: bool
    kind: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Plan:
    """The items, and how many candidates were left out, by reason."""

    items: tuple[Item, ...]
    left_out: dict[str, int]


def plan_scenes(
    facts: Sequence[dict[str, Any]], laws: Mapping[str, Law], seconds: float, *, num_scenes: int, seed: int
) -> Plan:
    """One segment of each rendered video (`laws` by source), at most `num_scenes` of them.

    Their order is drawn by the seed, so the first n are a fair draw of all. A segment starts where one of the
    record's frame bins starts, and then the frames inside it lie at bin centres.
    """
    candidates: dict[str, list[Item]] = {}
    left_out: Counter[str] = Counter()
    for record in facts:
        law = laws.get(record["source"])
        if law is None:
            left_out["records without a law"] += 1
            continue
        candidates.setdefault(record["source"], []).extend(_segments_of(record, law, seconds))
    items = [_draw(found, laws[source], seed) for source, found in candidates.items() if found]
    left_out["videos without a segment of the model's length that sounds"] += len(candidates) - len(items)
    kept = _sample(items, num_scenes, seed)
    left_out["videos beyond --num-scenes"] += len(items) - len(kept)
    return Plan(tuple(kept), {reason: count for reason, count in left_out.items() if count})


def plan_videos(facts: Sequence[dict[str, Any]], seconds: float, *, num_scenes: int, seed: int) -> Plan:
    """The start of every record that has sound; beyond `num_scenes`, first segments stay and the rest is drawn."""
    firsts = _first_starts(facts)
    left_out: Counter[str] = Counter()
    items = []
    for record in facts:
        if _length_s(record) < (1.0 - SHORT_BY) * seconds:
            left_out["records shorter than the model's segment"] += 1
        elif is_silent(record):
            left_out["silent records"] += 1
        elif (item := _item(record, 0.0, seconds, is_first=record["start_s"] == firsts[record["source"]])) is None:
            left_out["records without a frame in the segment"] += 1
        else:
            items.append(item)
    openers = [item for item in items if item.is_first][:num_scenes]
    others = _sample([item for item in items if not item.is_first], num_scenes - len(openers), seed)
    chosen = {item.key for item in [*openers, *others]}
    left_out["records beyond --num-scenes"] += len(items) - len(chosen)
    kept = tuple(item for item in items if item.key in chosen)
    return Plan(kept, {reason: count for reason, count in left_out.items() if count})


def _segments_of(record: Mapping[str, Any], law: Law, seconds: float) -> list[Item]:
    """The segments of this record in which the thing sounds and can be seen doing so."""
    bin_s = record["seconds"] / len(record["frame_times_s"])
    spare_s = _length_s(record) - (1.0 - SHORT_BY) * seconds
    found = []
    for place in range(int(spare_s / bin_s) + 1 if spare_s >= 0 else 0):
        start_s = place * bin_s
        if sounds_enough(law.scene, record["start_s"] + start_s, seconds):
            item = _item(record, start_s, seconds, is_first=record["start_s"] == 0.0, scene=law.scene)
            found.extend([item] if item else [])
    return found


def _item(
    record: Mapping[str, Any], start_s: float, seconds: float, *, is_first: bool, scene: Scene | None = None
) -> Item | None:
    """The item of this segment, or None where no kept frame can prompt it.

    The picture is the frame nearest to the middle (at which the thing is active, if that is known); the video is, per
    bin of the segment, the frame nearest to the bin's centre.
    """
    times_s = record["frame_times_s"]
    inside = [index for index, time_s in enumerate(times_s) if start_s <= time_s <= start_s + seconds]
    shown = [
        index for index in inside if scene is None or scene.speed_at(record["start_s"] + times_s[index]) is not None
    ]
    if not shown:
        return None

    def nearest(choice: Sequence[int], time_s: float) -> int:
        return min(choice, key=lambda index: abs(times_s[index] - start_s - time_s))

    frames = [nearest(inside, centre_s) for centre_s in CorpusSpec.frame_times_s(seconds, NUM_VIDEO_FRAMES)]
    return Item(
        key=record["key"],
        source=record["source"],
        start_s=start_s,
        video_start_s=record["start_s"] + start_s,
        image=nearest(shown, seconds / 2),
        frames=tuple(frames),
        times_s=tuple(times_s[index] - start_s for index in frames),
        is_first=is_first,
        kind=scene.kind if scene else None,
    )


def _draw(found: Sequence[Item], law: Law, seed: int) -> Item:
    """One of a video's segments, and one of its captions."""
    rng = numpy_rng(seed, "evaluate.segment", found[0].source)
    item = found[int(rng.integers(len(found)))]
    caption = law.captions[int(rng.integers(len(law.captions)))] if law.captions else None
    return dataclasses.replace(item, caption=caption)


def _sample(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """At most `count` items, in random order."""
    order = numpy_rng(seed, "evaluate.sample", len(items)).permutation(len(items))
    return [items[place] for place in order[: max(count, 0)]]


def _first_starts(facts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    starts: dict[str, float] = {}
    for record in facts:
        starts[record["source"]] = min(record["start_s"], starts.get(record["source"], float("inf")))
    return starts


def _length_s(record: Mapping[str, Any]) -> float:
    """Seconds of true sound with true picture in the record."""
    return float(record.get("valid_seconds", record["seconds"]))
