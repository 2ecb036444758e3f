"""Functions called in fresh processes of this machine, which may hang, crash, swell or be taken over by what they read.

Guarantee: each call ends exactly once, with its answer or with a refusal, in the order of the calls whatever the number
of processes. One that crashes, or takes more time (which counts only while somebody listens here) or memory than it
may, costs its own call only and is replaced; one that something else kills (an operator, the system out of memory)
costs nothing: its call is made again. A process that was taken over can make this one run, hold or wait for no more
than is said here: what comes is data (`wire`) that the call's reader accepts. When this process ends, however it ends,
its processes do too.
Price: half a second or more to start a process (all start at once, while the caller does other things); 1 ms per MB of
answers. Those that come out of turn wait in memory, at most about 64 MB per process, and each process may be in the
middle of one more. A function's module must be importable, what it is given and returns JSON or arrays.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import numpy as np

from clipsonic import errors
from clipsonic.errors import ClipsonicError
from clipsonic.refusals import MalformedError, RefusalReason, RefusedError
from clipsonic.wire import Message, Peer

_KILLED = "killed"
"""Within the pool, a process's end by a SIGKILL or SIGTERM of others; never seen outside."""
_MAX_WAITING_BYTES = 64 * 2**20
_CALLS_AHEAD = 4  # per process: how far a quick call may overtake a slow one
_MOST_KILLS = 3  # of the process of one call, by others
_TICK_S = 0.5
_START_S = 120.0

T = TypeVar("T")
Event = tuple[str, Any, Any]
"""What a reader makes of a message: ("segment", value, None), after which more comes, or the end of the call:
("done", None, None), ("answer", value, None) or ("refused", reason, detail)."""
Read = Callable[[Message], Event]
Answer = tuple[dict[str, Any], list[np.ndarray]]
"""Facts, of which nothing is known but that they are JSON, and arrays of any shape."""


@dataclass(frozen=True)
class Limits:
    """What one call may take: seconds without a message, MB of memory beyond the start's (Linux), of a written file,
    of an answer; None = no limit."""

    seconds: float = 20.0
    memory_mb: int | None = 1024
    file_mb: int | None = 256
    answer_mb: int = 256


class Call(NamedTuple):
    """A function of the served module, its arguments (JSON), what gives a new reader of its messages (which raises
    MalformedError of what the function does not say), and the most bytes of a message's arrays."""

    function: str
    arguments: dict[str, Any]
    reader: Callable[[], Read]
    most_bytes: int


