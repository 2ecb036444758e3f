"""Publishers' lists of videos (VGGSound, AudioSet, MUSIC): which seconds of which ids, beside the videos one has.

Guarantee: the list is the user's file, read by position as its recipe says; a listed video that is not there is counted
and named, never fatal; every interval is taken once, in the order of the list. Price: one walk of the folders.

A video is found by its file's name: ID, ID_START, ID_START_END (seconds, or milliseconds as downloaders of AudioSet
write them), or `Title [ID]`. A name with a start is of a piece that was cut out already and is taken whole.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.ingest.segments import Job
from clipsonic.ingest.sources import Line, RootNames, jobs_of, lines_of_folder

KINDS = ("csv", "json_by_label")
COLUMNS = ("id", "start_s", "end_s", "caption", "split", "ignored")
_IN_BRACKETS = re.compile(r"\[([A-Za-z0-9_-]{6,})\]$")


@dataclass(frozen=True)
class ListFormat:
    """How a publisher's list is laid out; from the `list` key of a recipe.

    Args:
        kind: `csv` (no header; lines that begin with # are left out), or `json_by_label`: {"videos": {label: [ids]}}.
        columns: of csv, what stands in each column, of COLUMNS.
        seconds: length of an interval of which only the start is given.
    """

    kind: str = "csv"
    columns: tuple[str, ...] = ("id",)
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"list kind {self.kind!r} is unknown: choose one of {', '.join(KINDS)}")
        if strange := sorted(set(self.columns) - set(COLUMNS)):
            raise UsageError(f"list columns {', '.join(strange)} are unknown: choose of {', '.join(COLUMNS)}")


@dataclass(frozen=True)
class Entry:
    """One line of a list; times in seconds, None = the whole video."""

    id: str
    start_s: float | None = None
    end_s: float | None = None
    caption: str | None = None
    split: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, unset ones left out."""
        return {name: value for name, value in vars(self).items() if value is not None}


def read_list(path: Path, layout: ListFormat, split: str | None = None) -> list[Entry]:
    """The entries of a list, of this split only if one is given.

    Raises:
        UsageError: the file cannot be read so, or has no entry of this split.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--list {path} cannot be read as UTF-8 text: {error}") from None
    reader = _entries_of_csv if layout.kind == "csv" else _entries_of_json
    entries = list(reader(text, path, layout))
    if split is not None:
        splits = sorted({entry.split for entry in entries if entry.split is not None})
        entries = [entry for entry in entries if entry.split == split]
        if not entries:
            raise UsageError(f"--list {path} has no split {split!r}: it has {', '.join(splits) or 'none'}")
    if not entries:
        raise UsageError(f"--list {path} lists nothing: give the publisher's own file")
    return list(dict.fromkeys(entries))


def jobs_of_list(folders: Sequence[str | Path], entries: Sequence[Entry]) -> tuple[list[Job], list[Entry]]:
    """What of the list is in these folders, as jobs in the list's order, and what is not.

    Raises:
        UsageError: a source is no folder, or nothing of the list is there.
    """
    names, lines = RootNames(), dict[str, Line]()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UsageError(f"source {str(folder)!r} is no folder: with --list, give folders of videos")
        for line in lines_of_folder(folder, names):
            lines.setdefault(_name_in_lists(line), line)
    found = [_found(entry, lines) for entry in entries]
    missing = [entry for entry, line in zip(entries, found, strict=True) if line is None]
    jobs = jobs_of(line for line in found if line is not None)
    if not jobs:
        example = f"{entries[0].id}.mp4"
        raise UsageError(
            f"none of the {len(entries)} listed videos is in {', '.join(map(str, folders))}: "
            f"name the files by their ids, such as {example}"
        )
    return jobs, missing


def _name_in_lists(line: Line) -> str:
    stem = Path(line.source).stem
    in_brackets = _IN_BRACKETS.search(stem)
    return in_brackets[1] if in_brackets else stem


def _found(entry: Entry, lines: dict[str, Line]) -> Line | None:
    """The file of an entry: a piece that was cut out already, else the interval of the whole video."""
    for name in _names_of_piece(entry):
        if name in lines:
            line = lines[name]
            return dataclasses.replace(line, caption=entry.caption)
    if (whole := lines.get(entry.id)) is None:
        return None
    return dataclasses.replace(whole, start_s=entry.start_s or None, end_s=entry.end_s, caption=entry.caption)


def _names_of_piece(entry: Entry) -> Iterator[str]:
    if entry.start_s is None:
        return
    start, end = entry.start_s, entry.end_s
    for scale in (1, 1000):
        first = f"{start * scale:.0f}"
        if end is not None:
            last = f"{end * scale:.0f}"
            yield f"{entry.id}_{first}_{last}"
            yield f"{entry.id}_{first:0>6}_{last:0>6}"
        yield f"{entry.id}_{first}"
        yield f"{entry.id}_{first:0>6}"


def _entries_of_csv(text: str, path: Path, layout: ListFormat) -> Iterator[Entry]:
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    for row in reader:
        if not row or not row[0].strip() or row[0].lstrip().startswith("#"):
            continue
        where = f"--list {path}, line {reader.line_num}"
        if len(row) != len(layout.columns):
            wanted = ", ".join(layout.columns)
            raise UsageError(f"{where}: {len(row)} columns, the recipe is for {len(layout.columns)}: {wanted}")
        cells = {name: cell.strip() for name, cell in zip(layout.columns, row, strict=True)}
        start_s, end_s = (_seconds(cells.get(name), f"{where}: {name}") for name in ("start_s", "end_s"))
        if start_s is not None and end_s is None:
            end_s = start_s + layout.seconds
        yield Entry(cells["id"], start_s, end_s, cells.get("caption") or None, cells.get("split") or None)


def _entries_of_json(text: str, path: Path, layout: ListFormat) -> Iterator[Entry]:
    try:
        for label, ids in json.loads(text)["videos"].items():
            yield from (Entry(str(one), caption=label.replace("_", " ")) for one in ids)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f'--list {path} is not {{"videos": {{label: [ids]}}}} ({error!r}): give that file') from None


def _seconds(cell: str | None, where: str) -> float | None:
    if cell is None:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise UsageError(f"{where} is {cell!r}: give seconds, 0 or more (is this the list that the recipe is for?)")
    return seconds
