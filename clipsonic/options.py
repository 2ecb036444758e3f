"""The parser that every command begins with: its manners are one for all (no abbreviations, the example as written)."""

from __future__ import annotations

import argparse

from clipsonic.errors import UsageError

FEW_STEPS = 4
"""Calls of the network that `--few-steps` means without a number, and the most it may name."""


def command_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser without options yet; `example` stands at the end of the help."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_few_steps(parser: argparse.ArgumentParser) -> None:
    """`--few-steps [N]`, the same for every command that makes sounds."""
    parser.add_argument(
        "--few-steps",
        type=int,
        nargs="?",
        const=FEW_STEPS,
        metavar="N",
        help=f"with the pipeline's few-step adapter, in 1 to {FEW_STEPS} calls of the network ({FEW_STEPS} without N)",
    )


def check_few_steps(args: argparse.Namespace) -> None:
    """Raises UsageError for a number out of range, or beside `--steps`."""
    if args.few_steps is None:
        return
    if not 1 <= args.few_steps <= FEW_STEPS:
        raise UsageError(
            f"--few-steps {args.few_steps} must be a whole number from 1 to {FEW_STEPS}: give one of these, "
            "or --steps N instead for more calls of the network"
        )
    if args.steps is not None:
        raise UsageError(f"--few-steps and --steps {args.steps} both say how many steps: leave one of them out")
