"""Ingest: raw videos in, a corpus folder out.

Guarantee: listed = ingested + refused; a bad file costs itself only; the corpus depends on the sources and the options
(and on which files hit a limit), not on the number of processes, nor on how often the run was broken and begun again.
One run at a time writes to a corpus; the same command takes in files that have come, that have changed, and those that
this machine could not read. What stands beside the shards is written unit by unit, so memory stays flat; the index
comes last, for it says that the corpus is complete.
Price: measured by the command's own progress bar, in files per second; at the end a few passes over the state of the
units, about 1 KB for each record.

    CORPUS/index.json, facts.jsonl.gz, shard-*.tar   see clipsonic.shards.writer
    CORPUS/sources.jsonl                             every listed source: its records, or the reason of its refusal
    CORPUS/refused.jsonl                             the refused ones among them
    CORPUS/missing.jsonl                             entries of a publisher's list whose videos are not there
    CORPUS/ingest/                                   the plan and the state of each unit, so that a rerun goes on, and
                                                     listing.json, what was passed over
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.files import is_remote, whole_file, write_json
from clipsonic.ingest.executors import BATCH_PICTURES, Embedder, Executor, LocalExecutor, UnitTask, num_cores
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.lists import Entry, jobs_of_list
from clipsonic.ingest.plan import (
    LISTING_NAME,
    MISSING_NAME,
    PLAN_NAME,
    REFUSED_NAME,
    SOURCES_NAME,
    STATE_FOLDER,
    Destination,
    FolderDestination,
    Plan,
    Unit,
    each_outcome,
)
from clipsonic.ingest.segments import Fit, ReadSettings
from clipsonic.ingest.sources import Outcome, Remarks, list_jobs, most_frequent_first
from clipsonic.options import device_of
from clipsonic.shards.heard import with_heard
from clipsonic.shards.writer import FACTS_NAME, INDEX_NAME, CorpusIndex, each_facts, write_facts
from clipsonic.specs import CorpusSpec

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest; everything down to `shard_records` decides bytes of the corpus.

    Args:
        spec: rate and lengths of records.
        stride_s: distance of segments' starts; None = end to end.
        max_segments: most records of one file or interval; None = all.
        thumbnails: whether records keep a JPEG of their middle picture.
        keep_frames: shortest side of JPEGs that records keep of all their pictures; None = none are kept.
        frame_tolerance_s: how far from its time a picture may be where that saves decoding; 0 = the one shown then.
        shard_files: sources per shard.
        shard_records: most records per shard; a unit with more has several tars.
        workers: decoding processes of the local executor; None = one per core.
        timeout_s, memory_mb: limits of a decoding process.
        max_copy_gb: largest file, of an archive or behind an address, that it copies to read it.
        executor: `local`, or `ray` for a cluster.
        ray_address: of a running cluster, `auto` for the one this machine belongs to, None to start one here.
        device: where the CLIP computes, as `clipsonic.options.device_of` takes it.

    Raises:
        UsageError: a value that cannot be.
    """

    spec: CorpusSpec = field(default_factory=CorpusSpec)
    stride_s: float | None = None
    max_segments: int | None = None
    thumbnails: bool = True
    keep_frames: int | None = None
    frame_tolerance_s: float = 0.25
    shard_files: int = 64
    shard_records: int = 1000
    workers: int | None = None
    timeout_s: float = 120.0
    memory_mb: int = 2048
    max_copy_gb: float = 16.0
    executor: str = "local"
    ray_address: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UsageError(f"--executor {self.executor!r} is unknown: choose {' or '.join(EXECUTORS)}")
        least = {
            "stride_s": (self.stride_s, 0.01),
            "max_segments": (self.max_segments, 1),
            "keep_frames": (self.keep_frames, 32),
            "shard_files": (self.shard_files, 1),
            "shard_records": (self.shard_records, 1),
            "workers": (self.workers, 1),
            "timeout_s": (self.timeout_s, 0.1),
            "memory_mb": (self.memory_mb, 256),
            "frame_tolerance_s": (self.frame_tolerance_s, 0.0),
            "max_copy_gb": (self.max_copy_gb, 0.001),
        }
        for name, (value, minimum) in least.items():
            if value is not None and not value >= minimum:  # nor is it a number where it is NaN
                raise UsageError(f"--{name.replace('_', '-')} {value:g} is too small: give {minimum:g} or more")

    def fixed(self) -> dict[str, Any]:
        """What decides bytes, as plain values, for the plan."""
        # left out when not asked for: corpora begun before there was such an option can be gone on with
        kept = {} if self.keep_frames is None else {"keep_frames": self.keep_frames}
        return {
            **self.spec.to_dict(),
            **kept,
            "stride_s": self.stride_s,
            "max_segments": self.max_segments,
            "thumbnails": self.thumbnails,
            "frame_tolerance_s": self.frame_tolerance_s,
            "shard_records": self.shard_records,
            "batch_pictures": BATCH_PICTURES,
        }


