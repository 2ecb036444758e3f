"""What the user listed, as jobs in a fixed order: folders, single files, tars of videos, and manifests of intervals.

Guarantee: the same sources give the same jobs in the same order, each once; names in the corpus are relative and begin
with the name of the folder that was listed, so that no path of this machine gets into a corpus. Nothing that stands in
a listed folder, manifest or list is left out silently: what becomes no job (a row that cannot be used, a folder that
cannot be listed, a file of another suffix) is refused or counted in `Remarks`.
Price: one walk of the folders and a look at each file's length and time; no file is opened but manifests and tars.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import is_remote, is_trouble, printable
from clipsonic.ingest.jobs import TAR_SUFFIX, Job, Part, members_of, refusal_of_copy, stamp_of_file
from clipsonic.ingest.manifests import Row, bad_row, caption_of, interval_of, path_of, rows_of
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.remote import list_files, name_of, without_addresses

_SUFFIXES = """
.mp4 .m4v .m4a .mp4v .mpg4 .mov .qt .mqv .3gp .3gpp .3g2 .3gp2 .f4v .f4p .mj2 .mjp2 .ism .ismv .insv .lrv .lrf .360
.mkv .mk3d .webm .avi .divx .xvid .wmv .asf .wm .dvr-ms
.ts .mts .m2ts .m2t .tp .trp .mpg .mpeg .mpe .m2p .ps .vob .vro .evo .mod .tod
.flv .ogv .ogm .ogx .mxf .dv .dif .rm .rmvb .rv .mjpeg .mjpg .nut
"""
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())
"""What people call files of the containers that `opening` knows: of MP4's kin; Matroska, AVI, ASF; MPEG; and others."""
MANIFEST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
HIDDEN, NO_SUFFIX = "hidden", "no suffix"
_MOST_SAID = 8


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
    stamp: str | None = None


def list_jobs(sources: Sequence[str | Path], remarks: Remarks | None = None) -> list[Job]:
    """All that the sources list, in order; what is listed twice counts once.

    Args:
        sources: folders (searched to the bottom for media suffixes and tars, sorted; hidden names are left out), media
            files, tars of them (captions as KEY.txt), manifests (.txt: a path a line; .csv, .parquet: columns path,
            start_s, end_s, caption; .jsonl: objects with these), or addresses (s3://, gs://, hf://: all that is below;
            http(s)://: one file).
        remarks: is told what becomes no job.

    Raises:
        UsageError: a source is missing, a folder holds no media file, a manifest has no row that can be used.
        ClipsonicError: nothing could be listed.
    """
    names, remarks = RootNames(), remarks or Remarks()
    jobs = jobs_of(line for source in sources for line in _lines_of(source, names, remarks))
    if not jobs and remarks.outcomes:
        first = remarks.outcomes[0]
        raise ClipsonicError(f"nothing could be listed, for instance {first.source!r}: {first.detail}")
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
    return Job(
        path, line.source, source_id, entry_id, line.start_s, line.end_s, line.caption, line.part, _stamp_of(line)
    )


def _stamp_of(line: Line) -> str | None:
    if line.part is not None:
        return f"{line.part.size} {line.part.time:.0f}"
    return stamp_of_file(line.path) if line.url is None else line.stamp


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
        return self._name(url, name_of(url))

    def _name(self, real: str, last: str) -> str:
        if real not in self._names:
            name = printable(last or "root")
            taken = set(self._names.values())
            choices = (name if number == 1 else f"{name}~{number}" for number in range(1, len(taken) + 2))
            self._names[real] = next(choice for choice in choices if choice not in taken)
        return self._names[real]


def _lines_of(given: str | Path, names: RootNames, remarks: Remarks) -> Iterator[Line]:
    if isinstance(given, str) and is_remote(given):
        return _lines_of_url(given, names, remarks)
    source = Path(given)
    if _is_folder(source):
        return lines_of_folder(source, names, remarks)
    if not os.path.lexists(source):
        raise UsageError(f"source {str(source)!r} does not exist: give a folder, a media file or a manifest")
    if source.suffix.lower() in MANIFEST_SUFFIXES:
        return _lines_of_manifest(source, names, remarks)
    return _lines_of_file(source, f"{names.of(source.parent)}/{printable(source.name)}", remarks)


