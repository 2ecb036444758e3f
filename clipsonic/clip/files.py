"""Files written whole: temporary name in the same folder, fsync, rename.

Guarantee: a reader sees the old file or the new one, never a part. Price: one fsync per file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write one JSON object, indented, whole."""
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
