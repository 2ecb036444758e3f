"""Files that hang, devour memory or kill their decoder cost themselves only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import makers_ingest as makers
import numpy as np
import psutil
import pytest

from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.segments import ReadSettings
from clipsonic.specs import CorpusSpec
from clipsonic.workers import Event

SETTINGS = ReadSettings(CorpusSpec(16000, 1.0, 1.0), stride_s=1.0)


def job_of(path: Path) -> Job:
    return Job(str(path), path.name, path.stem, path.stem)


def run(pool: WorkerPool, paths: list[Path]) -> list[list[Event]]:
    events: list[list[Event]] = [[] for _ in paths]
    for number, event in pool.run([job_of(path) for path in paths], SETTINGS):
        assert not any(events[number + 1 :]), "events come in the order of the jobs"
        events[number].append(event)
    return events


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.make_video(tmp_path_factory.mktemp("good") / "good.mp4", seconds=2.2)


def test_a_file_that_hangs_is_refused_after_its_time_and_the_others_are_read(tmp_path: Path, good: Path) -> None:
    hanging = tmp_path / "hanging.mp4"
    os.mkfifo(hanging)
    with WorkerPool(2, timeout_s=2.0) as pool:
        events = run(pool, [good, hanging, good, good])
    kinds = [[event[0] for event in found] for found in events]
    assert kinds == [["segment", "segment", "done"], ["refused"], *[["segment", "segment", "done"]] * 2]
    assert events[1][0][1] == "timeout"


def test_a_file_that_kills_its_decoder_is_refused_as_crashed_and_the_process_is_replaced(
    tmp_path: Path, good: Path
) -> None:
    deadly = tmp_path / "deadly.mp4"
    os.mkfifo(deadly)
    events = run_killing(deadly, good, signal.SIGSEGV, times=1)
    assert events[0][0][:2] == ("refused", "crashed")
    assert "SIGSEGV" in events[0][0][2]
    assert events[1][-1][0] == "done"


def test_a_file_whose_process_something_else_kills_is_read_again_from_where_it_stood(tmp_path: Path) -> None:
    long = makers.make_video(tmp_path / "long.mp4", seconds=12.0)
    with WorkerPool(2) as pool:
        undisturbed = run(pool, [long])
    with WorkerPool(2) as pool:
        events: list[Event] = []
        for _, event in pool.run([job_of(long)], SETTINGS):
            events.append(event)
            if len(events) in (1, 3):
                os.kill(next(worker for worker in pool._workers if worker.number == 0).peer.pid, signal.SIGKILL)
    assert [event[0] for event in events] == ["segment"] * 12 + ["done"]
    for mine, theirs in zip(events[:-1], undisturbed[0][:-1], strict=True):
        assert mine[1].key == theirs[1].key
        np.testing.assert_array_equal(mine[1].sound, theirs[1].sound)


def test_a_file_whose_process_is_killed_again_and_again_is_given_up_for_this_run(tmp_path: Path, good: Path) -> None:
    endless = tmp_path / "endless.mp4"
    os.mkfifo(endless)
    events = run_killing(endless, good, signal.SIGKILL, times=3)
    assert events[0] == [("refused", "trouble", "the decoder's process was killed 3 times")]
    assert events[1][-1][0] == "done"


def test_a_consumer_that_takes_longer_than_a_file_may_costs_no_file(tmp_path: Path) -> None:
    large = makers.make_video(tmp_path / "large.mp4", seconds=4.0, size=(640, 480))
    kinds = []
    with WorkerPool(1, timeout_s=3.0) as pool:
        for _, event in pool.run([job_of(large)], SETTINGS):
            if not kinds:
                time.sleep(3.5)  # the process stands in the middle of its second segment
            kinds.append(event[0])
    assert kinds == ["segment"] * 4 + ["done"]


def run_killing(pipe: Path, good: Path, how: signal.Signals, times: int) -> list[list[Event]]:
    """What becomes of a pipe, whose reader gets this signal so many times, and of a good file after it."""
    with WorkerPool(1) as pool:

        def kill() -> None:
            for _ in range(times):
                descriptor = _open_when_it_is_read(pipe)
                os.kill(pool._workers[0].peer.pid, how)
                time.sleep(0.2)
                os.close(descriptor)

        thread = threading.Thread(target=kill)
        thread.start()
        events = run(pool, [pipe, good])
        thread.join()
    return events


def _open_when_it_is_read(pipe: Path) -> int:
    """A pipe can be opened for writing without blocking only when somebody waits to read it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.02)
    raise AssertionError("nobody has opened the pipe")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is enforced on Linux")
@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_a_picture_too_large_for_the_limit_is_refused_for_its_memory(tmp_path: Path, good: Path, suffix: str) -> None:
    """8,000 x 8,000 pixels are 96 MB as decoded and 192 MB as RGB."""
    huge = tmp_path / f"huge{suffix}"
    with av.open(str(huge), "w") as container:
        video = container.add_stream("mjpeg", rate=1)
        video.width, video.height, video.pix_fmt = 8000, 8000, "yuvj420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.VideoFrame(8000, 8000, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        container.mux(video.encode(frame) + video.encode(None))
        container.mux(makers.sound_packets(sound, np.zeros(16000, np.float32), 16000, "mono", 0.0))
    with WorkerPool(1, memory_mb=160) as pool:
        events = run(pool, [huge, good])
    assert events[0][-1][:2] == ("refused", "memory")
    assert events[1][-1][0] == "done"


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    hanging = tmp_path / "hanging.mp4"
    os.mkfifo(hanging)
    code = f"""
from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.segments import ReadSettings
from clipsonic.specs import CorpusSpec
import psutil
pool = WorkerPool(2)
print(*[child.pid for child in psutil.Process().children()], flush=True)
list(pool.run([Job({str(hanging)!r}, "x", "x", "x")] * 2, ReadSettings(CorpusSpec(), 10.24)))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(child) and psutil.Process(child).status() != "zombie" for child in children):
        assert time.monotonic() < deadline, "a decoding process has outlived its parent by 20 s"
        time.sleep(0.1)


def test_the_decoding_process_loads_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; from clipsonic import wire; from clipsonic.ingest import border; "
        "print([name for name in ('torch', 'open_clip', 'decord', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
