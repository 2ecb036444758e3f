"""`clipsonic split`: a corpus as several that share no video."""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic split corpus --out parts --part train=0.9 --part test=0.1

makes the corpora parts/train and parts/test. Videos that look and sound alike stay together.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Divide a corpus by source video, so that no part knows a video of another.", _EPILOG)
    parser.add_argument("corpus", metavar="CORPUS", help="folder made by clipsonic ingest")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the new corpora")
    parser.add_argument(
        "--part",
        required=True,
        action="append",
        metavar="NAME=SHARE",
        help="a part and its share of the videos; repeat",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="divides otherwise (default: 0)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Split; returns the numbers, and a message for people."""
    from clipsonic.shards.split import split

    parts = split(args.corpus, args.out, _shares(args.part), args.seed)
    lines = [f"{index.num_records} records in {args.out}/{name}" for name, index in parts.items()]
    return {"message": "\n".join(lines), "records": {name: index.num_records for name, index in parts.items()}}


def _shares(words: list[str]) -> dict[str, float]:
    from clipsonic.errors import UsageError

    shares: dict[str, float] = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise UsageError(f"--part {word!r} must be NAME=SHARE, such as test=0.1") from None
    if len(shares) < len(words):
        raise UsageError(f"--part {', '.join(words)}: two parts have one name: give each its own")
    return shares
