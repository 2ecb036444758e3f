"""Shards of far corpora on this disk: fetched once, used by all processes, the least recently used removed.

Guarantee: a shard is there whole and checked, or not at all, whoever fetches, removes or is killed at the same time;
the shards in the folder stay within the limit, but for those being fetched and one larger than the limit.
Price: a lock file of no bytes for each shard, and a look through the folder for each shard fetched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clipsonic.files import naming, remove_temporaries, whole_file


class ShardCache:
    """A folder of this machine.

    Args:
        folder: where shards lie, each corpus in a folder of its own below.
        limit_bytes: what all shards there may take together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes

    def opened(self, path: Path, num_bytes: int, fetch: Callable[[Path], None]) -> BinaryIO:
        """The shard `path`, open; what is open stays readable when it is removed.

        Args:
            num_bytes: its length.
            fetch: writes the shard, checked, to the path it is given.
        """
        while True:
            with contextlib.suppress(FileNotFoundError):  # another process may need the room between two lines
                file = path.open("rb")
                os.utime(file.fileno())  # it was used now
                return file
            self.bring(path, num_bytes, fetch)

    def bring(self, path: Path, num_bytes: int, fetch: Callable[[Path], None]) -> None:
        """See that the shard is there; of several that ask at the same time one fetches."""
        if path.is_file():
            return
        with _locked(path):
            if path.is_file():
                return
            remove_temporaries(path)  # of one that was killed
            self._make_room(num_bytes)
            with whole_file(path) as temporary:
                fetch(temporary)
            self._make_room(0, but_not=path)  # others have come in the meantime

    def _make_room(self, num_bytes: int, but_not: Path | None = None) -> None:
        """Remove the least recently used shards until so many bytes more fit."""
        found = []
        for path in self.folder.glob("*/*.tar"):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        excess = sum(size for _, size, _ in found) + num_bytes - self.limit_bytes
        for _, size, path in sorted(found):
            if excess > 0 and path != but_not:
                path.unlink(missing_ok=True)
                excess -= size


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, no other thread or process is; a process that dies leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with naming(lock), os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
