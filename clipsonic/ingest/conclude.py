"""What stands beside the shards when all of them are there: facts, outcomes, the index; and reading outcomes back.

Guarantee: written unit by unit from what the units have stored, so memory stays flat; the index comes last, for it says
that the corpus is complete. Price: a few passes over the state of the units, about 1 KB for each record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from clipsonic.errors import ClipsonicError
from clipsonic.files import whole_file, write_json
from clipsonic.ingest.batches import Embedder
from clipsonic.ingest.destination import STATE_FOLDER, Destination
from clipsonic.ingest.lists import Entry
from clipsonic.ingest.plan import Plan
from clipsonic.ingest.quarantine import Outcome, most_frequent_first
from clipsonic.ingest.remarks import Remarks
from clipsonic.remote import is_remote, opened
from clipsonic.shards.merge import LISTS
from clipsonic.shards.writer import FACTS_NAME, INDEX_NAME, CorpusIndex, each_facts, write_facts
from clipsonic.specs import CorpusSpec

SOURCES_NAME, REFUSED_NAME, MISSING_NAME = LISTS
LISTING_NAME = "listing.json"
"""In the folder of the state: what was passed over and counted while the sources were listed."""


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


def conclude(
    destination: Destination, plan: Plan, remarks: Remarks, spec: CorpusSpec, embedder: Embedder, clip: str
) -> IngestResult:
    """Write what stands beside the shards, and remove shards that no unit has any more.

    Raises:
        ClipsonicError: not one source gave a record.
    """
    out = destination.folder
    of_units = (Outcome(**values) for result in plan.results() for values in result["outcomes"])
    write_lines(destination, SOURCES_NAME, chain(of_units, remarks.outcomes))
    write_lines(destination, REFUSED_NAME, (outcome for outcome in each_outcome(out) if outcome.refused))
    write_json(out / STATE_FOLDER / LISTING_NAME, remarks.to_dict())
    destination.publish(f"{STATE_FOLDER}/{LISTING_NAME}", keep=True)
    write_facts(out, (item for result in plan.results() for item in result["facts"]))
    destination.publish(FACTS_NAME, keep=True)
    shards = [shard for result in plan.results() for shard in result["shards"]]
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


def write_lines(destination: Destination, name: str, items: Iterable[Outcome] | Iterable[Entry]) -> None:
    """One of the lists: an item in a line."""
    path = destination.folder / name
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in items)
    destination.publish(name, keep=True)


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
