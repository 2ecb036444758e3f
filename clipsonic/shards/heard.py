"""What `clipsonic hear` says of a corpus's records: kept for each shard beside it, and joined to the facts.

    CORPUS/heard/shard-000000.tar.json   {"of": what it was made from, "sha256": of the shard, "belongs": {KEY: share}}

Guarantee: an answer is joined only to the shard, by its SHA-256, that it was made from: an ingest that goes on keeps
the answers for what it keeps, and what it builds anew has none. Price: one small file for each shard.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsonic.errors import CorpusError
from clipsonic.files import is_trouble, write_json

FOLDER = "heard"
BELONGS = "belongs"
"""The fact: which share of other videos' frames fit a record's sound worse than its own frames do."""


def answers_path(folder: str | Path, shard: str) -> Path:
    """Where the answers for a shard are kept."""
    return Path(folder) / FOLDER / f"{shard}.json"


def save_answers(folder: str | Path, shard: Mapping[str, Any], of: Any, belongs: Mapping[str, float]) -> None:
    """Keep the answers for a shard of the index, whole.

    Args:
        of: what they were made from, plain JSON values.
        belongs: by key.
    """
    values = {"of": of, "sha256": shard["sha256"], BELONGS: dict(belongs)}
    path = answers_path(folder, shard["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def answers(folder: str | Path, shard: Mapping[str, Any], of: Any = None) -> dict[str, float] | None:
    """By key, the answers for a shard of the index; None where there are none for its bytes, or none made from `of`.

    Raises:
        CorpusError: their file is damaged.
    """
    path = answers_path(folder, shard["name"])
    try:
        values = json.loads(path.read_bytes())
        if values["sha256"] != shard["sha256"] or (of is not None and values["of"] != of):
            return None
        found = {str(key): float(value) for key, value in values[BELONGS].items()}
        if not all(0.0 <= value <= 1.0 for value in found.values()):
            raise ValueError("a share is not from 0 to 1")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if is_trouble(error):
            raise
        raise CorpusError(f"{path} is damaged ({error}): delete it and run clipsonic hear again") from None
    return found


def with_heard(
    folder: str | Path, facts: Iterable[dict[str, Any]], shards: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The facts of a corpus's records, in order, each with `belongs` where there is an answer; holds one shard's.

    Args:
        facts: each with "key" and "shard", those of a shard one after the other.
        shards: of the index.

    Raises:
        CorpusError: a file of answers is damaged.
    """
    known = {str(shard["name"]): shard for shard in shards}
    for name, items in itertools.groupby(facts, lambda item: str(item["shard"])):
        said = answers(folder, known[name]) or {}
        yield from ({**item, BELONGS: said[item["key"]]} if item["key"] in said else item for item in items)
