"""Decoding in processes that can be killed: jobs in, their segments out in the order of the jobs.

Guarantee: each job ends exactly once, with ("done", None, None) or ("refused", reason, detail), whatever its file does
to the decoder; a process that crashes costs its own file only and is replaced, one that something else kills (an
operator, the system out of memory) costs nothing: its file is read again. The order of what comes out, and so every
byte made of it, does not depend on the number of processes. A process that its file has taken over cannot make this
one run, hold or wait for more than it says here: what comes is data (`wire`) that its job allows (`border`).
Price: about half a second to start a process (all start at once, while the caller does other things); segments travel
through a socket, about 1 ms per MB. Segments that come out of turn wait in memory, at most about 64 MB per process, and
each process may be in the middle of one more (`border.most_bytes`).
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import wait

from clipsonic.errors import ClipsonicError
from clipsonic.ingest.border import Border, Event, most_bytes, told_job
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.peer import Peer
from clipsonic.ingest.segments import ReadSettings, Segment
from clipsonic.refusals import MalformedError, RefusalReason, RefusedError
from clipsonic.wire import Message

_KILLED = "killed"
"""Within the pool, a process's end by a SIGKILL or SIGTERM of others; never seen outside."""
_MAX_WAITING_BYTES = 64 * 2**20
_JOBS_AHEAD = 4  # per process: how far a quick file may overtake a slow one
_MOST_KILLS = 3  # of the process of one file, by others: then this run gives it up, and the next tries again
_TICK_S = 0.5
_START_S = 120.0