def _is_folder(path: Path) -> bool:
    """As `Path.is_dir`, but what this machine does not let us see is an error, not absent."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if is_trouble(error):
            raise
        return False


def _lines_of_url(url: str, names: RootNames, remarks: Remarks) -> Iterator[Line]:
    """All media files and tars below an address."""
    found = list_files(url)
    one_file = len(found) == 1 and found[0][0] == url
    root = names.of_url(url.rstrip("/").rpartition("/")[0] if one_file else url)
    wanted = [item for item in found if one_file or _is_media(item[1], remarks)]
    if not wanted:
        raise UsageError(f"source {url!r} holds no media file among {len(found)}: give a folder with videos")
    for place, name, stamp in wanted:
        for line in _lines_of_file(Path(name), f"{root}/{printable(name)}", remarks, place):
            yield dataclasses.replace(line, stamp=stamp)


def _lines_of_file(path: Path, source: str, remarks: Remarks, url: str | None = None) -> Iterator[Line]:
    """The file itself or, of a tar, its videos; a tar that is damaged stands for itself and is refused later."""
    if path.suffix.lower() == TAR_SUFFIX:
        try:
            for part, caption in members_of(url or path, MEDIA_SUFFIXES, remarks.pass_over):
                yield Line(path, f"{source}/{printable(part.name)}", caption=caption, part=part, url=url)
            return
        except tarfile.TarError:
            pass
        except Exception as error:  # each store's library has errors of its own
            refused = refusal_of_copy(url or str(path), error)
            if refused.reason == RefusalReason.TROUBLE:
                remarks.refuse(source, RefusalReason.TROUBLE, f"this archive cannot be listed, {refused.detail}")
                return
    yield Line(path, source, url=url)


def _is_media(name: str, remarks: Remarks) -> bool:
    """Whether a file is listed by its name; the others are counted."""
    suffix = Path(name).suffix.lower()
    if suffix in MEDIA_SUFFIXES or suffix == TAR_SUFFIX:
        return True
    remarks.pass_over(printable(suffix))
    return False


def lines_of_folder(folder: Path, names: RootNames, remarks: Remarks) -> Iterator[Line]:
    """Media files and tars of a folder, sorted; folders within that cannot be listed are refused by themselves.

    Raises:
        UsageError: there is none.
    """
    errors: list[OSError] = []
    found = sorted(_walk(folder, remarks, errors), key=lambda path: path.relative_to(folder).as_posix())
    if not found and not errors:
        raise UsageError(
            f"folder {str(folder)!r} holds no media file: give a folder with videos "
            f"({', '.join(sorted(MEDIA_SUFFIXES)[:6])} ...), or list files of other names in a manifest"
        )
    root = names.of(folder)
    for error in errors:
        inner = os.path.relpath(error.filename or folder, folder)
        source = root if inner == "." else f"{root}/{printable(inner)}"
        remarks.refuse(f"{source}/", RefusalReason.TROUBLE, f"this folder cannot be listed: {error.strerror}")
    for path in found:
        yield from _lines_of_file(path, f"{root}/{printable(path.relative_to(folder).as_posix())}", remarks)


def _walk(folder: Path, remarks: Remarks, errors: list[OSError]) -> Iterator[Path]:
    """Files with a media suffix and tars, links followed, no folder twice; what cannot be listed goes to `errors`."""
    seen = set()
    for here, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in (*folders, *files) if name.startswith(".")]
        remarks.passed_over.update({HIDDEN: len(hidden)} if hidden else {})
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and _is_media(name, remarks):
                yield Path(here) / name


def _lines_of_manifest(manifest: Path, names: RootNames, remarks: Remarks) -> Iterator[Line]:
    """A line for each row that can be used; the others are refused by themselves.

    Raises:
        UsageError: there is none that can.
    """
    refused: list[tuple[int, str]] = []
    empty = True
    for number, row in rows_of(manifest):
        try:
            line = _line_of_row(row, manifest, names)
        except (RefusedError, UsageError) as error:
            refused.append((number, error.detail if isinstance(error, RefusedError) else str(error)))
            continue
        if line is None:
            remarks.comments += 1
            continue
        empty = False
        yield line
    if empty and refused:
        raise UsageError(f"manifest {str(manifest)!r}, line {refused[0][0]}: {refused[0][1]}")
    if empty:
        raise UsageError(f"manifest {str(manifest)!r} lists nothing: give one path a line")
    for number, words in refused:
        source = f"{printable(manifest.name)}, line {number}"
        remarks.refuse(source, RefusalReason.BAD_ROW, without_addresses(printable(words)))


def _line_of_row(row: Row, manifest: Path, names: RootNames) -> Line | None:
    """What a row lists; nothing if it is a comment.

    Raises:
        RefusedError, UsageError: it cannot be used.
    """
    if isinstance(row, RefusedError):
        raise row
    if row is None or _is_comment(row, manifest):
        return None
    given, (start_s, end_s), caption = path_of(row), interval_of(row), caption_of(row)
    if is_remote(given):
        last = name_of(given)
        source = f"{names.of_url(given.rpartition('/')[0])}/{printable(last)}"
        return Line(Path(last), source, start_s, end_s, caption, url=given)
    path = manifest.parent / given
    if printable(given) != given and not os.path.lexists(path):
        raise bad_row(f"path {printable(path.name)!r} is no UTF-8, and no file is called so")
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(manifest.parent))
    if Path(inside).parts[:1] != (os.pardir,):
        source = f"{names.of(manifest.parent)}/{printable(Path(inside).as_posix())}"
    else:
        source = f"{names.of(path.parent)}/{printable(path.name)}"
    return Line(path, source, start_s, end_s, caption)


def _is_comment(row: dict[Any, Any], manifest: Path) -> bool:
    """Whether a row begins with # and no file is called so."""
    path = row.get("path")
    if not isinstance(path, str) or not path.lstrip().startswith("#"):
        return False
    return "\0" in path or not os.path.lexists(manifest.parent / path_of(row))


