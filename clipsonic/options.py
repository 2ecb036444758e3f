"""What commands share: the parser they begin with, its manners one for all (no abbreviations), the device, and how what
a pipeline refuses is told in the words of the command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipsonic.errors import ClipsonicError, UsageError

if TYPE_CHECKING:
    import torch

FEW_STEPS = 4
"""Calls of the network that `--few-steps` means without a number, and the most it may name."""
_OTHER_NAMES = {"guidance": "guidance_scale", "steps": "num_inference_steps"}
_ARGUMENT = re.compile(
    r"(?<![\w./'-])[a-z]+(?:_[a-z]+)+(?![\w./'-])|(?:^|(?<=\())(?:mask|pull|remake|strength)(?=[ ,)])"
)
"""What may be an argument's name; those that are words too, only where a sentence begins with them, or in brackets."""


def command_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser without options yet; `example` stands at the end of the help."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`, the same for every command that computes."""
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|cuda:N", help="where to compute (default: a GPU if any)"
    )


def device_of(word: str = "auto") -> torch.device:
    """The device that `--device` names; `auto` and `cuda` are the GPU of this process's rank on its machine.

    Raises:
        UsageError: no such word, or a GPU that torch does not see here.
    """
    import torch

    named = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", word)
    if named is None:
        raise UsageError(f"--device {word} is unknown: give auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "cpu" or (word == "auto" and not count):
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", 0)) % max(count, 1) if named[1] is None else int(named[1])
    if number >= count:
        raise UsageError(f"--device {word} is not here, torch sees {count} GPUs: give cpu or auto")
    return torch.device("cuda", number)


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


def option_of(name: str) -> str:
    """The option that sets an argument of this name."""
    return f"--{name.replace('_', '-')}"


@contextmanager
def naming_options(args: argparse.Namespace) -> Iterator[None]:
    """Within it, what is refused names the command's options instead of the arguments of the pipeline that they become.

    Not exact: an argument's name that stands by itself within a user's own words is taken for one too.
    """
    try:
        yield
    except ClipsonicError as error:
        error.args = (in_options(str(error), args),)
        raise


def in_options(sentence: str, args: argparse.Namespace) -> str:
    """The sentence with every argument that these options hold as its option: `guidance_scale 3` as `--guidance 3`."""
    options = {_OTHER_NAMES.get(name, name): option_of(name) for name in vars(args)}
    return _ARGUMENT.sub(lambda found: options.get(found[0], found[0]), sentence)
