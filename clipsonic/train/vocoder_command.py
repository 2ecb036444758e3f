"""`clipsonic train-vocoder`: the sound of a corpus to a vocoder folder, with a card of measured figures.

Guarantee: the folder appears whole at the end; an interrupted run continues with the same command.
"""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic train-vocoder --corpus CORPUS --out my-vocoder --max-minutes 30
  clipsonic generate --model PIPELINE --vocoder my-vocoder --text "a small glass bell" --out bell.wav
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Train a neural vocoder (log-mel to wave) on the sound of a corpus.", _EPILOG)
    add = parser.add_argument
    add("--corpus", required=True, metavar="CORPUS", help="what clipsonic ingest wrote")
    add("--real-audio", metavar="FOLDER", help="recordings to learn from as well, half of each batch")
    add("--max-hours", type=float, default=20.0, metavar="H", help="of a larger corpus, a draw (default: %(default)g)")
    add("--init", metavar="FOLDER", help="train this vocoder on, in its mel space and size; --rounds may differ")
    add("--out", required=True, metavar="FOLDER", help="where the vocoder folder is written")
    add("--sample-rate-hz", type=int, default=16000, metavar="R", help="of the mel space (default: %(default)s)")
    add("--n-fft", type=int, default=1024, metavar="N", help="FFT length in samples (default: %(default)s)")
    add("--hop-length", type=int, default=256, metavar="N", help="samples per mel column (default: %(default)s)")
    add("--num-mels", type=int, default=64, metavar="M", help="mel bins (default: %(default)s)")
    add("--width", type=int, default=192, metavar="D", help="channels of the blocks (default: %(default)s)")
    add("--depth", type=int, default=6, metavar="N", help="number of blocks (default: %(default)s)")
    add("--rounds", type=int, default=1, metavar="N", help="of leading the wave back to its mel (default: %(default)s)")
    add("--steps", type=int, default=6000, help="optimiser steps (default: %(default)s)")
    add("--batch-size", type=int, default=16, help="one-second crops per step (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    add("--seed", type=int, default=0, help="decides weights and batches (default: %(default)s)")
    add("--max-minutes", type=float, help="end by the clock; results then vary with the machine")
    add("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    add("--resume", choices=("auto", "never"), default="auto", help="continue a run in --out (default: auto)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, save, measure, write the card."""
    from clipsonic.train.vocoder_run import train_vocoder

    return train_vocoder(args)
