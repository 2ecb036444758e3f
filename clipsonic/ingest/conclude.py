"""What stands beside the shards when all of them are there: facts, outcomes, the index; and reading outcomes back.

Guarantee: written unit by unit from what the units have stored, so memory stays flat; the index comes last, for it says
that the corpus is complete. Price: a few passes over the state of the units, about 1 KB for each record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from clipsonic.errors import ClipsonicError
from clipsonic.files import whole_file
from clipsonic.ingest.batches import Embedder
from clipsonic.ingest.destination import Destination
from clipsonic.ingest.lists import Entry
from clipsonic.ingest.plan import Plan
from clipsonic.ingest.quarantine import Outcome, most_frequent_first
from clipsonic.remote import is_remote, opened
from clipsonic.shards.merge import LISTS
from clipsonic.shards.writer import FACTS_NAME, INDEX_NAME, CorpusIndex, each_facts, write_facts
from clipsonic.specs import CorpusSpec

SOURCES_NAME, REFUSED_NAME, MISSING_NAME = LISTS


def conclude(
    destination: Destination, plan: Plan, spec: CorpusSpec, embedder: Embedder, clip: str
) -> tuple[CorpusIndex, int, dict[str, int], float]:
    """Index, sources in all, reason -> refused sources, and seconds of sound.

    Raises:
        ClipsonicError: not one source gave a record.
    """
    out = destination.folder
    write_lines(
        destination, SOURCES_NAME, (Outcome(**values) for result in plan.results() for values in result["outcomes"])
    )
    write_lines(destination, REFUSED_NAME, (outcome for outcome in each_outcome(out) if outcome.refused))
    write_facts(out, (item for result in plan.results() for item in result["facts"]))
    destination.publish(FACTS_NAME, keep=True)
    shards = [shard for result in plan.results() for shard in result["shards"]]
    listed = sum(len(unit.jobs) for unit in plan.units)
    reasons = most_frequent_first(Counter(str(outcome.reason) for outcome in each_outcome(out) if outcome.refused))
    if not shards:
        (out / INDEX_NAME).unlink(missing_ok=True)
        words = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise ClipsonicError(
            f"none of the {listed} listed files could be ingested ({words}): see {destination.name}/{REFUSED_NAME}"
        )
    index = CorpusIndex(spec, embedder.fingerprint, clip, embedder.width, shards)
    index.save(out)
    destination.publish(INDEX_NAME, keep=True)
    return index, listed, reasons, sum(item["seconds"] for item in each_facts(out))


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
