"""Rows of a manifest, a list of files and intervals as text, CSV, JSON lines or Parquet.

Guarantee: only the columns path, start_s, end_s and caption are read; every mistake names its line.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError

_COLUMNS = ("path", "start_s", "end_s", "caption")
"""Of a manifest without a header."""


def rows_of(manifest: Path) -> Iterator[tuple[int, Any]]:
    """(number of the line, row) of a manifest, by its suffix."""
    suffix = manifest.suffix.lower()
    if suffix == ".parquet":
        return _rows_of_parquet(manifest)
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"manifest {str(manifest)!r} cannot be read as UTF-8 text: {error}") from None
    return {".txt": _rows_of_txt, ".csv": _rows_of_csv, ".jsonl": _rows_of_jsonl}[suffix](text)


def _rows_of_parquet(manifest: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(manifest)
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"manifest {str(manifest)!r} cannot be read as Parquet: {error}") from None


def _rows_of_txt(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            cells = line.strip().split("\t")
            yield number, dict(zip_longest(_COLUMNS, cells))


def _rows_of_csv(text: str) -> Iterator[tuple[int, Any]]:
    header = next(csv.reader(io.StringIO(text)), [])
    if "path" in (cell.strip() for cell in header):
        reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    else:
        reader = csv.DictReader(io.StringIO(text), fieldnames=_COLUMNS, skipinitialspace=True)
    for row in reader:
        yield reader.line_num, {name and name.strip(): cell for name, cell in row.items()}


def _rows_of_jsonl(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def interval_of(row: Any, where: str) -> tuple[float | None, float | None]:
    start_s, end_s = (_seconds_of(row.get(name), f"{where}: {name}") for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise UsageError(f"{where}: end_s {end_s:g} must be above start_s {start_s or 0.0:g}")
    return start_s or None, end_s


def caption_of(row: Any) -> str | None:
    caption = row.get("caption")
    return caption if isinstance(caption, str) and caption.strip() else None


def _seconds_of(value: Any, where: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise UsageError(f"{where} is {value!r}: give seconds, 0 or more")
    return seconds
