"""The refusal of options of `clipsonic generate` that are out of range, or do not go together.

Guarantee: nothing heavy is imported, so a refusal comes at once, before a prompt is read or a model is loaded.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from clipsonic.errors import UsageError
from clipsonic.options import check_few_steps
from clipsonic.prior.closer_names import CHOICES, unknown
from clipsonic.text import check_text

PROMPTS = ("text", "image", "video", "embeds")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
MIXES = ("replace", "mix", "duck")
MAX_SOUNDS = 256


def is_video_file(path: str | Path) -> bool:
    """Whether a file of this name holds a picture too."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def check_options(args: argparse.Namespace) -> str:
    """The kind of prompt.

    Raises:
        UsageError: options that do not go together.
    """
    if args.out is None:
        raise UsageError("--out is missing: give the .wav, .flac, .mp3 or .mp4 file to write")
    given = [kind for kind in PROMPTS if getattr(args, kind) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{kind}" for kind in given) or "no prompt"
        raise UsageError(f"{found} given: give exactly one of --text, --image, --video and --embeds")
    for name in ("text", "negative_text"):
        if (text := getattr(args, name)) is not None:
            check_text(text, f"--{name.replace('_', '-')}")
    check_out(args, given[0])
    if args.spectrogram is not None and Path(args.spectrogram).suffix.lower() != ".png":
        raise UsageError(f"--spectrogram {args.spectrogram} must end in .png")
    check_closer(args)
    check_counts(args)
    check_few_steps(args)
    if args.start_s != 0.0 and given[0] != "video":
        raise UsageError(f"--start-s {args.start_s:g} is a time in a video: give it with --video")
    check_mix(args)
    check_level(args)
    return given[0]


def check_out(args: argparse.Namespace, kind: str) -> None:
    """Raises UsageError for a file of no kind that is written here, or a picture without a video to take it from."""
    suffix = Path(args.out).suffix.lower()
    if suffix not in (*SOUND_SUFFIXES, *VIDEO_SUFFIXES):
        raise UsageError(f"--out {args.out} must end in one of {', '.join((*SOUND_SUFFIXES, *VIDEO_SUFFIXES))}")
    if is_video_file(args.out) and kind != "video":
        raise UsageError(f"--out {args.out} needs --video, whose picture it takes: give --video or end --out in .wav")
    if is_video_file(args.out) and Path(args.out).resolve() == Path(args.video).resolve():
        raise UsageError(f"--out {args.out} is the video itself: give another name")


def check_closer(args: argparse.Namespace) -> None:
    """Raises UsageError for an unknown closer, or one that would have no effect."""
    if args.closer not in CHOICES:
        raise UsageError(unknown(args.closer, "--closer"))
    has_text = args.text is not None or args.negative_text is not None
    if not has_text and (args.prior is not None or args.closer != "auto"):
        raise UsageError("--closer and --prior are for texts, and there is none: leave them out or give --text")
    if args.prior is not None and args.closer in ("zero-shot", "neighbours"):
        raise UsageError(f"--prior has no effect with --closer {args.closer}: leave one of them out")


def check_counts(args: argparse.Namespace) -> None:
    """Raises UsageError for no sound, or fewer to choose from than are to be kept."""
    if args.num_sounds < 1:
        raise UsageError(f"--num-sounds {args.num_sounds} must be at least 1")
    if args.best_of is not None and not args.num_sounds <= args.best_of <= MAX_SOUNDS:
        raise UsageError(
            f"--best-of {args.best_of} must be from --num-sounds {args.num_sounds}, which are kept, to {MAX_SOUNDS}"
        )


def check_mix(args: argparse.Namespace) -> None:
    """Raises UsageError for an unknown mix, or one with nothing to mix with."""
    if args.mix not in MIXES:
        raise UsageError(f"--mix {args.mix} is unknown: choose one of {', '.join(MIXES)}")
    if args.mix != "replace" and not is_video_file(args.out):
        raise UsageError(
            f"--mix {args.mix} needs a video to write: end --out in {', '.join(VIDEO_SUFFIXES)}, or leave --mix out"
        )
    if not (math.isfinite(args.mix_db) and abs(args.mix_db) <= 40.0):
        raise UsageError(f"--mix-db {args.mix_db:g} must be from -40 to 40")
    if args.mix_db != 0.0 and args.mix == "replace":
        raise UsageError(f"--mix-db {args.mix_db:g} has no effect with --mix replace: give --mix mix or duck")


def check_level(args: argparse.Namespace) -> None:
    """Raises UsageError for a loudness, a limit or fades that cannot be."""
    from clipsonic.generate.level import level_of  # imports numpy

    level_of(args)
