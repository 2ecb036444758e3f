"""A process of ours from both of its ends, and what goes between them: a head of JSON, then the bytes of arrays.

Guarantee: what comes in is plain data, never unpickled; whatever the sender says, taking a message holds at most 256 kB
of head (6 MB as objects) and `most_bytes` of arrays, checked before they are held, and never waits for bytes that do
not come. The process finds the same clipsonic, its libraries start no threads of their own, whatever a file does to the
functions that it calls stays in it, and it ends by itself when its parent is gone; whatever it does, nobody waits for
its end longer than said. Price: about half a second until it answers, for it imports what the served module does and
nothing else; each byte is copied once from the socket into the array that it ends in. (No fork of a parent full of
threads and weights, and not multiprocessing, which would import the caller's main script, torch and all, again in it.)

    4 bytes   length of the head, big endian
    head      ASCII: [{"kind": ..., ...}, [["uint8", [224, 224, 3]], ...]]
    arrays    the bytes of each, in C order, one behind the other

The process sends {"kind": "ready"} once; then for each call {"facts": ...} and the arrays that the function returned
or, of one that yields, its messages and {"kind": "done"}; or {"kind": "refused", ...}.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import clipsonic
from clipsonic.errors import ClipsonicError
from clipsonic.refusals import MalformedError, refusal_of

MAX_HEAD_BYTES = 2**18
_MAX_ARRAYS = 8192
_MAX_AXES = 4
_DTYPES = {name: np.dtype(name) for name in ("uint8", "int16", "int32", "int64", "float32", "float64")}
_LENGTH = struct.Struct("!I")
_SEND_S = 10.0
"""How long a parent tries to send to a process that does not read."""
_LAST_BYTES = 2000
_GRACE_S = 5.0
"""From the end of its wire to the end of the process: longer lives only one that pretends."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""One each: the processes already fill the cores."""

_WATCH_S = 1.0
_M_ARENA_MAX = -8  # of glibc's mallopt: fewer arenas, so that the address space tells what is used


class Message(NamedTuple):
    """A head of plain JSON values (NaN and infinity are none), and arrays."""

    head: dict[str, Any]
    arrays: list[np.ndarray]


