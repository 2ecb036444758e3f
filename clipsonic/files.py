"""Files written whole: temporary name in the same folder, fsync, rename; and which errors are the machine's.

Guarantee: a reader, or a run that was killed, finds the old file or the new one, never a part; the temporary file is
made new under a name that nobody can foresee, so what somebody has laid there (a link elsewhere) is never written
through. Price: one fsync.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
"""What a killed run leaves behind ends with this and begins with a dot."""
_RANDOM_BYTES = 8
_LONGEST_STEM = 100  # bytes of the target's name; file systems allow 255 in all

_TROUBLE_NAMES = """
EIO EREMOTEIO EUCLEAN ENODEV ENOMEDIUM EBUSY EACCES EPERM ENOSPC EDQUOT EROFS EMFILE ENFILE ENOMEM ENOLCK ESTALE
ETIMEDOUT ENOTCONN ENOLINK ECONNRESET ECONNREFUSED ECONNABORTED ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH
"""
_TROUBLE = frozenset(getattr(errno, name) for name in _TROUBLE_NAMES.split() if hasattr(errno, name))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """An empty file to write to; it takes the name `path` when the block ends well and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_temporary(path)
    try:
        with naming(path):
            yield temporary
            flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def new_temporary(path: Path) -> Path:
    """An empty file beside `path`, made here and now: never one that is there, nor what a link points to."""
    while True:
        temporary = path.with_name(f".{_stem(path)}.{secrets.token_hex(_RANDOM_BYTES)}{TEMPORARY_SUFFIX}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary


def remove_temporaries(path: Path) -> None:
    """Remove what killed runs left of `path`; nobody may be writing it."""
    begin = f".{_stem(path)}."
    for left in path.parent.glob(f"{glob.escape(begin)}*{TEMPORARY_SUFFIX}"):
        if "." not in left.name.removeprefix(begin).removesuffix(TEMPORARY_SUFFIX):  # else of a longer name
            left.unlink(missing_ok=True)


def _stem(path: Path) -> str:
    """The beginning of a file's name, short enough that more can be added."""
    return os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")


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
