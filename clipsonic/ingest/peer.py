"""A process of ours on the other end of a wire: started afresh, killed when need be.

Guarantee: it finds the same clipsonic, its libraries start no threads of their own, and whatever it does, nobody waits
for its end longer than said. Price: about half a second until it answers. (No fork of a parent full of threads and
weights, and not multiprocessing.Process, which would import the caller's main script, torch and all, again in it.)
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import clipsonic
from clipsonic.wire import Wire

_LAST_BYTES = 2000
_GRACE_S = 5.0
"""From the end of its wire to the end of the process: longer lives only one that pretends."""


class Peer:
    """A process that runs `main(DESCRIPTOR, PARENT, *arguments)` of a module.

    Args:
        module: dotted name.
        arguments: that `repr` writes as Python.
        most_bytes: of the arrays of one message from it.
    """

    def __init__(self, module: str, *arguments: str | int, most_bytes: int = 0) -> None:
        ours, theirs = socket.socketpair()
        self.wire = Wire(ours, waits=False, most_bytes=most_bytes)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        words = ", ".join(map(repr, (theirs.fileno(), os.getpid(), *arguments)))
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import main; main({words})"],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env=_environment(),
        )
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def kill(self) -> None:
        """End it now, its wire left open: who waits for its messages hears of it."""
        self._process.kill()
        self._process.wait()

    def status(self) -> int | None:
        """How it ended, after the end of its wire; None of one that had to be killed."""
        try:
            return self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.close()
            return None

    def last_words(self) -> str:
        """The last line that it wrote to standard error, of which the last 2,000 bytes are read."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - _LAST_BYTES))
        lines = self._stderr.read(_LAST_BYTES).decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        """Make sure that it is gone."""
        self.wire.close()
        self.kill()
        self._stderr.close()


def _environment() -> dict[str, str]:
    root = str(Path(clipsonic.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