@dataclass(frozen=True)
class Outcome:
    """What became of one listed file (or of one interval of it).

    Args:
        source: its name in the corpus.
        records: how many records it gave; 0 = refused.
        reason: why it gave none or, where `records` is above 0, why it ended early.
        detail: the decoder's own words.
        start_s, end_s: the interval, if the manifest gave one.
    """

    source: str
    records: int
    reason: str | None = None
    detail: str | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def refused(self) -> bool:
        """Whether nothing of it is in the corpus."""
        return self.records == 0

    @property
    def is_open(self) -> bool:
        """Whether it was this machine's trouble, so that the same command tries it again."""
        return self.reason == RefusalReason.TROUBLE

    def to_dict(self) -> dict[str, Any]:
        """Plain values, unset ones left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def most_frequent_first(counts: Counter[str]) -> dict[str, int]:
    """The same counts in the order in which tables show them."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class Remarks:
    """Filled while the sources are listed; found anew by every run, so that what could not be listed is tried again."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.passed_over = Counter[str]()
        self.comments = 0

    def refuse(self, source: str, reason: RefusalReason, detail: str) -> None:
        """Something is listed that is no job: a row that cannot be used, a folder that cannot be listed."""
        self.outcomes.append(Outcome(source, 0, reason, detail))

    @property
    def unlisted(self) -> list[Outcome]:
        """Folders and archives that could not be listed now."""
        return [outcome for outcome in self.outcomes if outcome.is_open]

    def pass_over(self, suffix: str) -> None:
        """A file of a folder is no media file by its suffix ("" = it has none)."""
        self.passed_over[suffix or NO_SUFFIX] += 1

    def to_dict(self) -> dict[str, Any]:
        """What was counted, as it is kept in the corpus."""
        return {"passed_over": most_frequent_first(self.passed_over), "comments": self.comments}


def passed_over_in_words(counts: dict[str, int]) -> str:
    """Such as "passed over 5 files by their names: .jpg 3, no suffix 2"; nothing where there are none."""
    if not counts:
        return ""
    said = [f"{suffix} {count}" for suffix, count in list(counts.items())[:_MOST_SAID]]
    if len(counts) > _MOST_SAID:
        said.append(f"{len(counts) - _MOST_SAID} other suffixes {sum(list(counts.values())[_MOST_SAID:])}")
    total = sum(counts.values())
    return f"passed over {total} {'file' if total == 1 else 'files'} by their names: {', '.join(said)}"


def comments_in_words(count: int) -> str:
    """Such as "2 lines that begin with # were taken as comments"; nothing where there are none."""
    if not count:
        return ""
    return (
        f"{count} {'line that begins with # was' if count == 1 else 'lines that begin with # were'} taken as comments"
    )
