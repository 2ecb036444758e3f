"""The rows of a batch: a CSV or JSON-lines file with one prompt a row, or a folder of videos.

Guarantee: a table whose header cannot be right is refused before anything is made; what is wrong in a row (a value that
cannot be read, a line that is no JSON) spoils that row only. Relative paths are relative to the batch file; no output
lies outside the output folder. Price: the file is read whole.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.generate.options import PROMPTS, VIDEO_SUFFIXES, off_or_number
from clipsonic.text import check_text, object_of, read_lines

_NOT_OF_THE_SOUND = ("out", "batch", "json", "debug", "list_kinds", "device", "spectrogram")
SOURCE_SUFFIXES = (*VIDEO_SUFFIXES, ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp")


def has_frames(path: str | Path) -> bool:
    """Whether a file of this name is taken for a video."""
    return Path(path).suffix.lower() in SOURCE_SUFFIXES


def yes_or_no(word: Any) -> bool:
    """Raises ValueError for another word."""
    said = str(word).strip().lower()
    return True if said in ("yes", "true", "1") else False if said in ("no", "false", "0") else _fail("yes or no")


def _fail(wanted: str) -> Any:
    raise ValueError(wanted)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _fail("a word")


def _number(word: Any) -> float:
    return float(word) if isinstance(word, str | int | float) and not isinstance(word, bool) else _fail("a number")


def _whole(word: Any) -> int:
    return int(word) if _number(word) == int(_number(word)) else _fail("a whole number")


def _off_or_number(word: Any) -> float | None:
    return off_or_number(str(word if isinstance(word, str) else _number(word)))


COLUMNS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*PROMPTS, "out", "negative_text", "closer", "mix"), _word),
    **dict.fromkeys(("seed", "steps", "num_sounds", "best_of"), _whole),
    **dict.fromkeys(("duration_s", "start_s", "guidance", "fade_in_s", "fade_out_s", "mix_db"), _number),
    **dict.fromkeys(("loudness", "true_peak"), _off_or_number),
    "stereo": yes_or_no,
}


@dataclass(frozen=True)
class Table:
    """What the rows of a batch may say.

    Args:
        columns: from the name of an option to what reads it, ValueError for what cannot be read.
        files: those of them that name files.
        kind: which of these a folder is a list of, and what people call several of them.
        suffixes: of such files.
        out_suffixes: in which an output may end; of a file that ends otherwise the output ends in the first one.
    """

    columns: Mapping[str, Callable[[Any], Any]]
    files: tuple[str, ...]
    kind: tuple[str, str]
    suffixes: tuple[str, ...]
    out_suffixes: tuple[str, ...]


PROMPT_TABLE = Table(
    COLUMNS, ("image", "video", "audio", "embeds"), ("video", "videos"), SOURCE_SUFFIXES, VIDEO_SUFFIXES
)


@dataclass(frozen=True)
class Row:
    """One row: its number from 1, its values as they stand there, empty ones left out, and what is wrong with it."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


