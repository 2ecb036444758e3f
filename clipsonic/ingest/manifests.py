"""Rows of a manifest, a list of files and intervals as text, CSV, JSON lines or Parquet.

Guarantee: only the columns path, start_s, end_s and caption are read; a row that cannot be used is refused by itself,
with its line, and costs no other row. Names that are no UTF-8 are kept as the bytes they are.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.text import lines_of

_COLUMNS = ("path", "start_s", "end_s", "caption")
"""Of a manifest without a header."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
BLANK = " \t\r\n"
"""What is cut off at the ends of a cell; other spaces may belong to a name."""

Row = dict[Any, Any] | RefusedError | None
"""What stands in a line: columns by name, why it cannot be used, or nothing, for a comment."""


def bad_row(words: str) -> RefusedError:
    """This row cannot be used."""
    return RefusedError(RefusalReason.BAD_ROW, words)


def rows_of(manifest: Path) -> Iterator[tuple[int, Row]]:
    """(number of the line, row) of a manifest, by its suffix.

    Raises:
        UsageError: the file as a whole cannot be read, or its header names a column twice.
    """
    suffix = manifest.suffix.lower()
    if suffix == ".parquet":
        return _rows_of_parquet(manifest)
    text = text_of(manifest, f"manifest {str(manifest)!r}")
    if suffix == ".csv":
        return _rows_of_csv(text, manifest)
    return (_rows_of_txt if suffix == ".txt" else _rows_of_jsonl)(text)


def text_of(path: Path, what: str) -> str:
    """The text of a file; a byte-order mark is left out, bytes that are no UTF-8 become lone surrogates.

    Raises:
        UsageError: it cannot be read, or is UTF-16.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}") from None
    if data[:2] in _UTF_16:
        raise UsageError(f"{what} is UTF-16: save it as UTF-8")
    return data.decode("utf-8-sig", "surrogateescape")


def cells_of_csv(text: str) -> Iterator[tuple[int, list[str] | RefusedError]]:
    """(number of its first line, cells) of each row that is not blank; one whose quotes do not close costs one line."""
    lines, place = list(io.StringIO(text, newline="")), 0
    while place < len(lines):
        number, (cells, place) = place + 1, _cells_at(lines, place)
        if isinstance(cells, RefusedError) or any(cell.strip() for cell in cells):
            yield number, cells


def _cells_at(lines: Sequence[str], place: int) -> tuple[list[str] | RefusedError, int]:
    reader = csv.reader((lines[number] for number in range(place, len(lines))), skipinitialspace=True)
    try:
        cells = next(reader, [])
        end = place + reader.line_num
        is_open = end == len(lines) and lines[place].count('"') % 2 == 1
        if reader.line_num > 1 or is_open:  # a quotation mark takes in all that follows, up to the next one
            next(csv.reader(lines[place:end], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        return bad_row(f"it is no CSV ({error}): is a quotation mark not closed?"), place + 1
    return cells, end


def _rows_of_parquet(manifest: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(manifest)
        columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
        _check_columns(columns, manifest)
        rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"manifest {str(manifest)!r} cannot be read as Parquet: {error}") from None


def _rows_of_txt(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            yield number, dict(zip_longest(_COLUMNS, line.strip(BLANK).split("\t")))


def _rows_of_csv(text: str, manifest: Path) -> Iterator[tuple[int, Row]]:
    columns: Sequence[str] | None = None
    for number, cells in cells_of_csv(text):
        if isinstance(cells, RefusedError):
            yield number, cells
        elif columns is None and not cells[0].startswith("#"):
            header = [cell.strip().lower() for cell in cells]
            _check_columns(header, manifest)
            columns = header if "path" in header else _COLUMNS
            if columns is _COLUMNS:
                yield number, _row_of(columns, cells)
        else:
            yield number, _row_of(columns or _COLUMNS, cells)


def _row_of(columns: Sequence[str], cells: Sequence[str]) -> dict[Any, Any]:
    """As `csv.DictReader` has it: what stands beyond the last column is under None."""
    row: dict[Any, Any] = dict(zip_longest(columns, cells[: len(columns)]))
    return {**row, None: list(cells[len(columns) :])} if len(cells) > len(columns) else row


def _check_columns(header: Sequence[str], manifest: Path) -> None:
    if twice := [name for name in _COLUMNS if header.count(name) > 1]:
        raise UsageError(f"manifest {str(manifest)!r} has the column {twice[0]} twice: keep one of them")
    for separator in ";\t":
        if len(header) == 1 and "path" in header[0].split(separator)[: header[0].count(separator)]:
            raise UsageError(f"manifest {str(manifest)!r} has its columns between {separator!r}: put commas there")


def _rows_of_jsonl(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            yield number, None if line.lstrip().startswith("#") else _object_of(line)


def _object_of(line: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_without_twins)
    except RefusedError as refused:
        return refused
    except (ValueError, RecursionError):
        return bad_row('it is no JSON: give one object a line, such as {"path": "a.mp4"}')
    return row if isinstance(row, dict) else bad_row('it is no object: give one a line, such as {"path": "a.mp4"}')


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in _COLUMNS if names.count(name) > 1]:
        raise bad_row(f"it has the key {twice[0]} twice: keep one of them")
    return dict(pairs)


def path_of(row: dict[Any, Any]) -> str:
    """The path or address of a row, as it stands there.

    Raises:
        RefusedError: bad_row, there is none, or none that a file system knows.
    """
    path = row.get("path")
    if path is None or (isinstance(path, str) and not path.strip()):
        raise bad_row("no path; a line needs one, and may have start_s and end_s")
    if not isinstance(path, str):
        raise bad_row(f"path is {path!r}: give a text")
    if None in row:
        raise bad_row(f"{row[None]!r} stands beyond the last column; put a caption with commas in quotes")
    name = path.rpartition("/")[2]  # no path of this machine gets into a corpus
    if "\0" in path:
        raise bad_row(f"path {name!r} holds a NUL, which no file name can")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise bad_row(f"path {name!r} holds half a character, which no file name can") from None
    return path.strip(BLANK)


def interval_of(row: dict[Any, Any]) -> tuple[float | None, float | None]:
    """Start and end in seconds, None where the row has none.

    Raises:
        RefusedError: bad_row.
    """
    start_s, end_s = (seconds_of(row.get(name), name) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise bad_row(f"end_s {end_s:g} must be above start_s {start_s or 0.0:g}")
    return start_s or None, end_s


def caption_of(row: dict[Any, Any]) -> str | None:
    """The caption of a row, None if it has none; what is no character in it becomes U+FFFD.

    Raises:
        RefusedError: bad_row, it is no text.
    """
    caption = row.get("caption")
    if caption is not None and not isinstance(caption, str):
        raise bad_row(f"caption is {caption!r}: give a text")
    return in_whole_characters(caption) if caption and caption.strip() else None


def in_whole_characters(text: str) -> str:
    """The same text; halves of characters and bytes that are no UTF-8 become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def seconds_of(value: Any, name: str, hint: str = "") -> float | None:
    """A time, None where the cell is empty.

    Raises:
        RefusedError: bad_row, it is no finite number of 0 or more.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise bad_row(f"{name} is {value!r}: give seconds, 0 or more{hint}")
    return seconds
