"""One function called in a process of its own, with limits of time, memory and written bytes.

Guarantee: whatever a file does to the function, the caller gets its answer or one refusal with its reason in time; the
answer is plain numbers (JSON and arrays), never unpickled, so that even a process that a file has taken over can send
nothing that runs here. Price: a second to start, paid ahead of the first call; calls come one after another.

A process serves many calls; it is replaced after one that ended it, ran out of memory or of time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from clipsonic.ingest.pool import worker_environment
from clipsonic.ingest.quarantine import RefusalReason, RefusedError, refusal_of

_START_S = 120.0
_MAX_HEAD_BYTES = 2**20
_MAX_ARRAYS = 64


@dataclass(frozen=True)
class ChildLimits:
    """What one call may take: seconds, MB of memory beyond the start's (Linux), of a written file, of an answer."""

    seconds: float = 20.0
    memory_mb: int = 1024
    file_mb: int = 256
    answer_mb: int = 256


class Child:
    """A process that calls functions of one module, each `function(**arguments) -> (facts, arrays)`.

    Args:
        module: dotted name; imported before the memory is limited.
        limits: for each call.
    """

    def __init__(self, module: str, limits: ChildLimits) -> None:
        self._module, self._limits = module, limits
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def call(self, function: str, **arguments: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
        """What the function returned; `arguments` must be JSON.

        Raises:
            RefusedError: with the function's own reason; or timeout, memory, crashed.
        """
        with self._lock:
            try:
                return self._call(function, arguments)
            except RefusedError as refused:
                if refused.reason in (RefusalReason.TIMEOUT, RefusalReason.MEMORY, RefusalReason.CRASHED):
                    self._end()
                    if not self._closed:
                        self._start()
                raise

    def close(self) -> None:
        """End the process, also in the middle of a call."""
        self._closed = True
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        limits = f"{self._limits.memory_mb}, {self._limits.file_mb}"
        call = f"main({theirs.fileno()}, {os.getpid()}, {self._module!r}, {limits})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from clipsonic.ingest.child import main; {call}"],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=worker_environment(),
        )
        theirs.close()
        self._ready = False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _call(self, function: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        if not self._ready:
            self._within(_START_S, lambda: self._connection.recv_bytes(_MAX_HEAD_BYTES))
            self._ready = True
        answer: tuple[dict[str, Any], list[np.ndarray]]
        answer = self._within(self._limits.seconds, lambda: self._exchange(function, arguments))
        return answer

    def _exchange(self, function: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        self._connection.send_bytes(json.dumps([function, arguments]).encode())
        head = json.loads(self._connection.recv_bytes(_MAX_HEAD_BYTES))
        if "reason" in head:
            raise RefusedError(RefusalReason(head["reason"]), str(head["detail"]))
        return dict(head["facts"]), self._arrays(head["arrays"])

    def _arrays(self, heads: Sequence[Any]) -> list[np.ndarray]:
        if len(heads) > _MAX_ARRAYS:
            raise ValueError("too many arrays")
        left, arrays = self._limits.answer_mb * 2**20, []
        for kind, shape in heads:
            data = self._connection.recv_bytes(left)
            left -= len(data)
            arrays.append(np.frombuffer(data, np.dtype(str(kind))).reshape([int(size) for size in shape]))
        return arrays

    def _within(self, seconds: float, step: Any) -> Any:
        """Do this; the process is killed after so many seconds, which ends every wait for it."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(seconds, end)
        watch.daemon = True
        watch.start()
        try:
            return step()
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            if late.is_set():
                raise RefusedError(RefusalReason.TIMEOUT, f"no answer in {seconds:g} s") from None
            raise RefusedError(RefusalReason.CRASHED, "the process that opened it has ended") from None
        finally:
            watch.cancel()


def main(pipe: int, parent: int, module_name: str, memory_mb: int, file_mb: int) -> None:
    """Serve the parent over the file descriptor `pipe` until it closes (in the process itself)."""
    import importlib
    import signal

    from clipsonic.ingest import worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=worker.end_with, args=(parent,), daemon=True).start()
    worker.use_one_arena()
    module = importlib.import_module(module_name)
    worker.quiet_decoders()
    worker.limit_memory(memory_mb)
    worker.limit_files(file_mb)
    connection = Connection(pipe)
    connection.send_bytes(b"{}")
    while True:
        try:
            function, arguments = json.loads(connection.recv_bytes())
        except EOFError:
            return
        _answer(connection, module, function, arguments)


def _answer(connection: Connection, module: Any, function: str, arguments: dict[str, Any]) -> None:
    """The broad except of this border: whatever a file provokes becomes its refusal."""
    try:
        facts, arrays = getattr(module, function)(**arguments)
        head = {"facts": facts, "arrays": [(array.dtype.str, array.shape) for array in arrays]}
        connection.send_bytes(json.dumps(head).encode())
        for array in arrays:
            connection.send_bytes(np.ascontiguousarray(array).data.cast("B"))
    except Exception as error:
        refused = refusal_of(error)
        connection.send_bytes(json.dumps({"reason": str(refused.reason), "detail": refused.detail}).encode())
