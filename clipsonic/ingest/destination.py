"""Where a corpus goes: a folder, or a bucket behind an address, by way of a folder of this machine.

Guarantee: what stands in a bucket under a name is whole (stores show a file when it is complete), and goes there in the
order in which a folder is written: shards, then the state of their unit, the index last; so a run that was killed goes
on from what the bucket holds, on any machine. Price: each shard is written twice, and none stays on this machine.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from clipsonic import remote
from clipsonic.errors import UsageError
from clipsonic.files import held, is_plain_name, is_remote
from clipsonic.shards.corpus import default_cache_dir
from clipsonic.shards.writer import INDEX_NAME

STATE_FOLDER = "ingest"
"""Below the corpus: its plan, and the state of each unit."""
LOCK_NAME = "lock"
PLAN_NAME = "plan.json"


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
        yield BucketDestination(str(out), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
