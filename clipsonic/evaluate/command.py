"""The `evaluate` command: a pipeline and a corpus to a report that can be read, heard and reproduced."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.options import (
    add_device,
    add_few_steps,
    check_few_steps,
    command_parser,
    device_of,
    naming_options,
    option_of,
)
from clipsonic.prior.closer_names import CLOSERS

_EXAMPLE = """example:
  clipsonic evaluate --model PIPELINE --corpus HELDOUT_CORPUS --out report
  clipsonic evaluate --model PIPELINE --corpus HELDOUT_CORPUS --out sweep --prompts image --sweep 4,8,16:1,2
  clipsonic evaluate --model PIPELINE --corpus HELDOUT_CORPUS --out edits --edits
  (rendered corpora are judged by the laws of their scenes, others by retrieval of their own sound)"""
_PROMPTS = ("image", "video", "text")
_NOT_EDITS = ("sweep", "prior", "into_card")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Judge a model: tables, intervals, and one page with players.", _EXAMPLE)
    _add_material(parser)
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    add_few_steps(parser)
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale (default: the model's)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything drawn (default: 0)")
    add_device(parser)
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="sounds per call (default: 32)")
    _add_rows(parser)
    return parser


def _add_material(parser: argparse.ArgumentParser) -> None:
    """What is judged, on what, and where the report goes."""
    add = parser.add_argument
    add("--model", required=True, metavar="PIPELINE", help="a pipeline folder, a hub id, or tiny")
    add("--corpus", required=True, type=Path, metavar="CORPUS", help="a corpus the model was not trained on")
    add("--out", required=True, type=Path, metavar="FOLDER", help="for report.json and index.html")
    add(
        "--videos",
        type=Path,
        metavar="FOLDER",
        help="where the manifest of rendered videos lies (default: beside them)",
    )
    add("--num-scenes", type=int, default=200, metavar="N", help="at most so many items (default: 200)")
    add(
        "--num-others",
        type=int,
        metavar="N",
        help="fewer of the rendered scenes for videos and texts, and for edits that are not compared (default: all)",
    )


def _add_rows(parser: argparse.ArgumentParser) -> None:
    """Which rows the tables have, and what is made beside them or instead."""
    add = parser.add_argument
    add("--prompts", default=",".join(_PROMPTS), metavar="LIST", help="of image,video,text (default: all)")
    add("--closers", default=",".join(CLOSERS), metavar="LIST", help="for text (default: %(default)s)")
    add(
        "--prior",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="judge this prior too; may be repeated",
    )
    add(
        "--audio-embedder",
        default="mel",
        metavar="NAME",
        help="mel, judge, or MODULE:NAME (default: mel); for real videos",
    )
    add("--no-laws", dest="laws", action="store_false", help="leave out the laws' second table, which takes a minute")
    add(
        "--sweep",
        metavar="STEPS:GUIDANCES",
        help="instead of a report, the curve of score against network evaluations, such as 4,8,16:1,2; resumable",
    )
    add(
        "--edits",
        action="store_true",
        help="instead, what the model fills in of sounds with holes and makes of whole ones, prompted by one picture",
    )
    add("--num-players", type=int, default=12, metavar="N", help="examples to hear (default: 12)")
    add("--into-card", action="store_true", help="also put the tables into the card of --model, a pipeline folder")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge, and write the report.

    Raises:
        UsageError: a number out of its range, an unknown prompt or closer, or a folder that is a file.
    """
    prompts, closers = _choice("prompts", args.prompts, _PROMPTS), _choice("closers", args.closers, tuple(CLOSERS))
    _check(args)
    if args.sweep is not None and len(prompts) > 1:
        raise UsageError(f"--sweep is for one kind of prompt: give --prompts {' or '.join(_PROMPTS)}")
    from clipsonic.evaluate.edits.run import evaluate_edits
    from clipsonic.evaluate.embedders import load_embedder
    from clipsonic.evaluate.report import table_markdown, table_text, write_report
    from clipsonic.evaluate.rows import Making
    from clipsonic.evaluate.run import Options, evaluate
    from clipsonic.evaluate.sweep import cells_of, sweep
    from clipsonic.pipeline import ClipSonicPipeline
    from clipsonic.prior.adapter import TextPrior

    cells = cells_of(args.sweep, getattr(args, "few_steps", None)) if args.sweep is not None else []
    device = device_of(args.device)
    priors = {str(folder): TextPrior.from_folder(folder, device) for folder in args.prior}
    options = Options(
        corpus=args.corpus,
        videos=args.videos,
        num_scenes=args.num_scenes,
        making=Making(args.steps, args.guidance, args.seed, args.batch_size, args.num_others, priors),
        prompts=prompts,
        closers=closers,
        embedder=load_embedder(args.audio_embedder),
        laws=args.laws,
        num_players=args.num_players,
        model_name=args.model,
        command=command_line(args),
    )
    pipeline = ClipSonicPipeline.from_pretrained(args.model).to(device)
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]  # each row has a bar of its own
    if args.sweep is not None:  # its cells turn few steps on and off
        return sweep(pipeline, options, cells, args.out)
    with naming_options(args):
        pipeline.set_few_steps(args.few_steps)
        result = evaluate_edits(pipeline, options) if args.edits else evaluate(pipeline, options)
    paths = write_report(args.out, result)
    if args.into_card:
        put_into_card(Path(args.model), "\n".join(table_markdown(result.numbers)))
    message = f"{table_text(result.numbers)}\nreport: {paths['page']} and {paths['report']}"
    return {"message": message, **paths, **result.numbers}


