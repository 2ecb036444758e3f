"""The rows of `clipsonic edit --batch`: a table with one edit a row, or a folder of sounds and videos.

Guarantee and price are those of `generate.rows`.
"""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.audio.wave import READABLE
from clipsonic.edit.options import region
from clipsonic.generate.options import SOUND_SUFFIXES, VIDEO_SUFFIXES
from clipsonic.generate.rows import COLUMNS, SOURCE_SUFFIXES, Table, yes_or_no


def regions(value: Any) -> list[tuple[float, float]]:
    """FROM:TO in seconds, or several of them with spaces between"""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise ValueError(value)
    try:
        return [region(word) for word in words]
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None


_SHARED = ("text", "image", "video", "audio", "embeds", "out", "negative_text", "closer", "seed", "steps", "num_sounds")
_NUMBERS = ("above_hz", "below_hz", "extend_s", "before_s", "strength", "pull")
TABLE = Table(
    columns={
        "sound": COLUMNS["text"],
        **{name: COLUMNS[name] for name in (*_SHARED, "start_s", "guidance")},
        **dict.fromkeys(("mask", "from_text"), COLUMNS["text"]),
        **dict.fromkeys(_NUMBERS, COLUMNS["guidance"]),
        "remake": regions,
        "fill": yes_or_no,
    },
    files=("sound", "image", "video", "audio", "embeds", "mask"),
    kind=("sound", "sounds or videos"),
    suffixes=(*sorted(READABLE), *SOURCE_SUFFIXES),
    out_suffixes=(".wav", *SOUND_SUFFIXES, *VIDEO_SUFFIXES),
)
