"""The process that `workers` starts: it calls functions of one module as it is asked, and may be killed at any time.

Guarantee: whatever a file does to the functions stays in this process; it ends by itself when its parent is gone.
Price: a second to start; it imports what the module does and nothing else.

What is sent: {"kind": "ready"} once; then for each call {"facts": ...} and the arrays that the function returned or, of
one that yields, its messages and {"kind": "done"}; or {"kind": "refused", ...}.
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
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.errors import ClipsonicError
from clipsonic.refusals import refusal_of
from clipsonic.wire import Message, Wire

_WATCH_S = 1.0
_M_ARENA_MAX = -8  # of glibc's mallopt: fewer arenas, so that the address space tells what is used


def main(pipe: int, parent: int, modules: tuple[str, ...], memory_mb: int | None, file_mb: int | None) -> None:
    """Serve the first module to the parent over the socket of descriptor `pipe` until it closes.

    Args:
        modules: imported before the limits hold: their time and memory are no file's fault.
        memory_mb: beyond the start's, where the system tells and enforces it; file_mb: of a written file.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if memory_mb is not None:
        _use_one_arena()
    served, *_ = [import_module(name) for name in modules]
    _quiet_decoders()
    _limit(memory_mb, file_mb)
    wire = Wire(socket.socket(fileno=pipe), waits=True)
    _send(wire, {"kind": "ready"})
    while (message := _next_call(wire)) is not None:
        _forget_stderr()
        _answer(wire, served, **message.head)


def plain(module: str, name: str, given: list[Any], named: dict[str, Any]) -> Message:
    """A function of any module, which returns an array or what JSON knows; an error of ours is told by its name."""
    try:
        value = getattr(import_module(module), name)(*given, **named)
    except ClipsonicError as error:
        return Message({"error": type(error).__name__, "words": str(error)}, [])
    return Message({}, [value]) if isinstance(value, np.ndarray) else Message({"value": value}, [])


def _answer(wire: Wire, served: Any, function: str, arguments: dict[str, Any]) -> None:
    """The one broad except of this border: whatever a file provokes becomes its refusal."""
    try:
        given = getattr(served, function)(**arguments)
        if isinstance(given, Iterator):
            for message in given:
                _send(wire, *message)
            _send(wire, {"kind": "done"})
        else:
            facts, arrays = given
            _send(wire, {"facts": facts}, arrays)
    except Exception as error:
        _send(wire, refusal_of(error).head())


def _next_call(wire: Wire) -> Message | None:
    """What the parent asks for; None where it has gone."""
    try:
        return wire.take()
    except (EOFError, ConnectionResetError):
        return None


def _send(wire: Wire, head: dict[str, Any], arrays: Any = ()) -> None:
    """Tell the parent; the process ends where it has gone."""
    try:
        wire.send(head, arrays)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _quiet_decoders() -> None:
    """FFmpeg's log goes into the errors (PyAV attaches its last line), not to the terminal."""
    if (av := sys.modules.get("av")) is not None:
        av.logging.set_level(av.logging.ERROR)
        logging.getLogger("libav").addHandler(logging.NullHandler())
        logging.getLogger("libav").propagate = False


def _use_one_arena() -> None:
    """Let all threads allocate from one place: the address space then tells what is used."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


def _limit(memory_mb: int | None, file_mb: int | None) -> None:
    """So much address space beyond what is mapped (Linux), and of a file; beyond, writing fails as on a full disk."""
    if sys.platform == "win32":
        return
    import resource

    if memory_mb is not None and sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if file_mb is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_mb * 2**20, file_mb * 2**20))


def _forget_stderr() -> None:
    """Standard error is a file of which only the last words before a crash are read: keep it small."""
    try:
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
    except OSError:
        return  # a terminal or a pipe, when run by hand


def _end_with(parent: int) -> None:
    """Wait until the parent is gone, then end this process."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
