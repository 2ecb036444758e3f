"""The demo's own temporary folder: uploads, sounds, and whatever the page's library puts down.

Guarantee: everything the demo writes lies in it; what is old, or the oldest beyond the space allowed, is removed before
new things are taken in; the folder goes when the demo ends, and one that a killed demo left goes when the next starts.
Price: the folder is walked once per request (some hundred files).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

from clipsonic.demo.limits import Limits
from clipsonic.demo.refusals import FullError

PREFIX = "clipsonic-demo-"
_GRACE_S = 60.0  # what was just written may be in use


class DemoFolder:
    """A new folder below `parent` (default: the system's place for temporary files)."""

    def __init__(self, limits: Limits, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_stale(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        self._limits, self._lock = limits, threading.Lock()

    def new(self, suffix: str) -> Path:
        """A name that nobody can guess, not used yet."""
        return self.path / f"{uuid.uuid4().hex}{suffix}"

    def find(self, name: str) -> Path | None:
        """The file that `new` named, if it is still here; `name` is a visitor's word and never leads out."""
        stem, _, suffix = name.partition(".")
        if len(stem) != 32 or not stem.isalnum() or suffix not in ("wav", "png", "mp4"):
            return None
        path = self.path / name
        return path if path.is_file() else None

    def tidy(self) -> None:
        """Remove what is old, and the oldest beyond the space allowed.

        Raises:
            FullError: the space is taken by files that are in use.
        """
        with self._lock:
            files = sorted(_files(self.path))
            total, allowed = sum(size for _, size, _ in files), self._limits.folder_mb * 2**20
            now = time.time()
            for changed, size, path in files:
                age_s = now - changed
                if age_s > self._limits.keep_s or (total > allowed and age_s > _GRACE_S):
                    path.unlink(missing_ok=True)
                    total -= size
                    with contextlib.suppress(OSError):  # not empty, or the folder of us all
                        if path.parent != self.path:
                            path.parent.rmdir()
        if total > allowed:
            raise FullError(f"the demo holds {total >> 20} MB, above its {allowed >> 20}: try again in a minute")

    def remove(self) -> None:
        """Take it away, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def remove_stale(parent: Path) -> None:
    """Remove the folders of demos whose process is gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    found = []
    for path in folder.rglob("*"):
        try:
            facts = path.lstat()
        except OSError:  # gone meanwhile
            continue
        if path.is_file() or path.is_symlink():
            found.append((facts.st_mtime, facts.st_size, path))
    return found
