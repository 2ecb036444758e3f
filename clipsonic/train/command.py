"""`clipsonic train`: the command's options, from YAML files, overlays and dotted overrides to one typed config.

Guarantee: files merge key by key in the order given, options on the command line win over all files wherever they
stand, and an unknown key or an abbreviation is refused in one sentence. The help imports neither torch nor Lightning.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter  # type: ignore[attr-defined]

from clipsonic.errors import UsageError
from clipsonic.resources import find_config
from clipsonic.train.config import Sources, TrainConfig

EXAMPLE = """\
example:
  clipsonic train --config tiny --corpus CORPUS --out PIPELINE --max-minutes 10
  clipsonic train --config tiny --config short --corpus CORPUS --out PIPELINE --optim.lr 5e-4 --optim.batch_size 16

  clipsonic train --config tiny --init tiny --corpus CORPUS --out PIPELINE --optim.lr 3e-4
  clipsonic train --config clip --pairs TARS --out CLIP
  clipsonic train --config prior --pairs EMBEDDINGS --out PRIOR
  clipsonic train --config vocoder --corpus CORPUS --recordings SOUNDS --out VOCODER

The same command continues a run that was stopped; at the end its --out is a folder to use: of a pipeline for
`clipsonic generate --model`.
--print_config shows the merged config. Logs: tensorboard --logdir PIPELINE/logs
"""

T = TypeVar("T")


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Types and defaults as jsonargparse shows them, the example as it is written."""


class TrainParser(ArgumentParser):
    """jsonargparse's parser with our manners: files first, options win, an error is one sentence."""

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:  # type: ignore[override]
        """Parse, with every `--config` moved to the front and bundled names turned into paths."""
        return super().parse_args(configs_first(list(args or ())), *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse wrong usage."""
        sentence = " ".join(str(message).split())
        raise UsageError(f"{sentence}; {self.prog} --help lists every option, abbreviations are not accepted") from None


def configs_first(words: list[str]) -> list[str]:
    """The words with `--config NAME` pairs in front, in their order, each name resolved.

    Raises:
        UsageError: a config that is neither a file nor a bundled one.
    """
    configs, others = [], []
    rest = iter(words)
    for word in rest:
        name = next(rest, None) if word == "--config" else word.removeprefix("--config=")
        if word == "--config" and name is None:
            raise UsageError("--config needs a value: give a YAML file or the name of a bundled config such as tiny")
        if word == "--config" or word.startswith("--config="):
            configs.append(f"--config={find_config(str(name))}")
        else:
            others.append(word)
    return configs + others


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command: one for every field of the config, and where to read and write."""
    parser = TrainParser(
        prog=prog,
        usage=f"{prog} [--config CONFIG]... DATA --out FOLDER [--resume auto|never|FILE] [--init PIPELINE] "
        "[--dry-run] [--KEY VALUE]...",
        description="Train a sound model, an adapter, a CLIP, a prior, a vocoder or a judge: what the config says.",
        epilog=EXAMPLE,
        allow_abbrev=False,
        default_env=False,
        formatter_class=_Help,
    )
    add = parser.add_argument
    add(
        "--config",
        action=ActionConfigFile,
        help="a YAML file, or a preset such as tiny, base, clip or vocoder; overlays follow",
    )
    add(
        "--corpus",
        default=[],
        action="append",
        metavar="FOLDER",
        help="what clipsonic ingest wrote: a folder, s3://, http(s)://...; may be repeated, see --data.weights",
    )
    pairs = "tars of pictures with captions or folders of them (clip), what clipsonic embed-pairs wrote (prior)"
    add("--pairs", default=[], nargs="+", metavar="PLACE", help=pairs)
    add("--val-pairs", default=[], nargs="+", metavar="PLACE", help="pairs to judge by; by default some of --pairs")
    add("--recordings", metavar="FOLDER", help="sounds to learn from (vocoder), beside a corpus or alone")
    add("--out", required=True, metavar="FOLDER", help="the pipeline folder; checkpoints and logs go there too")
    add(
        "--resume",
        default="auto",
        metavar="auto|never|FILE",
        help="from --out's newest checkpoint, anew, or from a file",
    )
    add("--init", metavar="FOLDER", help="train this on: a folder of the lesson's kind, a pipeline's hub id, or tiny")
    add("--max-steps", type=int, metavar="N", help="as --run.max_steps")
    add("--max-minutes", type=float, metavar="M", help="as --run.max_minutes; the learning rate follows the clock")
    add("--device", metavar="auto|cpu|cuda|cuda:N", help="as --run.device: where to compute")
    add("--dry-run", action="store_true", help="print size, memory, speed here and hours of the run; write nothing")
    parser.add_class_arguments(TrainConfig, None)
    return parser


def run(args: Any) -> dict[str, Any]:
    """Train, and say what came of it."""
    config = config_of(args)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder")
    sources = Sources(tuple(args.corpus), tuple(args.pairs), tuple(args.val_pairs), args.recordings)
    if args.dry_run:
        from clipsonic.train.run import dry_run

        return dry_run(config, sources, args.init)
    from clipsonic.train.run import train

    return train(config, sources, out, resume=args.resume, init=args.init)


def config_of(args: Any) -> TrainConfig:
    """The typed config of parsed options; `--max-steps`, `--max-minutes` and `--device` win over the run's own.

    Raises:
        UsageError: a number out of its range.
    """
    config = build(TrainConfig, args)
    names = ("max_steps", "max_minutes", "device")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **given))


def build(kind: type[T], values: Any) -> T:
    """A dataclass from a namespace of its fields, nested ones included."""
    hints = typing.get_type_hints(kind)
    fields = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        value = values[field.name]
        fields[field.name] = build(hints[field.name], value) if dataclasses.is_dataclass(hints[field.name]) else value
    return kind(**fields)


def load_config(*names: str | Path) -> TrainConfig:
    """The config that these files give, merged in order.

    Raises:
        UsageError: no such file, an unknown key, or a number out of its range.
    """
    words = [word for name in names for word in ("--config", str(name))]
    return config_of(build_parser("clipsonic train").parse_args([*words, "--out", "-"]))
