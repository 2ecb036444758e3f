"""`clipsonic merge`: several corpora as one, for instance those that several machines have ingested."""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic merge corpus-1 corpus-2 corpus-3 --out corpus
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Make one corpus of several, without reading a record.", _EPILOG)
    parser.add_argument("corpora", nargs="+", metavar="CORPUS", help="folders made by clipsonic ingest, two or more")
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder of the new corpus")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Merge; returns the numbers, and a message for people."""
    from clipsonic.shards.merge import merge

    index = merge(args.corpora, args.out)
    message = f"{index.num_records} records in {len(index.shards)} shards are in {args.out}"
    return {"message": message, "corpus": str(args.out), "records": index.num_records, "shards": len(index.shards)}
