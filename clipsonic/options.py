"""The parser that every command begins with: its manners are one for all (no abbreviations, the example as written)."""

from __future__ import annotations

import argparse


def command_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser without options yet; `example` stands at the end of the help."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
