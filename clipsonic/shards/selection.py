"""Which records of a corpus a model's segment can be trained on, and which of them are held out.

Guarantee: pure functions of the records' facts; a video's records all fall on one side of the split, on the same side
for every seed, corpus size and machine; every record is counted once in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clipsonic.seeding import seed_for
from clipsonic.specs import SegmentSpec

Facts = dict[str, Any]
Split = Literal["train", "val", "all"]

SHORT_BY = 0.05
"""A sound shorter than the segment by at most this share is padded with zeros; a shorter one is left out."""
SILENT_RMS_DB = -60.0
SILENT_SHARE = 0.95


@dataclass(frozen=True)
class Candidate:
    """One usable record: where it lies and how many samples of true sound with true picture it holds.

    Args:
        corpus: which one of a mix holds it.
    """

    key: str
    shard: str
    source: str
    num_samples: int
    corpus: int = 0


def usable_records(
    facts: Iterable[Facts],
    segment: SegmentSpec,
    *,
    keep: Callable[[Facts], bool] | None = None,
    drop_silent: bool = True,
    half: int | None = None,
    corpus: int = 0,
) -> tuple[list[Candidate], dict[str, int]]:
    """The records of a corpus that can be trained on, in its order, and how many are `too_short silent filtered`, or,
    where one `half` of the videos is asked for, of the `other_half`."""
    left_out = {"too_short": 0, "silent": 0, "filtered": 0} | ({} if half is None else {"other_half": 0})
    usable = []
    for record in facts:
        candidate = _candidate(record, segment.mel.sample_rate_hz, corpus)
        if half is not None and half_of(candidate.source) != half:
            left_out["other_half"] += 1
        elif candidate.num_samples < round(segment.num_samples * (1.0 - SHORT_BY)):
            left_out["too_short"] += 1
        elif drop_silent and is_silent(record):
            left_out["silent"] += 1
        elif keep is not None and not keep(record):
            left_out["filtered"] += 1
        else:
            usable.append(candidate)
    return usable, left_out


def one_side(usable: Sequence[Candidate], split: Split, val_share: float = 0.05) -> list[Candidate]:
    """Those on one side of the split by source video ("all": every one), in their order."""
    if split == "all":
        return list(usable)
    held_out = held_out_sources((candidate.source for candidate in usable), val_share)
    return [candidate for candidate in usable if (candidate.source in held_out) == (split == "val")]


def held_out_sources(sources: Iterable[str], val_share: float) -> set[str]:
    """The videos kept for validation: those whose name hashes below `val_share`.

    So a video keeps its side as others come. None while the share amounts to less than one video, else at least one.
    """
    places = {source: seed_for(0, "shards.split", source) / 2**63 for source in set(sources)}
    if len(places) * val_share < 1.0 or len(places) < 2:
        return set()
    by_place = sorted(places, key=lambda source: places[source])
    return {source for source in by_place[:-1] if places[source] < val_share} or {by_place[0]}


def half_of(source: str) -> int:
    """Which half of all videos, 0 or 1, one is in by its name: so each half can be heard by who learned the other."""
    return seed_for(0, "shards.half", source) & 1


def source_of(facts: Facts) -> str:
    """The video that a record is of."""
    return str(facts.get("source_id") or facts.get("source") or facts["key"])


def is_silent(facts: Facts) -> bool:
    """Nothing to learn from: no sound track, below -60 dB, or silent for more than 95 % of its time."""
    if not facts.get("has_audio", True):
        return True
    rms_db, silence_share = facts.get("rms_db"), facts.get("silence_share")
    return (rms_db is not None and rms_db < SILENT_RMS_DB) or (silence_share or 0.0) > SILENT_SHARE


def _candidate(facts: Facts, sample_rate_hz: int, corpus: int) -> Candidate:
    seconds = facts["seconds"]
    valid_s = facts.get("valid_seconds")
    true_s = seconds if valid_s is None else min(seconds, valid_s)
    return Candidate(facts["key"], facts["shard"], source_of(facts), round(true_s * sample_rate_hz), corpus)
