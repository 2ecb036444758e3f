"""Files written whole: temporary name in the same folder, fsync, rename; and which errors are the machine's.

Guarantee: a reader, or a run that was killed, finds the old file or the new one, never a part. Price: one fsync.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
"""What a killed run leaves behind ends with this and begins with a dot."""

_TROUBLE_NAMES = """
EIO EREMOTEIO EUCLEAN ENODEV ENOMEDIUM EBUSY EACCES EPERM ENOSPC EDQUOT EROFS EMFILE ENFILE ENOMEM ENOLCK ESTALE
ETIMEDOUT ENOTCONN ENOLINK ECONNRESET ECONNREFUSED ECONNABORTED ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH
"""
_TROUBLE = frozenset(getattr(errno, name) for name in _TROUBLE_NAMES.split() if hasattr(errno, name))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the name `path` when the block ends well and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with naming(path):
            yield temporary
            flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system says of a write that failed (a full disk, a quota) does not name the file: this adds it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) at `path`; missing folders are made."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Put one JSON object, indented, at `path`."""
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def flush(path: Path) -> None:
    """Wait until a closed file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def is_trouble(error: BaseException) -> bool:
    """Whether an error is of this machine or its network (a disk, permission, too many open files), not of a file."""
    return isinstance(error, OSError) and error.errno in _TROUBLE
