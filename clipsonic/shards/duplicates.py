"""Records that are copies of earlier ones, by the hashes that ingest stores: re-uploads, re-encodings, other sizes.

Guarantee: a pure function of the facts; a pair whose sounds' hashes differ in at most 3 of 64 bits is always found,
one of up to 6 nearly always; a copy that begins elsewhere is not found. Price: about 15 microseconds per record, and
more where many sounds are alike; a list entry in four buckets each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clipsonic.shards.selection import is_silent

MOST_BITS = 6
"""Of 64, in picture and in sound: unrelated ones differ in 32, give or take 4."""
_BAND_BITS, _NUM_BANDS = 16, 4
_LONGEST_BUCKET = 64


def near_duplicates(facts: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Key of a record -> key of the first earlier one that both looks and sounds like it.

    Silent records and those without hashes (of older corpora) have none.
    """
    buckets: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
    found: dict[str, str] = {}
    for record in facts:
        if "sound_hash" not in record or "picture_hash" not in record or is_silent(record):
            continue
        sound, picture = int(record["sound_hash"], 16), int(record["picture_hash"], 16)
        earlier = _earlier(buckets, sound, picture)
        if earlier is not None:
            found[record["key"]] = earlier
            continue
        for bucket in _bands(sound):
            members = buckets.setdefault(bucket, [])
            if len(members) < _LONGEST_BUCKET:  # sounds that fill one are all alike: comparing more finds no more
                members.append((sound, picture, record["key"]))
    return found


def _earlier(buckets: dict[tuple[int, int], list[tuple[int, int, str]]], sound: int, picture: int) -> str | None:
    for bucket in _bands(sound):
        for other_sound, other_picture, key in buckets.get(bucket, ()):
            if _num_differing(sound, other_sound) <= MOST_BITS and _num_differing(picture, other_picture) <= MOST_BITS:
                return key
    return None


def _bands(code: int) -> list[tuple[int, int]]:
    """Parts of a code: codes that differ in fewer bits than there are parts share one (Indyk and Motwani 1998)."""
    return [(band, code >> (band * _BAND_BITS) & (1 << _BAND_BITS) - 1) for band in range(_NUM_BANDS)]


def _num_differing(first: int, second: int) -> int:
    return (first ^ second).bit_count()