def read_rows(path: Path, table: Table = PROMPT_TABLE) -> tuple[list[Row], Path]:
    """All rows, and the folder that their relative paths start from.

    Raises:
        UsageError: no such file, no rows, unknown columns, or not what its suffix says.
    """
    if path.is_dir():
        return _files_in(path, table), path
    if not path.is_file():
        raise UsageError(f"--batch {path} does not exist: give a .csv or .jsonl file, or a folder of {table.kind[1]}")
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise UsageError(f"--batch {path} must end in .csv or .jsonl, or be a folder of {table.kind[1]}")
    try:
        rows = readers[path.suffix.lower()](path, table)
    except UnicodeDecodeError as error:
        raise UsageError(f"--batch {path} is no text that can be read ({error}): save it as UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"--batch {path} is no CSV that can be read ({error}): quote its fields anew") from None
    if not rows:
        raise UsageError(f"--batch {path} has no rows: give at least one")
    return rows, path.parent


def options_of(
    row: Row, args: argparse.Namespace, base: Path, out: Path, table: Table = PROMPT_TABLE
) -> argparse.Namespace:
    """The command's options with those of the row put in their places; `out` is the output folder.

    Raises:
        UsageError: a row that is no such thing, a value that cannot be read, or an output outside of the folder.
    """
    if row.fault is not None:
        raise UsageError(row.fault)
    made = argparse.Namespace(**vars(args))
    for name, value in row.values.items():
        if isinstance(value, str):
            check_text(value, name)
        try:
            setattr(made, name, table.columns[name](value))
        except (ValueError, TypeError, OverflowError, argparse.ArgumentTypeError):
            raise UsageError(f"{name} {value!r} cannot be read: give {_wanted(table.columns[name])}") from None
    for name in table.files:
        if name in row.values:
            setattr(made, name, str(base / row.values[name]))
    made.out = str(out / _place(row))
    return made


def row_hash(options: argparse.Namespace, table: Table = PROMPT_TABLE) -> str:
    """What the row's sound is made from: every option, and size and time of the files it names."""
    said = {name: value for name, value in vars(options).items() if name not in _NOT_OF_THE_SOUND}
    stamps = []
    for name in table.files:
        file = Path(getattr(options, name) or "")
        stamps.append([file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else None)
    model = Path(str(options.model)) / "model_index.json"
    stamps.append([model.stat().st_mtime_ns] if model.is_file() else None)
    text = json.dumps([said, stamps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _place(row: Row) -> PurePath:
    """Where the row's file lies in the output folder."""
    place = PurePath(str(row.values.get("out", f"{row.number:04d}.wav")))
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise UsageError(f"out {str(place)!r} must be a file inside of the output folder: give a relative path")
    return place


def _wanted(reader: Callable[[Any], Any]) -> str:
    kinds: dict[Callable[[Any], Any], str] = {
        _whole: "a whole number",
        _number: "a number",
        _off_or_number: "a number or off",
        yes_or_no: "yes or no",
    }
    return kinds.get(reader, reader.__doc__ or "a word")


def _csv_rows(path: Path, table: Table) -> list[Row]:
    """The rows of a table with a header.

    Raises:
        UsageError: the header names an unknown column, or one twice.
    """
    lines = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
    header = [name.strip() for name in next(lines, [])]
    if unknown := [name for name in header if name not in table.columns]:
        raise UsageError(f"--batch {path} has a column {unknown[0]!r}: use only {', '.join(table.columns)}")
    if twice := [name for name in header if header.count(name) > 1]:
        raise UsageError(f"--batch {path} has two columns {twice[0]!r}: keep one of them")
    return [_csv_row(number, header, fields) for number, fields in enumerate(filter(None, lines), 1)]


def _csv_row(number: int, header: list[str], fields: list[str]) -> Row:
    if len(fields) > len(header):
        return Row(number, fault=f"it has {len(fields)} fields for {len(header)} columns: quote fields with commas")
    return Row(number, _filled(dict(zip(header, fields, strict=False))))


def _json_rows(path: Path, table: Table) -> list[Row]:
    return [_json_row(number, line, table) for number, line in enumerate(filter(str.strip, read_lines(path)), 1)]


def _json_row(number: int, line: str, table: Table) -> Row:
    try:
        values = object_of(line)
    except ValueError as error:
        return Row(number, fault=f"it is no JSON object ({error}): give one a line")
    if unknown := [name for name in values if name not in table.columns]:
        return Row(number, fault=f"it has a value {unknown[0]!r}: use only {', '.join(table.columns)}")
    return Row(number, _filled(values))


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _files_in(folder: Path, table: Table) -> list[Row]:
    (kind, many), suffixes = table.kind, table.suffixes
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.is_file())
    if not files:
        raise UsageError(f"--batch {folder} holds no {many} ({', '.join(suffixes)}): give another folder")
    stems = Counter(file.stem for file in files)
    rows = []
    for number, file in enumerate(files, 1):
        suffix = file.suffix.lower() if file.suffix.lower() in table.out_suffixes else table.out_suffixes[0]
        stem = file.name.replace(".", "_") if stems[file.stem] > 1 else file.stem
        rows.append(Row(number, {kind: file.name, "out": stem + suffix}))
    return rows