class Wire:
    """One end of a socket.

    Args:
        connection: its own from now on, but for `multiprocessing.connection.wait`.
        waits: whether `take` waits for a whole message, as a process does that has nothing else to do.
        most_bytes: of the arrays of one message that is taken; may be set between messages.
    """

    def __init__(self, connection: socket.socket, *, waits: bool, most_bytes: int = 0) -> None:
        self.connection, self._send_s = connection, None if waits else _SEND_S
        connection.setblocking(waits)
        self.most_bytes = most_bytes
        self._incoming = self._messages()

    def close(self) -> None:
        """The other end hears of it."""
        self.connection.close()

    def send(self, head: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Send a message.

        Raises:
            ValueError: the head is no JSON, or holds NaN or infinity.
            OSError: the other end is gone, or (TimeoutError) does not read.
        """
        arrays = [np.ascontiguousarray(array) for array in arrays]
        kinds = [(array.dtype.name, array.shape) for array in arrays]
        data = json.dumps([head, kinds], allow_nan=False).encode("ascii")
        waited = self.connection.gettimeout()
        self.connection.settimeout(self._send_s)
        try:
            self.connection.sendall(_LENGTH.pack(len(data)) + data)
            for array in arrays:
                self.connection.sendall(_bytes_of(array))
        finally:
            self.connection.settimeout(waited)

    def take(self) -> Message | None:
        """The next message; None while not all of it is there.

        Raises:
            MalformedError: there is none, or one that is not allowed; no other can be taken then.
            OSError, EOFError: the other end is gone.
        """
        try:
            return next(self._incoming)
        except StopIteration:
            raise EOFError from None

    def receive(self, within_s: float) -> Message:
        """The next message, waited for.

        Raises:
            TimeoutError: it has not come in time; the rest as `take`.
        """
        until = time.monotonic() + within_s
        while (message := self.take()) is None:
            wait([self.connection], max(0.0, until - time.monotonic()))
            if time.monotonic() >= until:  # also where bytes come now and then
                raise TimeoutError
        return message

    def _messages(self) -> Iterator[Message | None]:
        """All messages; None whenever there is nothing to read."""
        while True:
            length = bytearray(_LENGTH.size)
            yield from self._fill(memoryview(length))
            (num_bytes,) = _LENGTH.unpack(length)
            if num_bytes > MAX_HEAD_BYTES:
                raise MalformedError(f"a head of {num_bytes} bytes, at most {MAX_HEAD_BYTES} are taken")
            data = bytearray(num_bytes)
            yield from self._fill(memoryview(data))
            head, kinds = _read_head(bytes(data))
            arrays = _blank(kinds, self.most_bytes)
            for array in arrays:
                yield from self._fill(_bytes_of(array))
            yield Message(head, arrays)

    def _fill(self, rest: memoryview) -> Iterator[None]:
        while len(rest):
            try:
                count = self.connection.recv_into(rest)
            except BlockingIOError:
                yield None
                continue
            if not count:
                raise EOFError
            rest = rest[count:]


class Peer:
    """A process on the other end of a wire, which serves modules (`main`): started afresh, killed when need be.

    Args:
        modules, memory_mb, file_mb: of `main`.
    """

    def __init__(self, modules: tuple[str, ...], memory_mb: int | None, file_mb: int | None) -> None:
        ours, theirs = socket.socketpair()
        self.wire = Wire(ours, waits=False)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        words = ", ".join(map(repr, (theirs.fileno(), os.getpid(), modules, memory_mb, file_mb)))
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from clipsonic.wire import main; main({words})"],
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

    def kill(self) -> None:
        """End it now, its wire left open: who waits for its messages hears of it."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Make sure that it is gone."""
        self.wire.close()
        self.kill()
        self._stderr.close()


def _bytes_of(array: np.ndarray) -> memoryview:
    """The memory of an array in C order."""
    data: memoryview = array.reshape(-1).view(np.uint8).data
    return data


def _read_head(data: bytes) -> tuple[dict[str, Any], list[Any]]:
    try:
        head, kinds = json.loads(data.decode("ascii"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, TypeError, RecursionError):
        raise MalformedError("a head that is not JSON") from None
    if type(head) is not dict or type(kinds) is not list:
        raise MalformedError("a head of another layout")
    return head, kinds


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number


def _blank(kinds: list[Any], most_bytes: int) -> list[np.ndarray]:
    """Arrays to be filled; none is made before all are known to be allowed."""
    if len(kinds) > _MAX_ARRAYS:
        raise MalformedError(f"{len(kinds)} arrays, at most {_MAX_ARRAYS} are taken")
    wanted = [_checked(kind) for kind in kinds]
    num_bytes = sum(dtype.itemsize * math.prod(shape) for dtype, shape in wanted)
    if num_bytes > most_bytes:
        raise MalformedError(f"arrays of {num_bytes:.4g} bytes, at most {most_bytes} are taken here")
    return [np.empty(shape, dtype) for dtype, shape in wanted]


def _checked(kind: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and shape of an array, from the head."""
    name, shape = kind if type(kind) is list and len(kind) == 2 else (None, None)
    dtype = _DTYPES.get(name) if type(name) is str else None
    if dtype is None or type(shape) is not list or len(shape) > _MAX_AXES:
        raise MalformedError(f"an array of a kind that is not taken ({str(kind)[:60]!r})")
    if any(type(size) is not int or not 0 <= size < 2**48 for size in shape):
        raise MalformedError(f"an array of a shape that cannot be ({str(shape)[:60]!r})")
    return dtype, tuple(shape)


def _environment() -> dict[str, str]:
    """It finds the same clipsonic, and its libraries start no threads of their own."""
    root = str(Path(clipsonic.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": os.pathsep.join(paths)}


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
