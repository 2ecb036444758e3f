"""What the user listed, as jobs in a fixed order: folders, single files, tars of videos, and manifests of intervals.

Guarantee: the same sources give the same jobs in the same order, each once; names in the corpus are relative and begin
with the name of the folder that was listed, so that no path of this machine gets into a corpus.
Price: one walk of the folders; no file is opened but manifests and tars.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic import remote
from clipsonic.errors import UsageError
from clipsonic.ingest import archives
from clipsonic.ingest.archives import Part
from clipsonic.ingest.manifests import caption_of, interval_of, rows_of
from clipsonic.ingest.segments import Job

MEDIA_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".m4a", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf"),
        *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv", ".f4v", ".ogv", ".mxf", ".dv", ".rm", ".rmvb"),
        *(".mjpeg", ".mjpg", ".nut"),
    )
)
MANIFEST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Line:
    """One thing listed: a path, its name in the corpus, perhaps an interval and a caption."""

    path: Path
    source: str
    start_s: float | None = None
    end_s: float | None = None
    caption: str | None = None
    part: Part | None = None
    url: str | None = None


def list_jobs(sources: Sequence[str | Path]) -> list[Job]:
    """All that the sources list, in order; what is listed twice counts once.

    Args:
        sources: folders (searched to the bottom for media suffixes and tars, sorted; hidden names are left out), media
            files, tars of them (captions as KEY.txt), manifests (.txt: a path a line; .csv, .parquet: columns path,
            start_s, end_s, caption; .jsonl: objects with these), or addresses (s3://, gs://, hf://: all that is below;
            http(s)://: one file).

    Raises:
        UsageError: a source is missing, a folder holds no media file, a manifest is malformed, nothing is listed.
    """
    names = RootNames()
    jobs = jobs_of(line for source in sources for line in _lines_of(source, names))
    if not jobs:
        raise UsageError("nothing is listed: give a folder, a media file or a manifest")
    return jobs


def jobs_of(lines: Iterable[Line]) -> list[Job]:
    """A job for each line, in order; the same seconds of the same bytes are taken once, as they are listed first."""
    jobs: dict[tuple[str, int, float | None, float | None], Job] = {}
    for line in lines:
        offset = line.part.offset if line.part else 0
        place = (line.url or os.path.realpath(line.path), offset, line.start_s, line.end_s)
        jobs.setdefault(place, _job_of(line))
    return list(jobs.values())


def _job_of(line: Line) -> Job:
    source_id = _hash_of(line.source)
    interval = "" if line.start_s is None and line.end_s is None else f"\x1f{line.start_s}\x1f{line.end_s}"
    entry_id = _hash_of(line.source + interval) if interval else source_id
    path = line.url or str(line.path.absolute())
    return Job(path, line.source, source_id, entry_id, line.start_s, line.end_s, line.caption, line.part)


def _hash_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class RootNames:
    """Names of listed folders: the last part of the path, numbered where two have the same."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, folder: Path) -> str:
        """The name of a folder."""
        real = os.path.realpath(folder)
        return self._name(real, Path(real).name)

    def of_url(self, url: str) -> str:
        """The name of what is at an address; nothing else of the address gets into a corpus."""
        return self._name(url, remote.name_of(url))

    def _name(self, real: str, last: str) -> str:
        if real not in self._names:
            name = _printable(last or "root")
            taken = set(self._names.values())
            choices = (name if number == 1 else f"{name}~{number}" for number in range(1, len(taken) + 2))
            self._names[real] = next(choice for choice in choices if choice not in taken)
        return self._names[real]


def _lines_of(given: str | Path, names: RootNames) -> Iterator[Line]:
    if isinstance(given, str) and remote.is_remote(given):
        return _lines_of_url(given, names)
    source = Path(given)
    if source.is_dir():
        return lines_of_folder(source, names)
    if not os.path.lexists(source):
        raise UsageError(f"source {str(source)!r} does not exist: give a folder, a media file or a manifest")
    if source.suffix.lower() in MANIFEST_SUFFIXES:
        return _lines_of_manifest(source, names)
    return _lines_of_file(source, f"{names.of(source.parent)}/{_printable(source.name)}")


def _lines_of_url(url: str, names: RootNames) -> Iterator[Line]:
    """All media files and tars below an address."""
    found = remote.list_files(url)
    one_file = len(found) == 1 and found[0][0] == url
    root = names.of_url(url.rstrip("/").rpartition("/")[0] if one_file else url)
    wanted = [(place, name) for place, name in found if one_file or _is_media(name)]
    if not wanted:
        raise UsageError(f"source {url!r} holds no media file among {len(found)}: give a folder with videos")
    for place, name in wanted:
        yield from _lines_of_file(Path(name), f"{root}/{_printable(name)}", place)


def _lines_of_file(path: Path, source: str, url: str | None = None) -> Iterator[Line]:
    """The file itself or, of a tar, its videos; a tar that cannot be read stands for itself and is refused later."""
    if path.suffix.lower() == archives.SUFFIX:
        try:
            for part, caption in archives.members_of(url or path, MEDIA_SUFFIXES):
                yield Line(path, f"{source}/{_printable(part.name)}", caption=caption, part=part, url=url)
            return
        except (tarfile.TarError, OSError):
            pass
    yield Line(path, source, url=url)


def _is_media(name: str) -> bool:
    return Path(name).suffix.lower() in (*MEDIA_SUFFIXES, archives.SUFFIX)


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
            if not name.startswith(".") and _is_media(name):
                yield Path(here) / name


def _printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def _lines_of_manifest(manifest: Path, names: RootNames) -> Iterator[Line]:
    rows = rows_of(manifest)
    empty = True
    for number, row in rows:
        empty = False
        yield _line_of_row(row, manifest, number, names)
    if empty:
        raise UsageError(f"manifest {str(manifest)!r} lists nothing: give one path a line")


def _line_of_row(row: Any, manifest: Path, number: int, names: RootNames) -> Line:
    where = f"manifest {str(manifest)!r}, line {number}"
    if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not row["path"].strip():
        raise UsageError(f"{where}: no path; a line needs one, and may have start_s and end_s")
    if None in row:
        raise UsageError(f"{where}: {row[None]!r} stands beyond the last column; put a caption with commas in quotes")
    if remote.is_remote(row["path"].strip()):
        return _line_of_url(row, where, names)
    path = manifest.parent / row["path"].strip()
    start_s, end_s = interval_of(row, where)
    try:
        inner = path.resolve().relative_to(manifest.parent.resolve()).as_posix()
        source = f"{names.of(manifest.parent)}/{_printable(inner)}"
    except ValueError:  # outside of the manifest's folder
        source = f"{names.of(path.parent)}/{_printable(path.name)}"
    return Line(path, source, start_s, end_s, caption_of(row))


def _line_of_url(row: Any, where: str, names: RootNames) -> Line:
    url = row["path"].strip()
    start_s, end_s = interval_of(row, where)
    source = f"{names.of_url(url.rpartition('/')[0])}/{_printable(remote.name_of(url))}"
    return Line(Path(remote.name_of(url)), source, start_s, end_s, caption_of(row), url=url)