class WorkerPool:
    """Processes that decode.

    Args:
        num_workers: how many.
        timeout_s: a file that gives nothing for so long is refused (`timeout`).
        memory_mb: what one process may take for a file (`memory`); enforced on Linux.
    """

    def __init__(self, num_workers: int, *, timeout_s: float = 120.0, memory_mb: int = 2048) -> None:
        self._timeout_s, self._memory_mb = timeout_s, memory_mb
        self._closed, self._left_at = False, time.monotonic()
        self._workers = [_Worker(memory_mb) for _ in range(num_workers)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for worker in self._workers:
            worker.end()

    def run(self, jobs: Iterable[Job], settings: ReadSettings) -> Generator[tuple[int, Event], None, None]:
        """(number of the job, event) for all jobs, in their order.

        Raises:
            ClipsonicError: a decoding process cannot start.
        """
        todo, self._left_at = enumerate(jobs), time.monotonic()
        waiting: dict[int, _Waiting] = {}
        head, exhausted = 0, False
        while True:
            for worker in self._workers:
                if not worker.is_free:
                    continue
                again = next((number for number, entry in waiting.items() if entry.is_free), None)
                if again is not None:
                    worker.begin(again, waiting[again].taken(), settings)
                elif not exhausted and len(waiting) < _JOBS_AHEAD * len(self._workers):
                    number, job = next(todo, (-1, None))
                    if job is None:
                        exhausted = True
                    else:
                        waiting[number] = _Waiting(job)
                        worker.begin(number, waiting[number].taken(), settings)
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
            event = worker.receive() if worker.wire.connection in ready else None
            event = event or worker.overdue(self._timeout_s)  # also where bytes come, but never a whole message
            if event is not None and worker.number is not None:
                waiting[worker.number].add(event)
                if event[0] != "segment":
                    worker.number = None
            if worker.is_dead and not self._closed:
                worker.end()
                self._workers[place] = _Worker(self._memory_mb)
        self._left_at = time.monotonic()


class _Waiting:
    """What a job has given and nobody has taken yet."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._events: deque[Event] = deque()
        self._num_kills, self._given_s = 0, -1.0
        self.num_bytes, self.ended, self.is_free = 0, False, True

    def taken(self) -> Job:
        """The job, for a process to read from its beginning."""
        self.is_free = False
        return self._job

    def add(self, event: Event) -> None:
        if event[0] == _KILLED:
            self._num_kills += 1
            if self._num_kills < _MOST_KILLS:
                self.is_free = True
                return
            event = _refused(RefusalReason.TROUBLE, f"the decoder's process was killed {self._num_kills} times")
        if event[0] == "segment":
            start_s = event[1].facts["start_s"]
            if start_s <= self._given_s:
                return  # known: the file is read again
            self._given_s = start_s
        self._events.append(event)
        self.ended = event[0] != "segment"
        if isinstance(segment := event[1], Segment):
            self.num_bytes += segment.sound.nbytes + sum(picture.nbytes for picture in segment.pictures)
            self.num_bytes += sum(map(len, segment.kept))

    def take(self) -> Iterator[Event]:
        self.num_bytes = 0
        while self._events:
            yield self._events.popleft()


class _Worker:
    """One decoding process, seen from its parent."""

    def __init__(self, memory_mb: int) -> None:
        self.peer, self._memory_mb = Peer("clipsonic.ingest.worker", memory_mb), memory_mb
        self.wire = self.peer.wire
        self.number: int | None = None
        self._border: Border | None = None
        self.since = time.monotonic()
        self._started, self.is_dead = False, False

    @property
    def is_free(self) -> bool:
        """Whether it can take a job (that it has not quite started yet does not matter)."""
        return self.number is None and not self.is_dead

    def begin(self, number: int, job: Job, settings: ReadSettings) -> None:
        """Give it a job."""
        self.number, self.since = number, time.monotonic()
        self._border, self.wire.most_bytes = Border(job, settings), most_bytes(settings, self._memory_mb)
        try:
            self.wire.send(told_job(job, settings))
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died idle; `receive` finds that out and the job is refused as crashed
        except TimeoutError:
            self.peer.kill()  # the same, of one that has been taken over and does not listen

    def receive(self) -> Event | None:
        """What it has sent, once that is whole; its end is an event too, and so is what is no message."""
        try:
            message = self.wire.take()
            return None if message is None else self._event(message)
        except MalformedError as error:
            self.is_dead = True
            if not self._started:
                raise ClipsonicError(f"a decoding process could not start: it sent {error}") from None
            return _refused(RefusalReason.CRASHED, f"the decoder's process sent {error}")
        except (EOFError, OSError):
            return self._died()

    def _event(self, message: Message) -> Event | None:
        if not self._started and message.head == {"kind": "ready"} and not message.arrays:
            self._started, self.since = True, time.monotonic()
            return None
        if self.number is None or self._border is None:
            raise MalformedError("something without being asked")
        event = self._border.event(message)
        self.since = time.monotonic()
        if event[:2] == ("refused", RefusalReason.MEMORY):
            self.is_dead = True  # a fresh process has its memory to itself
        return event

    def overdue(self, timeout_s: float) -> Event | None:
        """Kill it if it has given nothing for too long."""
        if self.number is None or time.monotonic() - self.since < (timeout_s if self._started else _START_S):
            return None
        self.is_dead = True
        return _refused(RefusalReason.TIMEOUT, f"nothing came out of it for {timeout_s:g} s")

    def _died(self) -> Event:
        self.is_dead = True
        status, words = self.peer.status(), self.peer.last_words()
        if status in (-signal.SIGKILL, -signal.SIGTERM):  # not ours: after our own nobody listens any more
            return _KILLED, None, None
        if not self._started:
            raise ClipsonicError(f"a decoding process could not start: {words or f'exit status {status}'}")
        if status is None:
            return _refused(RefusalReason.CRASHED, "the decoder's process fell silent without ending")
        reason = RefusalReason.MEMORY if "bad_alloc" in words else RefusalReason.CRASHED  # how C++ says it
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return _refused(reason, f"the decoder's process {how} {words}")

    def end(self) -> None:
        """Make sure that it is gone."""
        self.peer.close()


def _refused(reason: RefusalReason, detail: str) -> Event:
    refused = RefusedError(reason, detail)
    return "refused", refused.reason, refused.detail
