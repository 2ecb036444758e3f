"""`clipsonic hear`: does each soundtrack belong to its picture, by ears that never saw the video."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from clipsonic.options import add_device, command_parser

_EPILOG = """example:
  clipsonic train --config ear --corpus corpus --data.half 0 --out ear0
  clipsonic train --config ear --corpus corpus --data.half 1 --out ear1
  clipsonic hear corpus --ear ear0 --ear ear1
  clipsonic train --corpus corpus --data.filter "belongs > 0.9" --out model

adds the fact `belongs` to each record: which share of other videos' frames fit its sound worse than its own frames do.
A soundtrack that was laid over a film at random has any share alike, a true one is near 1. No video is decoded.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Say of each record whether its sound belongs to its picture.", _EPILOG)
    parser.add_argument("corpus", metavar="CORPUS", help="folder made by clipsonic ingest")
    parser.add_argument(
        "--ear",
        required=True,
        action="append",
        metavar="EAR",
        help="folder of an ear; give two, one of each half of the videos (train --config ear --data.half 0 and 1): "
        "each hears the videos of the other half",
    )
    parser.add_argument(
        "--unseen", action="store_true", help="the only --ear has never seen any of these videos, and hears them all"
    )
    add_device(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Hear; returns the numbers, and a message for people."""
    from clipsonic.ear.hear import hear
    from clipsonic.ear.listeners import Listeners
    from clipsonic.options import device_of

    listeners = Listeners(args.ear, unseen=args.unseen, device=str(device_of(args.device)))
    hearing = hear(args.corpus, listeners)
    low, _, middle, *_ = hearing.quantiles
    return {
        "message": f"{hearing.records} records of {args.corpus} have the fact `belongs` ({hearing.heard_now} heard "
        f"now): median {middle:.2f}, 5 % are below {low:.2f}",
        "corpus": str(args.corpus),
        "ears": listeners.fingerprints,
        **dataclasses.asdict(hearing),
    }
