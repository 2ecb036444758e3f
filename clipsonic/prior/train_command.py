"""`clipsonic train-prior`: pairs of pictures and captions to a prior folder, with a card of measured figures."""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic train-prior --pairs world/train --val-pairs world/heldout --clip my-clip --out my-prior
  clipsonic generate --model PIPELINE --prior my-prior --text "a small glass bell" --out bell.wav
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        prog, "Train a diffusion prior, CLIP text embedding to CLIP image embedding, on pictures and captions.", _EPILOG
    )
    parser.add_argument(
        "--pairs",
        nargs="+",
        required=True,
        metavar="TARS",
        help="img2dataset-style tars, folders of them, or corpora whose records carry captions",
    )
    parser.add_argument("--val-pairs", nargs="+", metavar="TARS", help="pairs to judge by (default: one in twenty)")
    parser.add_argument(
        "--clip", default="tiny", metavar="NAME", help="the CLIP, as for ingest (default: the bundled one)"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the prior folder is written")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="pairs per step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=4, help="layers of the prior (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=4, help="attention heads of 32 (default: %(default)s)")
    parser.add_argument("--timesteps", type=int, default=100, help="diffusion timesteps (default: %(default)s)")
    parser.add_argument(
        "--sample-steps",
        type=int,
        metavar="N",
        help="network calls of a sample, kept with the prior; few are often better (default: all timesteps)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides weights, batches and noise (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed, train, save, measure, write the card."""
    from clipsonic.prior.train_run import run_training

    return run_training(args)
