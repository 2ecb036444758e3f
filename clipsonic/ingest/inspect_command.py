"""`clipsonic inspect`: what is in a corpus, what was refused and why, in words and as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clipsonic.options import command_parser

_EPILOG = """example:
  clipsonic inspect corpus --html corpus.html
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Say what is in a corpus, what was refused and why.", _EPILOG)
    parser.add_argument("corpus", metavar="CORPUS", help="what clipsonic ingest wrote: a folder, or its address")
    parser.add_argument("--html", metavar="FILE", help="also write one page with pictures, players and histograms")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Inspect; returns the numbers, and a message for people."""
    from clipsonic.files import write_whole
    from clipsonic.ingest.page import html_page
    from clipsonic.ingest.report import corpus_report, report_in_words
    from clipsonic.shards.corpus import open_corpus

    corpus = open_corpus(args.corpus)
    report = corpus_report(corpus)
    message = report_in_words(report)
    if args.html:
        path = Path(args.html)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, html_page(corpus, report).encode())
        message += f"\npage: {path}"
    return {"message": message, **report.to_dict()}
