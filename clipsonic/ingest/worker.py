"""The decoding process: takes jobs from its wire, sends segments back, and may be killed at any time.

Guarantee: whatever a file does to the decoder stays in this process; it ends by itself when its parent is gone.
Price: a second to start; imports NumPy, SciPy's filters, PyAV, Pillow, soxr and, when a file wants it, decord; never
torch.

What is sent (see `border`): "ready" once; then per job any number of "segment" and at last "done" or "refused".
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from clipsonic.wire import Message, Wire

_WATCH_S = 1.0
_M_ARENA_MAX = -8  # of glibc's mallopt: fewer arenas, so that the address space tells what is used


def main(pipe: int, parent: int, memory_mb: int) -> None:
    """Serve the parent over the socket of descriptor `pipe` until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    use_one_arena()
    import pyloudnorm  # noqa: F401  # its second of importing is no file's fault

    from clipsonic.ingest import border, segments

    quiet_decoders()
    limit_memory(memory_mb)
    wire = Wire(socket.socket(fileno=pipe), waits=True)
    send(wire, {"kind": "ready"})
    while (message := next_call(wire)) is not None:
        _forget_stderr()
        job, settings = border.job_in(message.head)
        send(wire, _work(wire, segments, border, job, settings))


def _work(wire: Wire, segments: Any, border: Any, job: Any, settings: Any) -> dict[str, Any]:
    """The one broad except of the project's border: whatever a file provokes becomes its refusal."""
    from clipsonic.refusals import refusal_of

    try:
        for segment in segments.read_segments(job, settings):
            send(wire, *border.told_segment(segment))
    except Exception as error:
        return refusal_of(error).head()
    return {"kind": "done"}


def next_call(wire: Wire) -> Message | None:
    """What the parent asks for; None where it has gone."""
    try:
        return wire.take()
    except (EOFError, ConnectionResetError):
        return None


def send(wire: Wire, head: dict[str, Any], arrays: Any = ()) -> None:
    """Tell the parent; the process ends where it has gone."""
    try:
        wire.send(head, arrays)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def quiet_decoders() -> None:
    """FFmpeg's log goes into the errors (PyAV attaches its last line), not to the terminal."""
    import av

    av.logging.set_level(av.logging.ERROR)
    logging.getLogger("libav").addHandler(logging.NullHandler())
    logging.getLogger("libav").propagate = False


def use_one_arena() -> None:
    """Let all threads allocate from one place: the address space then tells what is used."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


def limit_memory(memory_mb: int) -> None:
    """Allow so much address space beyond what is mapped already; only where the system tells and enforces it."""
    if sys.platform != "linux":
        return
    import resource
    from pathlib import Path

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_files(file_mb: int) -> None:
    """No file that this process writes may grow beyond; writing more fails like on a full disk (Linux and macOS)."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (file_mb * 2**20, file_mb * 2**20))


def _forget_stderr() -> None:
    """Standard error is a file of which only the last words before a crash are read: keep it small."""
    try:
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
    except OSError:
        return  # a terminal or a pipe, when run by hand


def end_with(parent: int) -> None:
    """Wait until the parent is gone, then end this process."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