class Pool:
    """Processes that serve a module.

    Args:
        modules: dotted names; the first is served, the others are imported beforehand too.
        count: how many processes.
        limits: of each call; answers are limited by the calls themselves.
        called: a process, in the words of refusals.
    """

    def __init__(self, modules: tuple[str, ...], count: int, limits: Limits, called: str = "the process") -> None:
        self._fresh = partial(_Worker, modules, limits, called)
        self._closed, self._left_at = False, time.monotonic()
        self._workers = [self._fresh() for _ in range(count)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for worker in self._workers:
            worker.close()

    def kill(self) -> None:
        """End the processes, also in the middle of a run, which then gives nothing more."""
        self._closed = True
        for worker in self._workers:
            worker.peer.kill()

    def events(self, calls: Iterable[Call]) -> Generator[tuple[int, Event], None, None]:
        """(number of the call, event) for all calls, in their order.

        Raises:
            ClipsonicError: a process cannot start.
        """
        todo, self._left_at = enumerate(calls), time.monotonic()
        waiting: dict[int, _Waiting] = {}
        head, exhausted = 0, False
        while True:
            for worker in self._workers:
                if not worker.is_free:
                    continue
                again = next((number for number, entry in waiting.items() if entry.is_free), None)
                if again is not None:
                    worker.begin(again, waiting[again].taken())
                elif not exhausted and len(waiting) < _CALLS_AHEAD * len(self._workers):
                    number, call = next(todo, (-1, None))
                    if call is None:
                        exhausted = True
                    else:
                        waiting[number] = _Waiting(call)
                        worker.begin(number, waiting[number].taken())
            if self._closed or (exhausted and not waiting):
                return
            self._receive(waiting, head)
            while head in waiting:
                yield from ((head, event) for event in waiting[head].take())
                if not waiting[head].ended:
                    break
                del waiting[head]
                head += 1

    def _receive(self, waiting: dict[int, _Waiting], head: int) -> None:
        """Take what the processes have sent; end what has ended, and what has taken too long."""
        open_now = [
            worker
            for worker in self._workers
            if worker.number is None or worker.number == head or waiting[worker.number].num_bytes < _MAX_WAITING_BYTES
        ]
        away_s = time.monotonic() - self._left_at
        ready = wait([worker.wire.connection for worker in open_now], timeout=_TICK_S)
        for place, worker in enumerate(self._workers):
            worker.since += away_s  # while nobody listened it could not get rid of what it had
            if worker not in open_now:
                worker.since = time.monotonic()  # it is we who keep it waiting
                continue
            event, num_bytes = worker.receive() if worker.wire.connection in ready else (None, 0)
            event = event or worker.overdue()  # also where bytes come, but never a whole message
            if event is not None and worker.number is not None:
                waiting[worker.number].add(event, num_bytes)
                if event[0] != "segment":
                    worker.number = None
            if worker.is_dead and not self._closed:
                worker.close()
                self._workers[place] = self._fresh()
        self._left_at = time.monotonic()


class _Waiting:
    """What a call has given and nobody has taken yet."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._events: deque[Event] = deque()
        self._num_kills, self._num_given, self._num_known = 0, 0, 0
        self.num_bytes, self.ended, self.is_free = 0, False, True

    def taken(self) -> Call:
        """The call, for a process to make from its beginning."""
        self.is_free, self._num_known, self._num_given = False, max(self._num_known, self._num_given), 0
        return self._call

    def add(self, event: Event, num_bytes: int) -> None:
        if event[0] == _KILLED:
            self._num_kills += 1
            if self._num_kills < _MOST_KILLS:
                self.is_free = True
                return
            event = _refused(RefusalReason.TROUBLE, f"{event[1]} was killed {self._num_kills} times")
        self.ended = event[0] != "segment"
        self._num_given += not self.ended
        if self.ended or self._num_given > self._num_known:  # else the call is made again
            self._events.append(event)
            self.num_bytes += num_bytes

    def take(self) -> Iterator[Event]:
        self.num_bytes = 0
        while self._events:
            yield self._events.popleft()


class _Worker:
    """One process, seen from its parent."""

    def __init__(self, modules: tuple[str, ...], limits: Limits, called: str) -> None:
        self.peer = Peer(modules, limits.memory_mb, limits.file_mb)
        self.wire, self._timeout_s, self._called = self.peer.wire, limits.seconds, called
        self.number: int | None = None
        self._read: Read | None = None
        self.since = time.monotonic()
        self._started, self.is_dead = False, False

    @property
    def is_free(self) -> bool:
        """Whether it can take a call (that it has not quite started yet does not matter)."""
        return self.number is None and not self.is_dead

    def begin(self, number: int, call: Call) -> None:
        """Give it a call."""
        self.number, self.since = number, time.monotonic()
        self._read, self.wire.most_bytes = call.reader(), call.most_bytes
        try:
            self.wire.send({"function": call.function, "arguments": call.arguments})
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died idle; `receive` finds that out
        except TimeoutError:
            self.peer.kill()  # the same, of one that has been taken over and does not listen

    def receive(self) -> tuple[Event | None, int]:
        """What it has sent, once it is whole, and its bytes; its end is an event too, and so is what is no message."""
        try:
            message = self.wire.take()
            return (None, 0) if message is None else (self._event(message), sum(a.nbytes for a in message.arrays))
        except MalformedError as error:
            self.is_dead = True
            if not self._started:
                raise ClipsonicError(f"{self._called} could not start: it sent {error}") from None
            return _refused(RefusalReason.CRASHED, f"{self._called} sent {error}"), 0
        except (EOFError, OSError):
            return self._died(), 0

    def _event(self, message: Message) -> Event | None:
        if not self._started and message.head == {"kind": "ready"} and not message.arrays:
            self._started, self.since = True, time.monotonic()
            return None
        if self.number is None or self._read is None:
            raise MalformedError("something without being asked")
        event = self._read(message)
        self.since = time.monotonic()
        if event[:2] == ("refused", RefusalReason.MEMORY):
            self.is_dead = True  # a fresh process has its memory to itself
        return event

    def overdue(self) -> Event | None:
        """Its end, if it has given nothing for too long."""
        if self.number is None or time.monotonic() - self.since < (self._timeout_s if self._started else _START_S):
            return None
        self.is_dead = True
        return _refused(RefusalReason.TIMEOUT, f"nothing came out of it for {self._timeout_s:g} s")

    def _died(self) -> Event:
        self.is_dead = True
        status, words = self.peer.status(), self.peer.last_words()
        if status in (-signal.SIGKILL, -signal.SIGTERM):  # not ours: after our own nobody listens any more
            return _KILLED, self._called, None
        if not self._started:
            raise ClipsonicError(f"{self._called} could not start: {words or f'exit status {status}'}")
        if status is None:
            return _refused(RefusalReason.CRASHED, f"{self._called} fell silent without ending")
        reason = RefusalReason.MEMORY if "bad_alloc" in words else RefusalReason.CRASHED  # how C++ says it
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return _refused(reason, f"{self._called} {how} {words}")

    def close(self) -> None:
        """Make sure that it is gone."""
        self.peer.close()


class Child:
    """A process that calls functions of one module, each `function(**arguments) -> (facts, arrays)`, in turn.

    Args:
        module: dotted name; imported before the memory is limited.
        limits: for each call.
    """

    def __init__(self, module: str, limits: Limits, called: str = "the process") -> None:
        self._start = partial(Pool, (module,), 1, limits, called)
        self._pool, self._most_bytes, self._called = self._start(), limits.answer_mb * 2**20, called
        self._lock, self._closed = threading.Lock(), False

    def call(self, function: str, read: Callable[[Answer], T], **arguments: Any) -> T:
        """What `read` makes of what the function returned; `arguments` must be JSON; may be called from any thread.

        Args:
            read: raises MalformedError where the answer is not one that the function gives.

        Raises:
            RefusedError: with the function's own reason; or timeout, memory, crashed.
        """
        call = Call(function, arguments, lambda: partial(_answered, read), self._most_bytes)
        with self._lock:
            try:
                events = [event for _, event in self._pool.events([call])]
            except BaseException as error:  # it cannot start; or nobody knows now what it is at
                self._pool.__exit__()
                self._pool = self._pool if self._closed else self._start()
                if not isinstance(error, ClipsonicError):
                    raise
                events = [_refused(RefusalReason.CRASHED, str(error))]
        kind, first, second = events[0] if events else _refused(RefusalReason.CRASHED, f"{self._called} has ended")
        if kind == "refused":
            raise RefusedError(first, second)
        answer: T = first
        return answer

    def close(self) -> None:
        """End the process, also in the middle of a call."""
        self._closed = True
        self._pool.kill()
        with self._lock:  # the call hears of it, and ends
            self._pool.__exit__()


def in_workers(work: Callable[..., T], items: Sequence[Any], workers: int) -> Iterator[T]:
    """`work` of each item, in order, in this process (one worker) or in fresh ones, see `away`."""
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as threads, away(work, workers) as call:
        try:
            yield from threads.map(call, items)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def away(work: Callable[..., T], workers: int) -> Iterator[Callable[..., T]]:
    """Inside, `work` as it is called in one of so many processes, from any thread, without limits.

    Args:
        work: a module's function, or a `partial` of one; given and returning JSON (or returning an array).

    Raises:
        ClipsonicError: as the function does, when it is called; RefusedError where another error ends it.
    """
    bound = work if isinstance(work, partial) else partial(work)
    told = {"module": bound.func.__module__, "name": bound.func.__qualname__, "named": bound.keywords}
    children, idle = [], SimpleQueue[Child]()
    for _ in range(workers):
        children.append(Child("clipsonic.wire", Limits(math.inf, None, None, answer_mb=1024)))
        idle.put(children[-1])

    def call(*given: Any) -> Any:
        child = idle.get()
        try:
            value, error = child.call("plain", _value_in, given=[*bound.args, *given], **told)
        finally:
            idle.put(child)
        if error is not None:
            raise error
        return value

    try:
        yield call
    finally:
        for child in children:
            child.close()


def _value_in(answer: Answer) -> tuple[Any, ClipsonicError | None]:
    facts, arrays = answer
    if "error" in facts:
        kind = getattr(errors, str(facts["error"]), None)
        if not (isinstance(kind, type) and issubclass(kind, ClipsonicError)):
            kind = ClipsonicError
        return None, kind(str(facts.get("words")))
    return (arrays[0] if arrays else facts.get("value")), None


def _answered(read: Callable[[Answer], T], message: Message) -> Event:
    if message.head.get("kind") == "refused":
        refused = RefusedError.told(message.head)
        return "refused", refused.reason, refused.detail
    facts = message.head.get("facts")
    if type(facts) is not dict:
        raise MalformedError("no answer")
    return "answer", read((facts, message.arrays)), None


def _refused(reason: RefusalReason, detail: str) -> Event:
    refused = RefusedError(reason, detail)
    return "refused", refused.reason, refused.detail
