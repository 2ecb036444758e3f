"""What the user listed, as jobs in a fixed order: folders, single files, tars of videos, and manifests of intervals.

Guarantee: the same sources give the same jobs in the same order, each once; names in the corpus are relative and begin
with the name of the folder that was listed, so that no path of this machine gets into a corpus.
Price: one walk of the folders; no file is opened but manifests and tars.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.ingest import archives
from clipsonic.ingest.archives import Part
from clipsonic.ingest.segments import Job

MEDIA_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".m4a", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf"),
        *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".ogv", ".mxf", ".dv", ".rm", ".rmvb"),
        *(".mjpeg", ".mjpg", ".nut"),
    )
)
MANIFEST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
_COLUMNS = ("path", "start_s", "end_s", "caption")
"""Of a manifest without a header."""


@dataclass(frozen=True)
class Line:
    """One thing listed: a path, its name in the corpus, perhaps an interval and a caption."""

    path: Path
    source: str
    start_s: float | None = None
    end_s: float | None = None
    caption: str | None = None
    part: Part | None = None


def list_jobs(sources: Sequence[str | Path]) -> list[Job]:
    """All that the sources list, in order; what is listed twice counts once.

    Args:
        sources: folders (searched to the bottom for media suffixes and tars, sorted; hidden names are left out), media
            files, tars of them (captions as KEY.txt), or manifests (.txt: a path a line; .csv, .parquet: columns path,
            start_s, end_s, caption; .jsonl: objects with these).

    Raises:
        UsageError: a source is missing, a folder holds no media file, a manifest is malformed, nothing is listed.
    """
    names = RootNames()
    jobs: dict[tuple[str, int, float | None, float | None], Job] = {}
    for source in sources:
        for line in _lines_of(Path(source), names):
            offset = line.part.offset if line.part else 0
            place = (os.path.realpath(line.path), offset, line.start_s, line.end_s)
            jobs.setdefault(place, job_of(line))
    if not jobs:
        raise UsageError("nothing is listed: give a folder, a media file or a manifest")
    return list(jobs.values())


def job_of(line: Line) -> Job:
    source_id = _hash_of(line.source)
    interval = "" if line.start_s is None and line.end_s is None else f"\x1f{line.start_s}\x1f{line.end_s}"
    entry_id = _hash_of(line.source + interval) if interval else source_id
    path = str(line.path.absolute())
    return Job(path, line.source, source_id, entry_id, line.start_s, line.end_s, line.caption, line.part)


def _hash_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class RootNames:
    """Names of listed folders: the last part of the path, numbered where two have the same."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, folder: Path) -> str:
        real = os.path.realpath(folder)
        if real not in self._names:
            name = _printable(Path(real).name or "root")
            taken = set(self._names.values())
            choices = (name if number == 1 else f"{name}~{number}" for number in range(1, len(taken) + 2))
            self._names[real] = next(choice for choice in choices if choice not in taken)
        return self._names[real]


def _lines_of(source: Path, names: RootNames) -> Iterator[Line]:
    if source.is_dir():
        return lines_of_folder(source, names)
    if not os.path.lexists(source):
        raise UsageError(f"source {str(source)!r} does not exist: give a folder, a media file or a manifest")
    if source.suffix.lower() in MANIFEST_SUFFIXES:
        return _lines_of_manifest(source, names)
    return _lines_of_file(source, f"{names.of(source.parent)}/{_printable(source.name)}")


def _lines_of_file(path: Path, source: str) -> Iterator[Line]:
    """The file itself or, of a tar, its videos; a tar that cannot be read stands for itself and is refused later."""
    if path.suffix.lower() == archives.SUFFIX:
        try:
            for part, caption in archives.members_of(path, MEDIA_SUFFIXES):
                yield Line(path, f"{source}/{_printable(part.name)}", caption=caption, part=part)
            return
        except (tarfile.TarError, OSError):
            pass
    yield Line(path, source)


def lines_of_folder(folder: Path, names: RootNames) -> Iterator[Line]:
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise UsageError(
            f"folder {str(folder)!r} holds no media file: give a folder with videos "
            f"({', '.join(sorted(MEDIA_SUFFIXES)[:6])} ...)"
        )
    root = names.of(folder)
    for path in found:
        yield from _lines_of_file(path, f"{root}/{_printable(path.relative_to(folder).as_posix())}")


def _walk(folder: Path) -> Iterator[Path]:
    """Files with a media suffix and tars, links followed, no folder twice."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in (*MEDIA_SUFFIXES, archives.SUFFIX):
                yield Path(here) / name


def _printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _lines_of_manifest(manifest: Path, names: RootNames) -> Iterator[Line]:
    rows = _rows_of(manifest)
    empty = True
    for number, row in rows:
        empty = False
        yield _line_of_row(row, manifest, number, names)
    if empty:
        raise UsageError(f"manifest {str(manifest)!r} lists nothing: give one path a line")


def _rows_of(manifest: Path) -> Iterator[tuple[int, Any]]:
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


def _line_of_row(row: Any, manifest: Path, number: int, names: RootNames) -> Line:
    where = f"manifest {str(manifest)!r}, line {number}"
    if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not row["path"].strip():
        raise UsageError(f"{where}: no path; a line needs one, and may have start_s and end_s")
    if None in row:
        raise UsageError(f"{where}: {row[None]!r} stands beyond the last column; put a caption with commas in quotes")
    path = manifest.parent / row["path"].strip()
    start_s, end_s = (_seconds_of(row.get(name), f"{where}: {name}") for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise UsageError(f"{where}: end_s {end_s:g} must be above start_s {start_s or 0.0:g}")
    try:
        inner = path.resolve().relative_to(manifest.parent.resolve()).as_posix()
        source = f"{names.of(manifest.parent)}/{_printable(inner)}"
    except ValueError:  # outside of the manifest's folder
        source = f"{names.of(path.parent)}/{_printable(path.name)}"
    caption = row.get("caption")
    return Line(path, source, start_s or None, end_s, caption if isinstance(caption, str) and caption.strip() else None)


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
