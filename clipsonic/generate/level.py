"""What the options of `clipsonic generate` say about the level of a sound."""

from __future__ import annotations

import argparse

from clipsonic.audio.loudness import LevelOptions


def level_of(args: argparse.Namespace) -> LevelOptions:
    """The level asked for.

    Raises:
        UsageError: a value out of its range.
    """
    return LevelOptions(
        loudness_lufs=args.loudness,
        true_peak_db=args.true_peak,
        fade_in_s=args.fade_in_s,
        fade_out_s=args.fade_out_s,
        stereo=args.stereo,
    )
