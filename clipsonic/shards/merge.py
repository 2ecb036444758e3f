"""Several corpora as one: their shards under new names, their facts and outcomes end to end; no record is read.

Guarantee: only corpora of one CLIP space and one rate, and no record twice; shards keep their bytes (hard links where
the disk allows, else copies checked by SHA-256); `index.json` comes last, so a broken merge is no corpus and the same
command ends it. Price: of links none, of copies one pass over the bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipsonic.errors import CorpusError, FingerprintError, SpecError, UsageError
from clipsonic.files import held, whole_file, write_whole
from clipsonic.shards.writer import INDEX_NAME, CorpusIndex, each_facts, write_facts
from clipsonic.specs import CorpusSpec

LISTS = ("sources.jsonl", "refused.jsonl", "missing.jsonl")
"""What ingest writes beside the shards, a line for each source."""
LOCK_NAME = ".lock"


def merge(folders: Sequence[str | Path], out: str | Path) -> CorpusIndex:
    """Make one corpus of several, in their order.

    Raises:
        CorpusError: one of them is no finished corpus, or two hold the same record.
        FingerprintError: they live in different CLIP spaces.
        SpecError: their sounds have different rates.
        UsageError: fewer than two, or `out` is there already.
        ClipsonicError: another run is writing to it.
    """
    sources, target = [Path(folder) for folder in folders], Path(out)
    if len(sources) < 2:
        raise UsageError(f"{len(sources)} corpus cannot be merged: give two or more")
    if (target / INDEX_NAME).exists() or target.is_file():
        raise UsageError(f"--out {target} holds a corpus already: give a new folder")
    indexes = [CorpusIndex.load(folder) for folder in sources]
    spec = common_spec(sources, indexes)
    _check_single(sources)
    with held(target / LOCK_NAME, f"--out {target}"):
        return _merge(sources, indexes, target, spec)


def _merge(sources: list[Path], indexes: list[CorpusIndex], target: Path, spec: CorpusSpec) -> CorpusIndex:
    shards = []
    for number, (folder, shard) in enumerate(_shards_of(sources, indexes)):
        shards.append({**shard, "name": _name_of(number)})
        _bring(folder / shard["name"], target / _name_of(number), shard["sha256"])
    for name in LISTS:
        _join([folder / name for folder in sources], target / name)
    write_facts(target, _facts_of(sources, indexes))
    products = next((index.products for index in indexes if index.products), None)
    merged = CorpusIndex(spec, indexes[0].fingerprint, indexes[0].clip, indexes[0].width, shards, products)
    merged.save(target)
    return merged


def common_spec(folders: Sequence[str | Path], indexes: Sequence[CorpusIndex]) -> CorpusSpec:
    """The first one's rate, the longest segment, the shortest record, of corpora that go together.

    Raises:
        FingerprintError, SpecError: two do not; both are named, with both values.
    """
    first = indexes[0]
    for folder, index in zip(folders[1:], indexes[1:], strict=True):
        if index.fingerprint != first.fingerprint:
            raise FingerprintError(
                f"{folders[0]} is in CLIP space {first.fingerprint}, {folder} in {index.fingerprint}: "
                "ingest both with one --clip"
            )
        if index.spec.sample_rate_hz != first.spec.sample_rate_hz:
            raise SpecError(
                f"{folders[0]} is at {first.spec.sample_rate_hz} Hz, {folder} at {index.spec.sample_rate_hz} Hz: "
                "ingest both with one --sample-rate-hz"
            )
    return CorpusSpec(
        first.spec.sample_rate_hz,
        max(index.spec.seconds for index in indexes),
        min(index.spec.min_seconds for index in indexes),
    )


def _shards_of(folders: list[Path], indexes: list[CorpusIndex]) -> Iterator[tuple[Path, dict[str, Any]]]:
    return ((folder, shard) for folder, index in zip(folders, indexes, strict=True) for shard in index.shards)


def _name_of(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _check_single(folders: list[Path]) -> None:
    owners: dict[str, Path] = {}
    for folder in folders:
        for item in each_facts(folder):
            if item["key"] in owners:
                raise CorpusError(
                    f"{owners[item['key']]} and {folder} both hold record {item['key']} ({item.get('source', '?')}): "
                    "list each video in one corpus only"
                )
            owners[item["key"]] = folder


def _facts_of(folders: list[Path], indexes: list[CorpusIndex]) -> Iterator[dict[str, Any]]:
    """The facts of all records, their shards under the new names."""
    names = {
        (folder, shard["name"]): _name_of(number) for number, (folder, shard) in enumerate(_shards_of(folders, indexes))
    }
    for folder in folders:
        yield from ({**item, "shard": names[folder, item["shard"]]} for item in each_facts(folder))


def _bring(source: Path, target: Path, sha256: str) -> None:
    """The shard under its new name."""
    target.unlink(missing_ok=True)  # of a merge that was broken off
    try:
        os.link(source, target)
        return
    except OSError:  # another disk, or one without links
        pass
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
        with temporary.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise CorpusError(f"shard {source} has not the SHA-256 of its index: build it again with ingest")


def _join(paths: list[Path], target: Path) -> None:
    lists = [path.read_bytes() for path in paths if path.is_file()]
    if lists:
        write_whole(target, b"".join(lists))
