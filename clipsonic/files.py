"""Files written whole: temporary name in the same folder, fsync, rename.

Guarantee: a reader, or a run that was killed, finds the old file or the new one, never a part. Price: one fsync.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
"""What a killed run leaves behind ends with this and begins with a dot."""


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
