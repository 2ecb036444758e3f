"""Many prompts in one run: `clipsonic generate --batch`.

Guarantee: the model is loaded once; a row that cannot be made costs that row only and is reported with its sentence;
OUT/report.jsonl says of every row what was made of it, as the run goes; a run that was stopped continues, keeping every
row whose files are there and whose options are the same. Price: a row that failed is tried again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import write_whole
from clipsonic.generate.options import PROMPTS, check_options, numbered
from clipsonic.generate.rows import PROMPT_TABLE, Row, Table, options_of, read_rows, row_hash
from clipsonic.options import naming_options
from clipsonic.text import json_text

if TYPE_CHECKING:
    from clipsonic.pipeline import ClipSonicPipeline

REPORT_FILE = "report.jsonl"

Facts = dict[str, Any]
Make = Callable[[str, argparse.Namespace, Any], Facts]
"""From the kind of prompt, its options and the pipeline to what was made."""


@dataclass(frozen=True)
class Task:
    """What a command does with a row.

    Args:
        make: makes the sounds of one prompt and writes them.
        check: the kind of prompt, or a refusal of options that do not go together.
        table: the columns.
        for_one: options that are for a single prompt.
        name: of the command.
    """

    make: Make
    check: Callable[[argparse.Namespace], str] = check_options
    table: Table = PROMPT_TABLE
    for_one: tuple[str, ...] = (*PROMPTS, "spectrogram")
    name: str = "generate"


def run_batch(args: argparse.Namespace, load: Callable[[argparse.Namespace], ClipSonicPipeline], task: Task) -> Facts:
    """Make every row that is not made yet; returns the facts of the run.

    Args:
        load: makes the pipeline of these options.

    Raises:
        UsageError: options that do not go with a batch, or a batch file that cannot be read.
        ClipsonicError: rows failed; the others are made.
    """
    check_batch(args, task.for_one)
    rows, base = read_rows(Path(args.batch), task.table)
    out = Path(args.out)
    lines = kept_lines(rows, args, base, out, task.table)
    write_whole(out / REPORT_FILE, "".join(_text_of(line) for line in lines.values()))
    todo = [row for row in rows if row.number not in lines]
    pipeline = load(args) if todo else None
    if pipeline is not None:
        pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]  # the rows' bar is enough
    taken = {file: number for number, line in lines.items() for file in line["files"]}
    with (out / REPORT_FILE).open("a", encoding="utf-8") as report, _bar(task.name, len(rows), len(lines)) as bar:
        for row in todo:
            lines[row.number] = line = _line_of(row, args, base, out, pipeline, taken, task)
            report.write(_text_of(line))
            report.flush()
            bar.update()
    return _conclude([lines[row.number] for row in rows], len(rows) - len(todo), out)


def check_batch(args: argparse.Namespace, for_one: tuple[str, ...]) -> None:
    """Raises UsageError for options that are for one prompt, or no folder to write to."""
    given = [name for name in for_one if getattr(args, name) is not None]
    if given:
        raise UsageError(f"--{given[0]} is for one prompt and --batch for many: leave one of them out")
    if args.out is None:
        raise UsageError("--out is missing: give the folder to write to")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise UsageError(f"--out {args.out} is a file: with --batch give a folder")


def kept_lines(
    rows: list[Row], args: argparse.Namespace, base: Path, out: Path, table: Table
) -> dict[int, dict[str, Any]]:
    """By row number, the report lines of earlier runs that still hold: the same options, and the files are there."""
    earlier = {(line.get("out"), line.get("hash")): line for line in _read_report(out / REPORT_FILE)}
    kept: dict[int, dict[str, Any]] = {}
    taken: set[str] = set()
    for row in rows:
        try:
            options = options_of(row, args, base, out, table)
        except UsageError:
            continue
        line = earlier.get((_inside(options.out, out), row_hash(options, table)), {})
        files = set(line.get("files", ()))
        if files and not files & taken and all((out / file).is_file() for file in files):
            kept[row.number] = {**line, "row": row.number}
            taken |= files
    return kept


def _line_of(
    row: Row, args: argparse.Namespace, base: Path, out: Path, pipeline: Any, taken: dict[str, int], task: Task
) -> Facts:
    """Make one row; what goes wrong becomes its line."""
    line: dict[str, Any] = {"row": row.number, "out": str(row.values.get("out", "")), "files": []}
    try:
        options = options_of(row, args, base, out, task.table)
        line.update(out=_inside(options.out, out), hash=row_hash(options, task.table))
        with naming_options(options):
            kind = task.check(options)
            files = [_inside(file, out) for file in numbered(Path(options.out), options.num_sounds)]
            if twin := next((taken[file] for file in files if file in taken), None):
                raise UsageError(f"out {line['out']} is also that of row {twin}: give another name")
            pipeline.load_parts(kind, options.closer)
            facts = task.make(kind, options, pipeline)
    except (ClipsonicError, OSError) as error:
        return {**line, "error": str(error)}
    except Exception as error:  # the border: whatever one row brings about, the others are made
        return {**line, "error": f"failed unexpectedly ({type(error).__name__}: {error})"}
    taken.update(dict.fromkeys(files, row.number))
    facts.pop("spectrograms")
    return {**line, **facts, "files": files}


def _conclude(lines: list[dict[str, Any]], num_kept: int, out: Path) -> dict[str, Any]:
    failed = [line for line in lines if "error" in line]
    made = len(lines) - len(failed)
    said = f"{made} of {len(lines)} rows are made ({num_kept} of them before)"
    if failed:
        first = failed[0]
        raise ClipsonicError(
            f"{said}, {len(failed)} failed, the first is row {first['row']}: {first['error']} "
            f"({out / REPORT_FILE} names all; the same command tries them again)"
        )
    return {
        "message": f"{said}: {out}, what was made of each stands in {out / REPORT_FILE}",
        "rows": len(lines),
        "made": made,
        "kept": num_kept,
        "report": str(out / REPORT_FILE),
    }


def _read_report(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of an earlier run; one that it did not finish is passed over."""
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def _inside(path: str | Path, out: Path) -> str:
    return Path(path).relative_to(out).as_posix()


def _text_of(line: dict[str, Any]) -> str:
    return json_text(line) + "\n"


@contextmanager
def _bar(name: str, total: int, done: int) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, initial=done, desc=name, file=sys.stderr, mininterval=0.5) as bar:
        yield bar