@dataclass(frozen=True)
class IngestResult:
    """What a run ended with.

    Args:
        folder: the corpus.
        index: what stands in it.
        listed: sources in all; reasons: reason -> how many of them were refused for it, most frequent first.
        seconds: of sound.
        num_open: sources that this machine could not read (or not to their end): the same command tries them again.
        num_missing: entries of a publisher's list whose videos are not there.
        num_changed: sources that had changed since a run before, and were read again.
        passed_over: suffix -> files of listed folders that are no media files by their names, most frequent first.
        num_comments: lines of manifests and lists that were taken as comments.
    """

    folder: str | Path
    index: CorpusIndex
    listed: int
    reasons: dict[str, int]
    seconds: float
    num_open: int = 0
    num_missing: int = 0
    num_changed: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    num_comments: int = 0

    @property
    def num_refused(self) -> int:
        """Sources that gave nothing."""
        return sum(self.reasons.values())

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of every source, read from the corpus."""
        return list(each_outcome(self.folder))


def ingest(
    sources: Sequence[str | Path],
    out: str | Path,
    options: IngestOptions | None = None,
    *,
    clip: str = "tiny",
    embedder: Embedder | None = None,
    entries: Sequence[Entry] | None = None,
    remarks: Remarks | None = None,
) -> IngestResult:
    """Ingest the sources into the corpus `out`, a folder or an address to write to, or go on with it.

    Args:
        entries: of a publisher's list: what of the folders to take; None = everything.
        clip: name of the CLIP, see `clipsonic.clip.open_clip.load_clip`.
        embedder: a CLIP that is loaded already; `clip` is then only its name.
        remarks: what reading the list has remarked already.

    Raises:
        UsageError: bad sources, or `out` was begun otherwise.
        ClipsonicError: the CLIP cannot be loaded, another run writes to `out`, or not one file could be ingested.
    """
    options, remarks = options or IngestOptions(), remarks or Remarks()
    jobs, missing = (list_jobs(sources, remarks), None) if entries is None else jobs_of_list(sources, entries, remarks)
    with destination_of(out) as destination, ExitStack() as until_the_end:
        with _executor(options, len(jobs), clip if embedder is None else None) as executor:
            embedder = embedder or load_embedder(clip, "ingest", options.device)
            fixed = {**options.fixed(), "fingerprint": embedder.fingerprint}
            until_the_end.enter_context(destination.held())
            plan = Plan(destination, jobs, fixed, options.shard_files, remarks.unlisted)
            plan.clear_temporaries()
            destination.publish(f"{STATE_FOLDER}/{PLAN_NAME}", keep=True)
            num_changed = _build(plan, executor, embedder, options, destination)
        if missing is not None:
            _write_lines(destination, MISSING_NAME, missing)
        result = _conclude(destination, plan, remarks, options.spec, embedder, clip)
    return dataclasses.replace(result, folder=out, num_missing=len(missing or ()), num_changed=num_changed)


@contextmanager
def destination_of(out: str | Path) -> Iterator[Destination]:
    """The destination that `--out` names.

    Raises:
        UsageError: it is a file, or an address that cannot be written to.
    """
    if not is_remote(str(out)):
        if Path(out).exists() and not Path(out).is_dir():
            raise UsageError(f"--out {out} is a file: give a folder")
        yield FolderDestination(Path(out))
        return
    folder = Path(tempfile.mkdtemp(prefix="clipsonic-"))
    try:
        from clipsonic.ingest.bucket import BucketDestination

        yield BucketDestination(str(out), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_embedder(name: str, command: str, device: str) -> Embedder:
    """A CLIP on its device; what it does not know is said once, in the name of `command`."""
    where = device_of(device)
    from clipsonic.clip.open_clip import load_clip

    embedder = load_clip(name, where)
    if notice := getattr(embedder, "notice", None):
        print(f"clipsonic {command}: {notice}", file=sys.stderr)
    return embedder


def _executor(options: IngestOptions, num_jobs: int, clip: str | None) -> Executor:
    if options.executor == "local":
        return LocalExecutor(min(options.workers or num_cores(), num_jobs), options.timeout_s, options.memory_mb)
    from clipsonic.ingest.ray_executor import RayExecutor

    return RayExecutor(clip, options.ray_address)


def _build(plan: Plan, executor: Executor, embedder: Embedder, options: IngestOptions, destination: Destination) -> int:
    """Build the units that are not done, or not any more; what they end with goes to the disk and is not held.

    Returns how many files have changed since a run before.
    """
    todo, num_changed = _units_to_build(plan)
    num_jobs, num_todo = (sum(len(unit.jobs) for unit in units) for units in (plan.units, todo))
    settings = ReadSettings(
        spec=options.spec,
        stride_s=options.stride_s or options.spec.seconds,
        max_segments=options.max_segments,
        fit=fit_of(embedder),
        thumbnails=options.thumbnails,
        keep_frames=options.keep_frames,
        frame_tolerance_s=options.frame_tolerance_s,
        max_copy_gb=options.max_copy_gb,
    )
    task = UnitTask(destination, settings, options.shard_records, options.timeout_s, options.memory_mb, options.device)
    counts = Counter[str]()
    with tqdm(
        total=num_jobs, initial=num_jobs - num_todo, desc="ingest", unit="file", file=sys.stderr, mininterval=0.5
    ) as bar:
        for unit, result in executor.build(todo, task, embedder, bar.update):
            destination.publish(plan.finish(unit, result), keep=True)
            counts["records"] += sum(outcome["records"] for outcome in result["outcomes"])
            counts["refused"] += sum(not outcome["records"] for outcome in result["outcomes"])
            bar.set_postfix(counts, refresh=False)
    return num_changed


def _units_to_build(plan: Plan) -> tuple[list[Unit], int]:
    """The units, in order, and how many files have changed since a run before."""
    todo, stale, changed, again = [], [], list[Job](), list[Job]()
    for unit in plan.units:
        result = plan.done(unit)
        jobs = ([], []) if result is None else plan.stale(unit, result)
        if result is None or any(jobs):
            todo.append(unit)
        if any(jobs):
            stale.append(unit)
            changed += jobs[0]
            again += jobs[1]
    if stale:
        print(
            f"clipsonic ingest: {len(changed)} files have changed since they were ingested, {len(again)} could not be "
            f"read then, for instance {(changed + again)[0].source}: the shards of their {len(stale)} units are built "
            "again",
            file=sys.stderr,
        )
        plan.forget(stale)
    return todo, len(changed)


def _conclude(
    destination: Destination, plan: Plan, remarks: Remarks, spec: CorpusSpec, embedder: Embedder, clip: str
) -> IngestResult:
    """Write what stands beside the shards, and remove shards that no unit has any more.

    Raises:
        ClipsonicError: not one source gave a record.
    """
    out = destination.folder
    of_units = (Outcome(**values) for result in plan.results() for values in result["outcomes"])
    _write_lines(destination, SOURCES_NAME, chain(of_units, remarks.outcomes))
    _write_lines(destination, REFUSED_NAME, (outcome for outcome in each_outcome(out) if outcome.refused))
    write_json(out / STATE_FOLDER / LISTING_NAME, remarks.to_dict())
    destination.publish(f"{STATE_FOLDER}/{LISTING_NAME}", keep=True)
    shards = [shard for result in plan.results() for shard in result["shards"]]
    write_facts(out, with_heard(out, (item for result in plan.results() for item in result["facts"]), shards))
    destination.publish(FACTS_NAME, keep=True)
    for name in set(destination.shards()) - {shard["name"] for shard in shards}:
        destination.withdraw(name)
    listed, reasons, num_open = 0, Counter[str](), 0
    for outcome in each_outcome(out):
        listed += 1
        num_open += outcome.is_open
        reasons.update([str(outcome.reason)] if outcome.refused else [])
    if not shards:
        destination.withdraw(INDEX_NAME)
        words = ", ".join(f"{reason} {count}" for reason, count in most_frequent_first(reasons).items())
        raise ClipsonicError(
            f"none of the {listed} listed files could be ingested ({words}): see {destination.name}/{REFUSED_NAME}"
        )
    products = next((result["products"] for result in plan.results() if "products" in result), None)
    index = CorpusIndex(spec, embedder.fingerprint, clip, embedder.width, shards, products)
    index.save(out)
    destination.publish(INDEX_NAME, keep=True)
    return IngestResult(
        folder=destination.name,
        index=index,
        listed=listed,
        reasons=most_frequent_first(reasons),
        seconds=sum(item["seconds"] for item in each_facts(out)),
        num_open=num_open,
        passed_over=most_frequent_first(remarks.passed_over),
        num_comments=remarks.comments,
    )


def _write_lines(destination: Destination, name: str, items: Iterable[Outcome] | Iterable[Entry]) -> None:
    """One of the lists: an item in a line."""
    path = destination.folder / name
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in items)
    destination.publish(name, keep=True)


def fit_of(embedder: Any) -> Fit | None:
    """How the decoding processes may bring pictures to the CLIP's size, so that its own transform leaves them so.

    None where that transform is none of open_clip's usual ones: the pictures then go to the CLIP as decoded.
    """
    preprocess = (getattr(embedder, "config", None) or {}).get("preprocess_cfg") or {}
    size, mode = preprocess.get("size"), preprocess.get("resize_mode")
    side = size if isinstance(size, int) else size[0] if size and len(set(size)) == 1 else None
    if side is None or mode not in ("shortest", "squash") or preprocess.get("interpolation") != "bicubic":
        return None
    return Fit(side, mode)
