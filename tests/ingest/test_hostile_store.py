"""What a bucket or a corpus folder holds decides nothing outside of the folder that ingest works in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clipsonic.files import PROTOCOLS
from clipsonic.ingest.bucket import BucketDestination
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.plan import STATE_FOLDER, FolderDestination, Plan


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setitem(PROTOCOLS, "memory", "fsspec")
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_files_of_a_bucket_are_brought_into_the_state_folder_and_nowhere_else(memory: Any, tmp_path: Path) -> None:
    names = [
        "ingest/plan.json", "ingest/unit-000000.json", "ingest/../../../outside.json", "ingest/../sibling.json",
        "ingest/deep/er.json", "ingest/.hidden.json", "ingest/notes.txt", "shard-000000.tar",
    ]  # fmt: skip
    for name in names:
        memory.store[f"/bucket/c/{name}"] = memory_file(memory, f"/bucket/c/{name}")
    folder = tmp_path / "a" / "b" / "local"
    destination = BucketDestination("memory://bucket/c", folder)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == [f"a/b/local/{STATE_FOLDER}/{name}" for name in ("plan.json", "unit-000000.json")]
    assert destination.holds_shards()


def memory_file(memory: Any, path: str) -> Any:
    """A file under exactly this name, as a store keeps it, which knows no folders."""
    from fsspec.implementations.memory import MemoryFile

    return MemoryFile(memory, path, b"{}")


@pytest.mark.parametrize("name", ["../outside.tar", "a/../../outside.tar"])
def test_a_unit_whose_state_names_a_shard_outside_of_the_folder_is_not_done(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (tmp_path / "outside.tar").write_bytes(b"12345")
    plan = Plan(FolderDestination(out), [Job("v.mp4", "v.mp4", "1", "1")], {}, 1)
    state = {"shards": [{"name": name, "bytes": 5, "records": 1, "sha256": "0"}], "outcomes": [], "facts": []}
    (out / STATE_FOLDER / "unit-000000.json").write_text(json.dumps(state))
    assert plan.done(plan.units[0]) is None
