"""The plan of an ingest, which jobs go into which shard, decided before anything is decoded; its state, and its place.

Guarantee: a corpus is a function of its plan, so a run that was killed goes on where it stood and ends with the bytes
of an unbroken one. A rerun with other options or other sources is refused; sources that have grown are appended. A unit
with a file that is another now, or that this machine could not read then, is built again as a whole: the corpus is
that of the files as they are now.
Price: the list of sources stands once more in `CORPUS/ingest/plan.json`; of one changed file, its unit's time.

    CORPUS/ingest/plan.json          options and, in order, the units: lists of what they read
    CORPUS/ingest/unit-000000.json   written when a unit's shards are there whole: its shards, outcomes and facts
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clipsonic.errors import ClipsonicError, CorpusError, UsageError
from clipsonic.files import TEMPORARY_SUFFIX, held, is_plain_name, is_remote, write_whole
from clipsonic.ingest.jobs import Job, has_changed
from clipsonic.ingest.sources import Outcome
from clipsonic.remote import opened
from clipsonic.shards.merge import LISTS
from clipsonic.shards.writer import INDEX_NAME

STATE_FOLDER = "ingest"
"""Below the corpus: its plan, and the state of each unit."""
LOCK_NAME = "lock"
PLAN_NAME = "plan.json"
_FORMAT_VERSION = 1
SOURCES_NAME, REFUSED_NAME, MISSING_NAME = LISTS
LISTING_NAME = "listing.json"
"""In the folder of the state: what was passed over and counted while the sources were listed."""


class Destination(Protocol):
    """Files are written below `folder` and then published; picklable, so that other machines can do so too.

    `name` is what a user calls it.
    """

    folder: Path
    name: str

    def size_of(self, name: str) -> int | None:
        """Bytes of a shard that was there when the run began (or is in the folder), None if it is not there."""

    def holds_shards(self) -> bool:
        """Whether there is a corpus, or a part of one."""

    def publish(self, name: str, *, keep: bool = False) -> None:
        """The file of this name is whole: bring it to where it belongs; `keep` leaves it in the folder too."""

    def withdraw(self, name: str) -> None:
        """Remove a file, if it is there."""

    def shards(self) -> list[str]:
        """Names of all shards there (of a bucket, when the run began)."""

    def held(self) -> AbstractContextManager[None]:
        """Inside, no other run writes to this corpus.

        Raises:
            ClipsonicError: one does.
        """


class FolderDestination:
    """A folder of this machine: where files are written they stay."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder.absolute(), str(folder)

    def size_of(self, name: str) -> int | None:
        """As it is now."""
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def holds_shards(self) -> bool:
        """As it is now."""
        return (self.folder / INDEX_NAME).exists() or bool(self.shards())

    def publish(self, name: str, *, keep: bool = False) -> None:
        """Nothing is left to do."""

    def withdraw(self, name: str) -> None:
        """Unlink it."""
        (self.folder / name).unlink(missing_ok=True)

    def shards(self) -> list[str]:
        """As they are now."""
        return [path.name for path in self.folder.glob("shard-*.tar")]

    def held(self) -> AbstractContextManager[None]:
        """By a lock on a file of the folder's state."""
        return held(self.folder / STATE_FOLDER / LOCK_NAME, f"--out {self.name}")


@dataclass(frozen=True)
class Unit:
    """What goes into one shard (or, of long videos, into several): a number and jobs in order."""

    number: int
    jobs: tuple[Job, ...]

    def shard_name(self, part: int) -> str:
        """Name of its tar; a unit with more than --shard-records records has further parts."""
        return f"shard-{self.number:06d}.tar" if part == 0 else f"shard-{self.number:06d}-{part:03d}.tar"


