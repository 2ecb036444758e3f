"""Arrays by name that are kept once for all processes of this machine, in its shared memory.

Guarantee: what is kept reads the same in every process, from any thread, or is not there; what all of them keep stays
within one limit. A process that is killed leaves nothing half kept; whoever ends last removes the file, and the next
one removes what killed ones left. Where no file can be made, or no room is left, nothing (more) is kept: said once.
Price: one lock for all who keep something, held while it is copied, and in each process about 0.2 KB for each name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import stat
import struct
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

MEMORY = Path("/dev/shm")
"""Where a machine's shared memory is a folder."""
_COUNTER = struct.Struct("<q")
_HEAD = struct.Struct("<qii")
"""Of an entry: its bytes in all, those of its name, and those of its layout."""
_START = 64
_FILLER = np.dtype(np.int64)
"""Entries end where one of these could begin, and so begin where any array may."""
_SUFFIX = ".shared"

Layout = list[tuple[np.dtype, tuple[int, ...]]]


class SharedArrays:
    """A log of entries in one file that grows up to a limit, and is mapped by all who name the same things.

    Args:
        names: what the entries are of; equal names and limits share one file.
        limit_mb: of all entries, in MiB; 0 keeps none.
    """

    def __init__(self, names: object, limit_mb: float) -> None:
        self._size = int(limit_mb * 2**20) // mmap.PAGESIZE * mmap.PAGESIZE
        self._places: dict[bytes, int] = {}
        self._seen, self._lock = _START, threading.Lock()
        self.is_full = self._size <= _START
        if not self.is_full:
            try:
                self._open(hashlib.blake2b(repr((names, self._size)).encode(), digest_size=12).hexdigest())
            except OSError as error:
                self._stop(error)

    def get(self, name: str) -> tuple[np.ndarray, ...] | None:
        """The arrays kept under a name, which cannot be written to; None where there are none."""
        place = self._place(name.encode())
        if place is None:
            return None
        _, name_bytes, layout_bytes = _HEAD.unpack_from(self._map, place)
        start = place + _HEAD.size + name_bytes
        at, arrays = start + layout_bytes, []
        for dtype, shape in _layout(self._map[start:at]):
            at += -at % dtype.alignment
            arrays.append(np.ndarray(shape, dtype, self._map, at))
            at += arrays[-1].nbytes
        return tuple(arrays)

    def keep(self, name: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep arrays, where there is room for them."""
        if self.is_full:
            return
        entry = _entry(name.encode(), arrays)
        try:
            with self._appending():
                if self._place(name.encode()) is None:
                    self._append(entry)
        except OSError as error:
            self._stop(error)

    def _place(self, name: bytes) -> int | None:
        place = self._places.get(name)
        if place is None and self._size > _START and self._end() > self._seen:
            self._catch_up()
            place = self._places.get(name)
        return place

    def _end(self) -> int:
        end: int = _COUNTER.unpack_from(self._map, 0)[0]
        return end

    def _catch_up(self) -> None:
        """Learn of what others have kept in the meantime."""
        with self._lock:
            end = self._end()
            while self._seen < end:
                size, name_bytes, _ = _HEAD.unpack_from(self._map, self._seen)
                start = self._seen + _HEAD.size
                self._places[self._map[start : start + name_bytes]] = self._seen
                self._seen += size

    def _append(self, entry: list[bytes]) -> None:
        """The end moves last, so whoever is killed before has kept nothing."""
        end, (size, _, _) = self._end(), _HEAD.unpack_from(entry[0])
        if end + size > self._size:
            self.is_full = True
        elif os.pwritev(self._file, entry, end) == size:
            os.pwrite(self._file, _COUNTER.pack(end + size), 0)
        else:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _appending(self) -> Iterator[None]:
        """Inside, nobody else of this machine appends; a process that dies lets go."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _open(self, digest: str) -> None:
        self._folder = _own_folder(self._size)
        path = self._folder / f"{digest}{_SUFFIX}"
        for left in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                _remove(left, os.open(left, os.O_RDWR | os.O_NOFOLLOW))
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_SH)  # as long as it is used
            if _is_at(self._file, path):
                break
            os.close(self._file)  # its last user has just removed it
        weakref.finalize(self, _remove, path, self._file, os.getpid())
        with self._appending():
            if os.fstat(self._file).st_size < self._size:  # a page that is read must be there, else the process dies
                os.pwrite(self._file, _COUNTER.pack(_START), 0)
                os.ftruncate(self._file, self._size)
        self._map = mmap.mmap(self._file, self._size, prot=mmap.PROT_READ)

    def _stop(self, error: OSError) -> None:
        if not self.is_full:
            self.is_full = True
            print(
                f"clipsonic: no more decoded sound is kept in shared memory ({error.strerror or error}): it is decoded "
                "whenever it is needed; give the machine more (docker: --shm-size), or lower data.cache_mb",
                file=sys.stderr,
            )
        if not hasattr(self, "_map"):
            self._size = 0


def _own_folder(size: int) -> Path:
    """This user's in shared memory, if that is as large, else among temporary files.

    Raises:
        OSError: it cannot be made, or somebody else has made it.
    """
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).total >= size
    folder = (MEMORY if has_room else Path(tempfile.gettempdir())) / f"clipsonic-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def _remove(path: Path, file: int, owner: int | None = None) -> None:
    """Close a file, and remove it where nobody uses it; a forked child leaves that to its parent."""
    if owner in (None, os.getpid()):
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                path.unlink()
        fcntl.flock(file, fcntl.LOCK_UN)  # arrays that are still in use hold the file open
    os.close(file)


def _is_at(file: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _entry(name: bytes, arrays: Sequence[np.ndarray]) -> list[bytes]:
    """Head, name and layout, then each array at a place that suits it."""
    layout = json.dumps([(array.dtype.str, array.shape) for array in arrays]).encode()
    parts = [name + layout]
    size = _HEAD.size + len(name) + len(layout)
    for array in (*arrays, np.empty(0, _FILLER)):
        margin = -size % array.dtype.alignment
        parts += [bytes(margin), array.tobytes()]
        size += margin + array.nbytes
    return [_HEAD.pack(size, len(name), len(layout)), *parts]


@lru_cache(maxsize=1024)
def _layout(text: bytes) -> Layout:
    return [(np.dtype(kind), tuple(shape)) for kind, shape in json.loads(text)]
