"""A sound, levelled and written with what is known of it: as a sound file, or as a video with that sound.

Guarantee: loudness and true peak hold for what is written: a lossy file is decoded again and, if the codec has pushed
a peak over the limit or the loudness off its target, made anew for a level set so much lower; a file is whole or
absent. Price: a lossy file is encoded and decoded one to four times.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipsonic import __version__
from clipsonic.audio.formats import LOSSLESS, SUFFIXES, decode_sound, encode_sound
from clipsonic.audio.loudness import LevelOptions, LevelReport, integrated_lufs, render, true_peak_db
from clipsonic.errors import ClipsonicError
from clipsonic.files import write_whole
from clipsonic.text import shown

__all__ = ["SUFFIXES", "sound_bytes", "tags_for", "write_sound"]

AI_COMMENT = "AI-generated sound"
NEAR_LU = 0.5
_MAX_ROUNDS = 8
_SPARE_DB = 0.1


class Made(NamedTuple):
    """One try: what was made, its level before it was coded, and the true peak and loudness of what is heard of it."""

    result: Any
    report: LevelReport
    peak_db: float
    lufs: float


def tags_for(model: str, prompt: str, seed: int, **more: object) -> dict[str, str]:
    """What a file says of its making: who made it, from what, and that no microphone did."""
    about = {"model": model, "prompt": prompt, "seed": seed, **more}
    made = {"software": f"clipsonic {__version__}", "title": prompt, "comment": AI_COMMENT}
    return {name: shown(str(value)) for name, value in {**made, **about}.items()}


def write_sound(
    path: str | os.PathLike[str],
    wave: np.ndarray,
    sample_rate_hz: int,
    options: LevelOptions,
    tags: dict[str, str] | None = None,
) -> LevelReport:
    """Write (T,) mono as WAV, FLAC, Ogg Vorbis, Opus or MP3, by the suffix of `path`; missing folders are made.

    Raises:
        UsageError: another suffix, fades longer than the sound, or a sound that is not finite.
    """
    data, report = sound_bytes(Path(path).suffix, wave, sample_rate_hz, options, tags)
    write_whole(Path(path), data)
    return report


def sound_bytes(
    suffix: str, wave: np.ndarray, sample_rate_hz: int, options: LevelOptions, tags: dict[str, str] | None = None
) -> tuple[bytes, LevelReport]:
    """The same file in memory, and the level of what is heard of it."""

    def make(level: LevelOptions) -> Made:
        made, report = render(wave, sample_rate_hz, level)
        data = encode_sound(made, sample_rate_hz, suffix, tags)
        heard, rate_hz = (made, sample_rate_hz) if suffix.lower() in LOSSLESS else decode_sound(data)
        peak_db, lufs = (report.true_peak_db, report.lufs) if heard is made else level_of(heard, rate_hz)
        return Made(data, report, peak_db, lufs)

    return until_level_holds(make, options)


def level_of(wave: np.ndarray, sample_rate_hz: int) -> tuple[float, float]:
    """True peak in dBTP and loudness in LUFS."""
    return true_peak_db(wave), integrated_lufs(wave, sample_rate_hz)


def until_level_holds(make: Callable[[LevelOptions], Made], options: LevelOptions) -> tuple[Any, LevelReport]:
    """Call `make` with the options, lowered as what is heard of its result demands, until that holds them.

    Raises:
        ClipsonicError: it never does.
    """
    level, target, limit_db = options, options.loudness_lufs, options.true_peak_db
    for round_ in range(2 * _MAX_ROUNDS):
        made = make(level)
        if limit_db is None or (made.report.is_silent and made.peak_db <= limit_db):
            return made.result, made.report
        off_lu = 0.0 if target is None else made.lufs - target
        reached = abs(off_lu) <= NEAR_LU
        good = (
            reached or made.report.is_silent or round_ >= _MAX_ROUNDS or (off_lu < 0.0 and not made.report.is_reached)
        )
        if good and made.peak_db <= limit_db:
            lower = dataclasses.replace(made.report, lufs=made.lufs, true_peak_db=made.peak_db, is_reached=reached)
            return made.result, lower
        level = _lowered(level, made.peak_db - limit_db, 0.0 if good else off_lu)
    raise ClipsonicError(f"a true peak of {limit_db:g} dBTP cannot be held in this format: write a WAV file")


def _lowered(level: LevelOptions, over_db: float, off_lu: float) -> LevelOptions:
    lower_db = over_db + _SPARE_DB if over_db > 0.0 else 0.0
    return dataclasses.replace(
        level,
        true_peak_db=None if level.true_peak_db is None else max(-60.0, level.true_peak_db - lower_db),
        loudness_lufs=None if level.loudness_lufs is None else min(0.0, max(-70.0, level.loudness_lufs - off_lu)),
    )
