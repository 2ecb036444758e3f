"""Decoding in processes that can be killed: jobs in, their segments out in the order of the jobs.

Guarantee: each job ends exactly once, with ("done", None, None) or ("refused", reason, detail), whatever its file does
to the decoder; a process that crashes costs its own file only and is replaced, one that something else kills (an
operator, the system out of memory) costs nothing: its file is read again. The order of what comes out, and so every
byte made of it, does not depend on the number of processes.
Price: about half a second to start a process (all start at once, while the caller does other things); segments travel
through a pipe, about 1 ms per MB. Segments that come out of turn wait in memory, at most about 64 MB per process.

The processes are started afresh (no fork of a parent full of threads and weights) from `worker.main`, not through
multiprocessing.Process, which would import the caller's main script, torch and all, again in each of them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import clipsonic
from clipsonic.errors import ClipsonicError
from clipsonic.ingest.quarantine import RefusalReason
from clipsonic.ingest.segments import Job, ReadSettings, Segment

Event = tuple[str, Any, Any]
"""("segment", Segment, None), ("done", None, None) or ("refused", reason, detail)."""

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
        self._closed = False
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
        todo = enumerate(jobs)
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
        ready = wait([worker.connection for worker in open_now], timeout=_TICK_S)
        for place, worker in enumerate(self._workers):
            if worker not in open_now:
                worker.since = time.monotonic()  # it is we who keep it waiting
                continue
            event = worker.receive() if worker.connection in ready else worker.overdue(self._timeout_s)
            if event is not None and worker.number is not None:
                waiting[worker.number].add(event)
                if event[0] != "segment":
                    worker.number = None
            if worker.is_dead and not self._closed:
                worker.end()
                self._workers[place] = _Worker(self._memory_mb)


class _Waiting:
    """What a job has given and nobody has taken yet."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._events: deque[Event] = deque()
        self._num_kills, self._num_given, self._num_known = 0, 0, 0
        self.num_bytes, self.ended, self.is_free = 0, False, True

    def taken(self) -> Job:
        """The job, for a process to read from its beginning; the segments that are here already are known then."""
        self.is_free, self._num_known, self._num_given = False, max(self._num_known, self._num_given), 0
        return self._job

    def add(self, event: Event) -> None:
        if event[0] == _KILLED:
            self._num_kills += 1
            if self._num_kills < _MOST_KILLS:
                self.is_free = True
                return
            event = ("refused", RefusalReason.TROUBLE, f"the decoder's process was killed {self._num_kills} times")
        if event[0] == "segment":
            self._num_given += 1
            if self._num_given <= self._num_known:
                return
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
        self.connection, theirs = multiprocessing.Pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        call = f"main({theirs.fileno()}, parent={os.getpid()}, memory_mb={memory_mb})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from clipsonic.ingest.worker import main; {call}"],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env=worker_environment(),
        )
        theirs.close()
        self.number: int | None = None
        self.since = time.monotonic()
        self._started, self.is_dead = False, False

    @property
    def is_free(self) -> bool:
        """Whether it can take a job (that it has not quite started yet does not matter)."""
        return self.number is None and not self.is_dead

    def begin(self, number: int, job: Job, settings: ReadSettings) -> None:
        """Give it a job."""
        self.number, self.since = number, time.monotonic()
        try:
            self.connection.send((job, settings))
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died idle; `receive` finds that out and the job is refused as crashed

    def receive(self) -> Event | None:
        """What it has sent; its end is an event too."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._died()
        self.since = time.monotonic()
        if message[0] == "ready":
            self._started = True
            return None
        if message[:2] == ("refused", RefusalReason.MEMORY):
            self.is_dead = True  # a fresh process has its memory to itself
        return (*message, None)[:3]

    def overdue(self, timeout_s: float) -> Event | None:
        """Kill it if it has given nothing for too long."""
        if self.number is None or time.monotonic() - self.since < (timeout_s if self._started else _START_S):
            return None
        self._process.kill()
        self.is_dead = True
        return "refused", RefusalReason.TIMEOUT, f"nothing came out of it for {timeout_s:g} s"

    def _died(self) -> Event:
        self.is_dead = True
        status = self._process.wait()
        words = self._last_words()
        if status in (-signal.SIGKILL, -signal.SIGTERM):  # not ours: after our own nobody listens any more
            return _KILLED, None, None
        if not self._started:
            raise ClipsonicError(f"a decoding process could not start: {words or f'exit status {status}'}")
        reason = RefusalReason.MEMORY if "bad_alloc" in words else RefusalReason.CRASHED  # how C++ says it
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return "refused", reason, f"the decoder's process {how} {words}".strip()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read()[-2000:].decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def end(self) -> None:
        """Make sure that it is gone."""
        self.connection.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._stderr.close()


def worker_environment() -> dict[str, str]:
    """The child finds the same clipsonic, and its libraries start no threads of their own."""
    root = str(Path(clipsonic.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
