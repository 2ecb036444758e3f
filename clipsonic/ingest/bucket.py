"""A corpus that goes into a bucket behind an address, by way of a folder of this machine.

Guarantee: what stands in a bucket under a name is whole (stores show a file when it is complete), and goes there in the
order in which a folder is written: shards, then the state of their unit, the index last; so a run that was killed goes
on from what the bucket holds, on any machine. Price: each shard is written twice, and none stays on this machine.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any

from clipsonic import remote
from clipsonic.files import held, is_plain_name
from clipsonic.ingest.plan import STATE_FOLDER
from clipsonic.shards.corpus import default_cache_dir
from clipsonic.shards.writer import INDEX_NAME


class BucketDestination:
    """A folder of a store behind an address.

    Args:
        url: such as s3://bucket/corpus.
        folder: of this machine, empty; what a run before has stored of its state is brought there.

    Raises:
        UsageError: an address that cannot be written to.
        ClipsonicError: the store refuses.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.name, self.folder = url.rstrip("/"), url, folder
        self._sizes = remote.sizes_below(self.url)  # of the run that decides what is done; those who build need none
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
        for name in filter(_is_state, self._sizes):
            remote.get(f"{self.url}/{name}", folder / name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sizes": {}}

    def size_of(self, name: str) -> int | None:
        """As the store listed it when the run began."""
        return self._sizes.get(name)

    def holds_shards(self) -> bool:
        """As the store listed it when the run began."""
        return INDEX_NAME in self._sizes or any(name.endswith(".tar") for name in self._sizes)

    def publish(self, name: str, *, keep: bool = False) -> None:
        """Copy it to the store, and then remove it here."""
        remote.put(self.folder / name, f"{self.url}/{name}")
        if not keep:
            (self.folder / name).unlink()

    def withdraw(self, name: str) -> None:
        """Remove it from the store, and here."""
        (self.folder / name).unlink(missing_ok=True)
        if name in self._sizes:
            remote.remove(f"{self.url}/{name}")

    def shards(self) -> list[str]:
        """As the store listed them when the run began."""
        return [name for name in self._sizes if name.startswith("shard-") and name.endswith(".tar")]

    def held(self) -> AbstractContextManager[None]:
        """By a lock of this user on this machine: a store has none; the same command writes the same bytes anyway."""
        folder = default_cache_dir().parent / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return nullcontext()
        return held(folder / blake2b(self.url.encode(), digest_size=16).hexdigest(), f"--out {self.name}")


def _is_state(name: str) -> bool:
    """Whether a file of the store is one that ingest keeps below its state folder; a bucket may hold any name."""
    where, _, file = name.partition("/")
    return where == STATE_FOLDER and is_plain_name(file) and file.endswith(".json")
