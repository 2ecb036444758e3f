"""One function called in a process of its own, with limits of time, memory and written bytes.

Guarantee: whatever a file does to the function, the caller gets its answer or one refusal with its reason in time; the
answer is plain data (`wire`) that the caller's `read` accepts, so that even a process that a file has taken over can
send nothing that runs here. Price: a second to start, paid ahead of the first call; calls come one after another.

A process serves many calls; it is replaced after one that ended it, ran out of memory or of time, or was answered by
what is no answer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from clipsonic.ingest.peer import Peer
from clipsonic.refusals import MalformedError, RefusalReason, RefusedError, refusal_of
from clipsonic.wire import Message, Wire

_START_S = 120.0

Answer = tuple[dict[str, Any], list[np.ndarray]]
"""Facts, of which nothing is known but that they are JSON, and arrays of any shape."""

T = TypeVar("T")


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

    def call(self, function: str, read: Callable[[Answer], T], **arguments: Any) -> T:
        """What `read` makes of what the function returned; `arguments` must be JSON.

        Args:
            read: raises MalformedError where the answer is not one that the function gives.

        Raises:
            RefusedError: with the function's own reason; or timeout, memory, crashed.
        """
        with self._lock:
            try:
                return self._call(function, read, arguments)
            except RefusedError as refused:
                if refused.reason in (RefusalReason.TIMEOUT, RefusalReason.MEMORY, RefusalReason.CRASHED):
                    self._peer.close()
                    if not self._closed:
                        self._start()
                raise

    def close(self) -> None:
        """End the process, also in the middle of a call."""
        self._closed = True
        self._peer.kill()
        with self._lock:  # the call hears of it, and ends
            self._peer.close()

    def _start(self) -> None:
        limits = self._limits
        arguments = (self._module, limits.memory_mb, limits.file_mb)
        self._peer = Peer("clipsonic.ingest.child", *arguments, most_bytes=limits.answer_mb * 2**20)
        self._ready = False

    def _call(self, function: str, read: Callable[[Answer], T], arguments: dict[str, Any]) -> T:
        seconds = self._limits.seconds
        try:
            if not self._ready:
                self._peer.wire.receive(_START_S)
                self._ready = True
            self._peer.wire.send({"function": function, "arguments": arguments})
            return read(_answer_in(self._peer.wire.receive(seconds)))
        except TimeoutError:
            raise RefusedError(RefusalReason.TIMEOUT, f"no answer in {seconds:g} s") from None
        except MalformedError as error:
            raise RefusedError(RefusalReason.CRASHED, f"the process that opened it sent {error}") from None
        except (EOFError, OSError):
            raise RefusedError(RefusalReason.CRASHED, "the process that opened it has ended") from None


def _answer_in(message: Message) -> Answer:
    if message.head.get("kind") == "refused":
        raise RefusedError.told(message.head)
    facts = message.head.get("facts")
    if type(facts) is not dict:
        raise MalformedError("no answer")
    return facts, message.arrays


def main(pipe: int, parent: int, module_name: str, memory_mb: int, file_mb: int) -> None:
    """Serve the parent over the socket of descriptor `pipe` until it closes (in the process itself)."""
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
    wire = Wire(socket.socket(fileno=pipe), waits=True)
    worker.send(wire, {"kind": "ready"})
    while (message := worker.next_call(wire)) is not None:
        _answer(wire, module, **message.head)


def _answer(wire: Wire, module: Any, function: str, arguments: dict[str, Any]) -> None:
    """The broad except of this border: whatever a file provokes becomes its refusal."""
    from clipsonic.ingest import worker

    try:
        facts, arrays = getattr(module, function)(**arguments)
        worker.send(wire, {"facts": facts}, arrays)
    except Exception as error:
        worker.send(wire, refusal_of(error).head())
