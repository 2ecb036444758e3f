"""Files written whole: the bytes go to a temporary name in the same folder, are flushed to disk, then renamed.

Guarantee: a reader, or a killed run, finds the old file or the new one, never a part. Price: one fsync.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(target: Path, data: bytes) -> None:
    """Put `data` at `target`; missing folders are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
