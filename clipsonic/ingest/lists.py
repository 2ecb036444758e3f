"""Publishers' lists of videos (VGGSound, AudioSet, MUSIC): which seconds of which ids, beside the videos one has.

Guarantee: the list is the user's file, read by position as its recipe says; a listed video that is not there is counted
and named, a line that cannot be used is refused by itself, neither is fatal; every interval is taken once, in the order
of the list. Price: one walk of the folders.

A video is found by its file's name: ID, ID_START, ID_START_END (seconds, or milliseconds as downloaders of AudioSet
write them), or `Title [ID]`. A name with a start is of a piece that was cut out already and is taken whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.files import printable
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.manifests import bad_row, cells_of_csv, in_whole_characters, seconds_of, text_of
from clipsonic.ingest.sources import Line, Remarks, RootNames, jobs_of, lines_of_folder
from clipsonic.refusals import RefusalReason, RefusedError

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
        named = [name for name in self.columns if name != "ignored"]
        if "id" not in named or len(set(named)) < len(named):
            raise UsageError(f"list columns {', '.join(self.columns)}: give id, and no name but ignored twice")
        if not 0.0 < self.seconds < math.inf:
            raise UsageError(f"list seconds {self.seconds:g}: give a length above 0")


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


def read_list(path: Path, layout: ListFormat, split: str | None = None, remarks: Remarks | None = None) -> list[Entry]:
    """The entries of a list, of this split only if one is given; `remarks` is told which lines cannot be used.

    Raises:
        UsageError: the file cannot be read so, not one line can be used, or there is no entry of this split.
    """
    text, remarks = text_of(path, f"--list {path}"), remarks or Remarks()
    reader = _entries_of_csv(text, layout, remarks) if layout.kind == "csv" else _entries_of_json(text, path)
    entries, refused = [], []
    for where, entry in reader:
        if isinstance(entry, RefusedError):
            refused.append((where, entry.detail))
        else:
            entries.append(entry)
    if refused and not entries:
        raise UsageError(f"--list {path}, {refused[0][0]}: {refused[0][1]}")
    for where, words in refused:
        remarks.refuse(f"{printable(path.name)}, {where}", RefusalReason.BAD_ROW, words)
    if split is not None:
        splits = sorted({entry.split for entry in entries if entry.split is not None})
        entries = [entry for entry in entries if entry.split == split]
        if not entries:
            raise UsageError(f"--list {path} has no split {split!r}: it has {', '.join(splits) or 'none'}")
    if not entries:
        raise UsageError(f"--list {path} lists nothing: give the publisher's own file")
    return list(dict.fromkeys(entries))


def jobs_of_list(
    folders: Sequence[str | Path], entries: Sequence[Entry], remarks: Remarks | None = None
) -> tuple[list[Job], list[Entry]]:
    """What of the list is in these folders, as jobs in the list's order, and what is not.

    Raises:
        UsageError: a source is no folder, or nothing of the list is there.
    """
    names, lines, remarks = RootNames(), dict[str, Line](), remarks or Remarks()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UsageError(f"source {str(folder)!r} is no folder: with --list, give folders of videos")
        for line in lines_of_folder(folder, names, remarks):
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


def _entries_of_csv(text: str, layout: ListFormat, remarks: Remarks) -> Iterator[tuple[str, Entry | RefusedError]]:
    """(which line, what it lists or why it cannot be used)."""
    for number, cells in cells_of_csv(text):
        if not isinstance(cells, RefusedError) and cells[0].startswith("#"):
            remarks.comments += 1
        else:
            yield f"line {number}", cells if isinstance(cells, RefusedError) else _entry_of(cells, layout)


def _entry_of(row: Sequence[str], layout: ListFormat) -> Entry | RefusedError:
    if len(row) != len(layout.columns):
        wanted = ", ".join(layout.columns)
        return bad_row(f"{len(row)} columns, the recipe is for {len(layout.columns)}: {wanted}")
    cells = {name: in_whole_characters(cell.strip()) for name, cell in zip(layout.columns, row, strict=True)}
    if not cells["id"]:
        return bad_row("it has no id")
    hint = " (is this the list that the recipe is for?)"
    try:
        start_s, end_s = (seconds_of(cells.get(name), name, hint) for name in ("start_s", "end_s"))
    except RefusedError as refused:
        return refused
    if start_s is not None and end_s is None:
        end_s = start_s + layout.seconds
    if end_s is not None and end_s <= (start_s or 0.0):
        return bad_row(f"end_s {end_s:g} must be above start_s {start_s or 0.0:g}")
    return Entry(cells["id"], start_s, end_s, cells.get("caption") or None, cells.get("split") or None)


def _entries_of_json(text: str, path: Path) -> Iterator[tuple[str, Entry | RefusedError]]:
    """(which label and place, what it lists or why it cannot be used)."""
    try:
        labels = json.loads(text)["videos"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f'--list {path} is not {{"videos": {{label: [ids]}}}} ({error!r}): give that file') from None
    for label, ids in labels:
        where, caption = f"label {printable(label)!r}", in_whole_characters(label.replace("_", " "))
        if not isinstance(ids, list):
            yield where, bad_row(f"{ids!r} is no list of ids")
            continue
        for place, one in enumerate(ids):
            is_id = isinstance(one, str) and one.strip()
            entry = Entry(in_whole_characters(one), caption=caption) if is_id else bad_row(f"{one!r} is no id")
            yield f"{where}, place {place + 1}", entry
