"""`clipsonic train-clip`: pairs of pictures and captions to a CLIP folder, with a card of measured figures.

Guarantee: the folder appears whole at the end; an interrupted run continues with the same command. Every figure in
the card is measured on the saved weights, over pairs that training never saw.
"""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic train-clip --pairs world/train --val-pairs world/heldout --out my-clip --max-minutes 20
  clipsonic ingest VIDEOS --clip my-clip --out CORPUS
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Train a small CLIP on pictures and captions (img2dataset-style tars).", _EPILOG)
    parser.add_argument(
        "--pairs", nargs="+", required=True, metavar="TARS", help="tars, or folders of tars, to learn from"
    )
    parser.add_argument("--val-pairs", nargs="+", metavar="TARS", help="tars to judge by (default: one pair in twenty)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the CLIP folder is written")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--arch", metavar="JSON", help="architecture and preprocessing (default: the bundled recipe)")
    start.add_argument(
        "--init", metavar="FOLDER", help="train this CLIP on, with its own vocabulary; tiny: the bundled"
    )
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="pairs per step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights and batches (default: %(default)s)")
    parser.add_argument("--max-minutes", type=float, help="end by the clock; results then vary with the machine")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument(
        "--resume", choices=("auto", "never"), default="auto", help="continue a run in --out (default: auto)"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, save, measure, write the card."""
    from clipsonic.clip.train_run import train_clip

    return train_clip(args)