class Plan:
    """The units of a corpus folder, and which of them are done.

    Args:
        destination: the corpus.
        jobs: all that is listed now.
        options: everything that decides a byte of the corpus, as plain JSON values.
        unit_files: jobs in one unit.
        unlisted: folders and archives that could not be listed.

    Raises:
        UsageError: the folder holds a corpus of other options or other sources, or something that is no corpus.
        CorpusError: the stored plan is damaged.
        ClipsonicError: files of the corpus lie in what could not be listed.
    """

    def __init__(
        self,
        destination: Destination,
        jobs: Sequence[Job],
        options: dict[str, Any],
        unit_files: int,
        unlisted: Sequence[Outcome] = (),
    ) -> None:
        self.folder, self._destination = destination.folder, destination
        options = {"format": _FORMAT_VERSION, "unit_files": unit_files, **options}
        stored = _load(destination)
        names = [] if stored is None else _check(destination.name, stored, options, jobs, unlisted)
        by_name = {_name_of(job): job for job in jobs}
        units = [[by_name[name] for name in unit] for unit in names]
        known = {name for unit in names for name in unit}
        fresh = [job for job in jobs if _name_of(job) not in known]
        units += [fresh[start : start + unit_files] for start in range(0, len(fresh), unit_files)]
        self.units = [Unit(number, tuple(unit)) for number, unit in enumerate(units)]
        if fresh:
            self._save(options)

    def done(self, unit: Unit) -> dict[str, Any] | None:
        """The stored result of a unit whose shards are all there, else None."""
        path = self._result_path(unit)
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            sizes = {shard["name"]: shard["bytes"] for shard in result["shards"]}
            if not all(map(is_plain_name, sizes)):
                return None
        except (ValueError, KeyError, TypeError):
            return None  # damaged: the unit is built again
        return result if all(self._destination.size_of(name) == size for name, size in sizes.items()) else None

    def stale(self, unit: Unit, result: dict[str, Any]) -> tuple[list[Job], list[Job]]:
        """Of a unit that is done: the jobs whose files are others now, and those that this machine could not read."""
        stamps = result.get("stamps") or [job.stamp for job in unit.jobs]  # of a corpus begun before there were any
        changed = [job for job, stamp in zip(unit.jobs, stamps, strict=True) if has_changed(job, stamp)]
        again = [job for job, values in zip(unit.jobs, result["outcomes"], strict=True) if Outcome(**values).is_open]
        return changed, again

    def forget(self, units: Sequence[Unit]) -> None:
        """Build these units again: the index, which says that a corpus is complete, goes, and so do their states."""
        self._destination.withdraw(INDEX_NAME)
        for unit in units:
            self._destination.withdraw(self._result_path(unit).relative_to(self.folder).as_posix())

    def results(self) -> Iterator[dict[str, Any]]:
        """The stored results of all units, in order, one at a time; all are done."""
        yield from (json.loads(self._result_path(unit).read_text(encoding="utf-8")) for unit in self.units)

    def finish(self, unit: Unit, result: dict[str, Any]) -> str:
        """Store the result of a unit, which is done from here on; gives the file's name below the folder."""
        path = self._result_path(unit)
        write_whole(path, json.dumps(result, ensure_ascii=False).encode())
        return path.relative_to(self.folder).as_posix()

    def clear_temporaries(self) -> None:
        """Remove what a killed run has left half-written."""
        for folder in (self.folder, self.folder / STATE_FOLDER):
            for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _result_path(self, unit: Unit) -> Path:
        return self.folder / STATE_FOLDER / f"unit-{unit.number:06d}.json"

    def _save(self, options: dict[str, Any]) -> None:
        (self.folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
        units = [[_name_of(job) for job in unit.jobs] for unit in self.units]
        values = {"options": options, "units": units}
        write_whole(self.folder / STATE_FOLDER / PLAN_NAME, json.dumps(values, indent=1, ensure_ascii=False).encode())


def _name_of(job: Job) -> str:
    """A job's name in the plan: its source, and the interval if it has one."""
    if job.start_s is None and job.end_s is None:
        return job.source
    return f"{job.source} [{job.start_s or 0.0!r}, {'end' if job.end_s is None else repr(job.end_s)}]"


def _load(destination: Destination) -> dict[str, Any] | None:
    path = destination.folder / STATE_FOLDER / PLAN_NAME
    if not path.is_file():
        if destination.holds_shards():
            raise UsageError(
                f"--out {destination.name} holds a corpus without {STATE_FOLDER}/{PLAN_NAME}: give a new folder"
            )
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values["options"], dict) or not isinstance(values["units"], list):
            raise TypeError("options or units missing")
        return values
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is damaged ({error}): ingest into a new folder") from None


def _check(
    name: str, stored: dict[str, Any], options: dict[str, Any], jobs: Sequence[Job], unlisted: Sequence[Outcome]
) -> list[list[str]]:
    """The stored units, after it is sure that these options and sources may go on with them."""
    if stored["options"] != options:
        then = stored["options"]
        changed = [name for name in options if then.get(name) != options[name]] or sorted(set(then) - set(options))
        words = ", ".join(f"{name} {then.get(name)} (now {options.get(name)})" for name in changed)
        raise UsageError(f"--out {name} was begun with {words}: use the same options, or a new folder")
    listed = {_name_of(job) for job in jobs}
    units: list[list[str]] = stored["units"]
    missing = [name for unit in units for name in unit if name not in listed]
    for outcome in unlisted if missing else ():
        if lost := sum(source.startswith(outcome.source) for source in missing):
            raise ClipsonicError(
                f"--out {name} has {lost} files of {outcome.source}, but {outcome.detail}: nothing was changed; give "
                "the same command when it can be listed"
            )
    if missing:
        raise UsageError(
            f"--out {name} was begun from other sources ({len(missing)} of its files are not listed now, "
            f"for instance {missing[0]!r}): give the same sources, or a new folder"
        )
    return units


def each_outcome(folder: str | Path) -> Iterator[Outcome]:
    """What became of every listed source, in order; none where the corpus was not made by ingest."""
    if is_remote(str(folder)):
        with suppress(FileNotFoundError), opened(f"{str(folder).rstrip('/')}/{SOURCES_NAME}") as lines:
            yield from (Outcome(**json.loads(line)) for line in lines)
        return
    path = Path(folder) / SOURCES_NAME
    if path.is_file():
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield from (Outcome(**json.loads(line)) for line in lines)


def listing_of(folder: str | Path) -> dict[str, Any]:
    """What was passed over and counted, see `Remarks.to_dict`; empty where it was not kept."""
    name = f"{STATE_FOLDER}/{LISTING_NAME}"
    if is_remote(str(folder)):
        with suppress(FileNotFoundError), opened(f"{str(folder).rstrip('/')}/{name}") as file:
            return dict(json.loads(file.read()))
        return {}
    path = Path(folder) / name
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def length_in_words(seconds: float) -> str:
    """Hours; of less than one, minutes; of less than one, seconds."""
    if seconds >= 3600.0:
        return f"{seconds / 3600.0:.2f} hours"
    return f"{seconds / 60.0:.1f} minutes" if seconds >= 60.0 else f"{seconds:.1f} seconds"
