"""A folder that one run at a time writes to.

Guarantee: a second run says so at once and touches nothing; a run that ends in any way, a kill included, leaves nothing
locked, for the lock is the system's and not the file's being there. Price: one small file while the run lasts.

It holds between machines where the network disk has locks (NFS does); on a disk without any, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clipsonic.errors import ClipsonicError
from clipsonic.files import naming


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Inside, this process holds the lock on the file `path`, which is made for it and removed behind it.

    Args:
        what: what is written to, in the words of the refusal.

    Raises:
        ClipsonicError: another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        file = _locked(path, what)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still ours
        file.close()


def _locked(path: Path, what: str) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            owner = file.read(200).decode(errors="replace").strip()
            file.close()
            words = f"another run ({owner})" if owner else "another run"
            raise ClipsonicError(f"{what}: {words} is writing there; wait for its end, or give a new folder") from None
        except OSError:
            return file  # a disk without locks
        with contextlib.suppress(FileNotFoundError):  # its last owner has just removed it
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                file.flush()
                return file
        file.close()
