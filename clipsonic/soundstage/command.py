"""`clipsonic soundstage`: render a raw corpus of videos, and picture-caption pairs if asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.options import command_parser
from clipsonic.soundstage.kinds import KINDS

_EXAMPLE = "example:\n  clipsonic soundstage --out videos --num-videos 200 --seed 1"


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        prog, "Render raw videos whose sights cause their sounds. The same command again continues.", _EXAMPLE
    )
    parser.add_argument("--out", type=Path, required=True, metavar="VIDEOS", help="folder for the files")
    parser.add_argument("--num-videos", type=int, default=0, metavar="N", help="how many videos")
    parser.add_argument(
        "--num-pictures", type=int, default=0, metavar="N", help="how many picture-caption pairs, as tars"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which world (default: 0)")
    parser.add_argument(
        "--split", choices=("train", "heldout", "any"), default="train",
        help="which attribute combinations: those for training, those held out for judging, or any (default: train)",
    )  # fmt: skip
    parser.add_argument("--kind", metavar="KIND", help=f"one kind only: {', '.join(KINDS)}")
    parser.add_argument("--flaws", type=float, default=0.0, metavar="SHARE", help="share of flawed files, 0 to 1")
    parser.add_argument("--width", type=int, default=160, help="of the picture, even (default: 160)")
    parser.add_argument("--height", type=int, default=120, help="of the picture, even (default: 120)")
    parser.add_argument("--fps", type=int, default=15, help="pictures per second (default: 15)")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes, 0 for one per core (default: 0)"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Render what was asked for.

    Raises:
        UsageError: nothing was asked for, or an impossible value.
    """
    _check(args)
    result: dict[str, Any] = {"out": str(args.out)}
    messages = []
    if args.num_videos:
        from clipsonic.soundstage.render import render_corpus

        done = render_corpus(
            args.out, args.num_videos, args.seed, split=args.split, kind=args.kind, workers=args.workers,
            flaws=args.flaws, fps=args.fps, width=args.width, height=args.height,
        )  # fmt: skip
        result.update(done)
        messages.append(
            f"{done['videos']} videos in {args.out} "
            f"({done['rendered']} rendered, {done['kept']} kept, {done['flawed']} flawed)"
        )
    if args.num_pictures:
        from clipsonic.soundstage.world import write_pairs

        result["pairs"] = write_pairs(args.out, args.num_pictures, args.seed, split=args.split, workers=args.workers)
        messages.append(f"{args.num_pictures} picture-caption pairs in {args.out}")
    return {**result, "message": "; ".join(messages)}


def _check(args: argparse.Namespace) -> None:
    if min(args.num_videos, args.num_pictures, args.workers) < 0:
        raise UsageError(
            f"num-videos {args.num_videos}, num-pictures {args.num_pictures} and workers {args.workers} "
            "must not be negative: give whole numbers from 0 up"
        )
    if not args.num_videos and not args.num_pictures:
        raise UsageError("num-videos 0 and num-pictures 0 ask for nothing: give --num-videos or --num-pictures above 0")
    if args.num_pictures and not args.num_videos and (args.kind or args.flaws):
        raise UsageError("kind and flaws choose among videos only: leave them out, or give --num-videos too")
    if args.num_pictures and args.split == "any":
        raise UsageError("split 'any' is for videos only: give --split train or heldout with --num-pictures")