def put_into_card(model: Path, tables: str) -> None:
    """The tables in the pipeline's card, in the place of older ones."""
    from clipsonic.files import write_whole
    from clipsonic.pipeline.card import with_tables
    from clipsonic.pipeline.folder import CARD_FILE, read_card

    write_whole(model / CARD_FILE, with_tables(read_card(model) or "", tables))


def command_line(args: argparse.Namespace) -> str:
    """The command that makes the same report again."""
    words = ["clipsonic", "evaluate"]
    for name, value in vars(args).items():
        if name == "laws":
            words += [] if value else ["--no-laws"]
        elif name == "edits":
            words += ["--edits"] if value else []
        elif name == "into_card":
            continue
        elif value is not None and name not in ("json", "debug"):
            for one in value if isinstance(value, list) else [value]:
                words += [option_of(name), str(one)]
    return shlex.join(words)


def _choice(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if strange := [word for word in words if word not in known]:
        raise UsageError(f"--{option} {strange[0]!r} is unknown: give a list of {', '.join(known)}")
    if not words:
        raise UsageError(f"--{option} is empty: give at least one of {', '.join(known)}")
    return tuple(word for word in known if word in words)


def _check(args: argparse.Namespace) -> None:
    for name, least in (("num_scenes", 1), ("num_others", 1), ("batch_size", 1), ("num_players", 0), ("steps", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"{option_of(name)} {value} is below {least}: give a whole number from {least} up")
    check_few_steps(args)
    if args.edits and (other := next((name for name in _NOT_EDITS if getattr(args, name)), None)):
        raise UsageError(f"{option_of(other)} is not for --edits, which has a table of its own: leave one out")
    if args.into_card and not Path(args.model).is_dir():
        raise UsageError(f"--into-card is for a pipeline folder, and --model {args.model} is none: leave it out")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out} is a file: give a folder")
    if args.videos is not None and not args.videos.is_dir():
        raise UsageError(f"--videos {args.videos} is not a folder: give the folder with manifest.jsonl")
    for folder in args.prior:
        if not folder.is_dir():
            raise UsageError(f"--prior {folder} is not a folder: give what clipsonic train --config prior wrote")
    if not args.corpus.is_dir():
        raise UsageError(f"--corpus {args.corpus} is not a folder: give one that clipsonic ingest wrote")
