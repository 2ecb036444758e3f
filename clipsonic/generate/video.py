"""A video written with its new sound, alone or together with its own.

Guarantee: the true peak of the written track is held, whatever the codec does: it is decoded and, if need be, written
anew a little lower; the file is whole or absent. The loudness asked for is that of the new sound by itself, the video's
own stays as loud as it is, or is lowered by DUCK_DB where the new one is loud. Price: a pass over the video's packets
and its sound for each try, one to three.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsonic.audio.loudness import LevelOptions, LevelReport, render
from clipsonic.errors import UsageError
from clipsonic.files import whole_file
from clipsonic.generate.copying import Copying
from clipsonic.generate.mux import KINDS, check_copy, heard_peak_db, mux, new_sound
from clipsonic.generate.track import MixedSound, Track, own_format
from clipsonic.generate.write import Made, until_level_holds
from clipsonic.refusals import RefusedError


@dataclass(frozen=True)
class Mix:
    """What becomes of the video's own sound: `replace`, `mix` or `duck`; `gain_db` is added to the new one in a mix."""

    how: str = "replace"
    gain_db: float = 0.0


def check_video(video: str | os.PathLike[str], path: str | os.PathLike[str], mix: str = "replace") -> Copying:
    """Before a sound is made: how the picture of `video` is copied into `path`.

    Raises:
        UsageError: it cannot be copied into such a file, or there is no own sound to mix with.
    """
    copying = check_copy(Path(video), Path(path).suffix)
    if mix != "replace":
        own_format(video)
    return copying


def write_video(
    video: str | os.PathLike[str],
    path: str | os.PathLike[str],
    wave: np.ndarray,
    sample_rate_hz: int,
    start_s: float,
    options: LevelOptions,
    mix: Mix | None = None,
    tags: dict[str, str] | None = None,
    copying: Copying | None = None,
) -> LevelReport:
    """Write `path` (MP4, MOV, MKV or WebM): the picture of `video` with (T,) mono, levelled, from `start_s`.

    Args:
        copying: what `check_video` found, if it was asked.

    Raises:
        UsageError: the picture cannot be copied into such a file, or there is no own sound to mix with.
    """
    video, suffix, mix = Path(video), Path(path).suffix, mix or Mix()

    def track_of(made: np.ndarray, limit_db: float | None) -> Track:
        if mix.how == "replace":
            return new_sound(made, sample_rate_hz, start_s, suffix)
        return MixedSound(
            video, made, sample_rate_hz, start_s, duck=mix.how == "duck",
            rates_hz=KINDS[suffix.lower()].rates_hz, gain_db=mix.gain_db, limit_db=limit_db,
        )  # fmt: skip

    with whole_file(Path(path)) as temporary:

        def make(level: LevelOptions) -> Made:
            made, report = render(wave, sample_rate_hz, level)
            try:
                mux(video, temporary, suffix, track_of(made, level.true_peak_db), tags, copying)
            except RefusedError as error:
                raise UsageError(f"video {video} cannot be read ({error.detail}): give another file") from None
            return Made(None, report, heard_peak_db(temporary), report.lufs)

        return until_level_holds(make, options)[1]
