"""A call in a process of its own gives its answer or one refusal, in time, whatever it does there."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest

from clipsonic.errors import CorpusError
from clipsonic.refusals import MalformedError, RefusedError
from clipsonic.workers import Answer, Child, Limits, in_workers

pytestmark = pytest.mark.timeout(60)

FUNCTIONS = """
import os, signal, time
import numpy as np
from clipsonic.refusals import RefusalReason, RefusedError

def squares(count): return {"pid": os.getpid()}, [np.arange(count) ** 2, np.ones((2, 3), np.uint8)]
def refuse(): raise RefusedError(RefusalReason.NO_VIDEO, "only sound")
def fail(): return {}, [1 / 0]
def sleep(): time.sleep(60)
def die(): os.kill(os.getpid(), signal.SIGSEGV)
def devour(): return {}, [np.ones(2**29)]
def write(path, num_bytes): open(path, "wb").write(bytes(num_bytes)); return {}, []
def flood(): return {}, [np.zeros(2**27, np.uint8)]
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "called_functions.py").write_text(FUNCTIONS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    child = Child("called_functions", Limits(seconds=1.5, memory_mb=512, file_mb=1, answer_mb=64))
    yield child
    child.close()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def as_it_is(answer: Answer) -> Answer:
    return answer


def refusal(child: Child, function: str, **arguments: object) -> str:
    with pytest.raises(RefusedError) as caught:
        child.call(function, as_it_is, **arguments)
    return str(caught.value.reason)


def test_facts_and_arrays_come_back_as_they_were(child: Child) -> None:
    _, (squares, ones) = child.call("squares", as_it_is, count=5)
    np.testing.assert_array_equal(squares, np.arange(5) ** 2)
    assert squares.dtype == np.int64
    assert ones.shape == (2, 3)
    assert ones.dtype == np.uint8


def test_a_function_s_own_refusal_keeps_its_reason_and_costs_no_process(child: Child) -> None:
    before = child.call("squares", as_it_is, count=1)[0]["pid"]
    assert refusal(child, "refuse") == "no_video"
    assert refusal(child, "fail") == "decode_error"
    assert child.call("squares", as_it_is, count=1)[0]["pid"] == before


def test_a_call_that_takes_too_long_ends_in_time_and_the_next_one_works(child: Child) -> None:
    child.call("squares", as_it_is, count=1)
    started = time.monotonic()
    assert refusal(child, "sleep") == "timeout"
    assert time.monotonic() - started < 5.0
    assert len(child.call("squares", as_it_is, count=3)[1][0]) == 3


def test_a_call_that_kills_its_process_is_refused_as_crashed_and_the_next_one_works(child: Child) -> None:
    assert refusal(child, "die") == "crashed"
    assert len(child.call("squares", as_it_is, count=3)[1][0]) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is enforced on Linux")
def test_a_call_that_wants_too_much_memory_is_refused(child: Child) -> None:
    assert refusal(child, "devour") == "memory"
    assert len(child.call("squares", as_it_is, count=3)[1][0]) == 3


def test_a_file_cannot_be_written_beyond_the_limit(child: Child, tmp_path: Path) -> None:
    child.call("write", as_it_is, path=str(tmp_path / "small"), num_bytes=2**20)
    assert refusal(child, "write", path=str(tmp_path / "large"), num_bytes=2**21) == "decode_error"
    assert (tmp_path / "large").stat().st_size <= 2**20


def test_an_answer_larger_than_allowed_is_not_taken(child: Child) -> None:
    assert refusal(child, "flood") == "crashed"
    assert len(child.call("squares", as_it_is, count=3)[1][0]) == 3


def test_a_process_that_was_killed_from_outside_costs_no_call(child: Child) -> None:
    before = child.call("squares", as_it_is, count=1)[0]["pid"]
    os.kill(before, signal.SIGKILL)
    facts, arrays = child.call("squares", as_it_is, count=3)
    assert facts["pid"] != before
    assert len(arrays[0]) == 3


def test_an_answer_that_the_caller_cannot_read_is_refused_as_crashed_and_the_process_is_replaced(child: Child) -> None:
    def read(answer: Answer) -> None:
        raise MalformedError(f"{len(answer[1])} arrays")

    before = child.call("squares", as_it_is, count=1)[0]["pid"]
    with pytest.raises(RefusedError, match="crashed: the process sent 2 arrays"):
        child.call("squares", read, count=1)
    assert child.call("squares", as_it_is, count=1)[0]["pid"] != before


PLAIN = """
import os, signal, time
import numpy as np
import psutil
from clipsonic.errors import CorpusError

def halved(number, by=2): return np.arange(number) / by
def named(number, words): return {"number": number, "words": words, "pid": os.getpid()}
def refused(number): raise CorpusError(f"item {number} is damaged")
def broken(number): return 1 // number
def deadly(number): return os.kill(os.getpid(), signal.SIGSEGV) if number == 2 else number
"""


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of functions, here and in processes that are started from now on."""
    (tmp_path / "plain_functions.py").write_text(PLAIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plain_functions", raising=False)
    return importlib.import_module("plain_functions")


def test_what_processes_return_is_what_the_function_returns_here_in_order(plain: ModuleType) -> None:
    work = partial(plain.halved, by=4)
    for mine, theirs in zip(in_workers(work, range(9), 1), in_workers(work, range(9), 2), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_work_is_done_by_so_many_other_processes(plain: ModuleType) -> None:
    found = list(in_workers(partial(plain.named, words="a"), range(20), 2))
    assert [one["number"] for one in found] == list(range(20))
    pids = {one["pid"] for one in found}
    assert len(pids) <= 2
    assert os.getpid() not in pids


def test_an_error_of_ours_keeps_its_kind_and_another_is_refused(plain: ModuleType) -> None:
    with pytest.raises(CorpusError, match="item 0 is damaged"):
        list(in_workers(plain.refused, range(3), 2))
    with pytest.raises(RefusedError, match="ZeroDivisionError"):
        list(in_workers(plain.broken, range(3), 2))
    with pytest.raises(RefusedError, match="SIGSEGV"):
        list(in_workers(plain.deadly, range(3), 2))


def test_no_process_is_left_when_the_results_are_not_wanted_any_more(plain: ModuleType) -> None:
    before = {process.pid for process in psutil.Process().children()}
    found = in_workers(partial(plain.named, words="a"), range(1000), 2)
    next(found)
    started = {process.pid for process in psutil.Process().children()} - before
    assert len(started) == 2
    assert isinstance(found, Generator)
    found.close()
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_call_that_is_closed_from_another_thread_ends(child: Child) -> None:
    sleeper = Child("called_functions", Limits(seconds=60.0))
    sleeper.call("squares", as_it_is, count=1)
    threading.Timer(0.3, sleeper.close).start()
    started = time.monotonic()
    assert refusal(sleeper, "sleep") == "crashed"
    assert time.monotonic() - started < 20.0


def test_a_reader_with_a_mistake_costs_its_own_call_only(child: Child) -> None:
    with pytest.raises(ZeroDivisionError):
        child.call("squares", lambda answer: 1 // 0, count=1)
    with pytest.raises(TypeError, match="JSON"):
        child.call("squares", as_it_is, count={1})
    assert len(child.call("squares", as_it_is, count=3)[1][0]) == 3
