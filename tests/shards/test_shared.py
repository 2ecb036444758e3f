"""Arrays kept once for a machine: the same in all processes, within one limit, nothing left of whoever is killed."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.shards import shared
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.shared import SharedArrays
from clipsonic.specs import SegmentSpec

MakeCorpus = Callable[..., Path]
ARRAYS = (np.arange(7, dtype=np.int16), np.eye(3, dtype=np.float16), np.array([0.5, 1.5, 2.5], np.float32))


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the machine's shared memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(shared, "MEMORY", folder)
    return folder


def files(memory: Path) -> list[Path]:
    return [path for path in memory.rglob("*") if path.is_file()]


def another(memory: Path, code: str) -> subprocess.Popen[str]:
    """A process that runs code and says a line."""
    begin = f"from pathlib import Path\nimport os, sys, time\nimport numpy as np\nfrom clipsonic.shards import shared\nshared.MEMORY = Path({str(memory)!r})\n"  # noqa: E501
    command = [sys.executable, "-c", begin + textwrap.dedent(code)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_is_kept_is_read_as_it_was_by_everyone_and_written_by_nobody() -> None:
    first, second, other = SharedArrays("a", 1), SharedArrays("a", 1), SharedArrays("b", 1)
    first.keep("0/x", ARRAYS)
    second.keep("0/y", ARRAYS[::-1])
    second.keep("0/x", ARRAYS[::-1])  # somebody was first
    for one in (first, second):
        for name, expected in (("0/x", ARRAYS), ("0/y", ARRAYS[::-1])):
            got = one.get(name)
            assert got is not None
            assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
            assert not any(array.flags.writeable for array in got)
    assert first.get("0/z") is None is other.get("0/x")


def test_all_together_keep_no_more_than_the_limit(memory: Path) -> None:
    sound = np.zeros(100_000, np.int16)
    ones = [SharedArrays("a", 1) for _ in range(3)]
    for number in range(9):
        ones[number % 3].keep(str(number), [sound])
    assert [number for number in range(9) if ones[0].get(str(number)) is not None] == [0, 1, 2, 3, 4]  # 200 KB each
    assert any(one.is_full for one in ones)
    assert [file.stat().st_size for file in files(memory)] == [2**20]
    assert SharedArrays("a", 0).is_full


def mapped_kib(memory: Path) -> tuple[int, int]:
    """Of what this process has mapped below a folder: what is there, and this process's share of that, in KiB."""
    found, inside = {"Rss": 0, "Pss": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found and inside:
            found[name] += int(rest.split()[0])
        elif "-" in name.split()[0]:  # a mapping begins
            inside = str(memory) in line
    return found["Rss"], found["Pss"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_memory_of_several_processes_is_that_of_one(memory: Path) -> None:
    kept_kib, one = 800, SharedArrays("a", 1)
    one.keep("x", [np.arange(kept_kib * 256, dtype=np.int32)])
    code = f"""
        got = shared.SharedArrays("a", 1).get("x")
        print(got[0].sum(), flush=True)
        sys.stdin.readline()
        print(*mapped_kib(Path({str(memory)!r})), flush=True)
        sys.stdin.readline()
    """
    children = [another(memory, inspect.getsource(mapped_kib) + textwrap.dedent(code)) for _ in range(2)]
    got = one.get("x")
    assert got is not None
    sums = {int(got[0].sum(dtype=np.int64)), *(int(child.stdout.readline()) for child in children if child.stdout)}
    assert len(sums) == 1
    told = [mapped_kib(memory)]
    for child in children:
        assert child.stdin is not None
        assert child.stdout is not None
        print(file=child.stdin, flush=True)
        resident, share = child.stdout.readline().split()
        told.append((int(resident), int(share)))
    for child in children:
        child.communicate("\n")
    assert all(resident >= kept_kib for resident, _ in told), "each has it all"
    assert kept_kib <= sum(share for _, share in told) <= 1.05 * kept_kib, "and it is there once"


def test_the_last_user_removes_the_file_and_what_it_gave_stays_readable(memory: Path) -> None:
    first, second = SharedArrays("a", 1), SharedArrays("a", 1)
    first.keep("x", ARRAYS)
    del first
    gc.collect()
    assert len(files(memory)) == 1
    got = second.get("x")
    del second
    gc.collect()
    assert files(memory) == []
    assert got is not None
    assert np.array_equal(got[0], ARRAYS[0])


def test_a_process_that_is_killed_leaves_what_it_kept_to_the_others_and_nothing_to_the_next(memory: Path) -> None:
    mine = SharedArrays("a", 1)
    child = another(memory, """
        one, own = shared.SharedArrays("a", 1), shared.SharedArrays("of it alone", 1)
        one.keep("x", [np.arange(7, dtype=np.int16)])
        one._append = lambda entry: (os.pwrite(one._file, b"\\xff" * 400, one._end()), print("kept", flush=True), time.sleep(60))
        one.keep("y", [np.zeros(70, np.int16)])
    """)  # fmt: skip  # noqa: E501
    assert child.stdout is not None
    assert child.stdout.readline() == "kept\n"  # half of the second, with the lock in its hands
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(files(memory)) == 2
    got = mine.get("x")
    assert got is not None
    assert np.array_equal(got[0], ARRAYS[0])
    mine.keep("y", ARRAYS)
    assert mine.get("y") is not None
    SharedArrays("b", 1)  # whoever comes next clears away
    gc.collect()
    assert len(files(memory)) == 1


def test_without_room_nothing_more_is_kept_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = SharedArrays("a", 1)
    one.keep("x", ARRAYS)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    for name in "yz":
        one.keep(name, ARRAYS)
        assert one.get(name) is None
    assert one.get("x") is not None
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_folder_that_others_may_write_to_is_not_used(memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (memory / f"clipsonic-{os.getuid()}").mkdir(mode=0o700)
    (memory / f"clipsonic-{os.getuid()}").chmod(0o777)
    one = SharedArrays("a", 1)
    one.keep("x", ARRAYS)
    assert one.get("x") is None
    assert "not a folder of this user alone" in capsys.readouterr().err


def test_processes_of_one_machine_decode_each_record_once(
    memory: Path, make_corpus: MakeCorpus, segment: SegmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_corpus("corpus", [f"k{number}" for number in range(8)])
    alone = list(islice(iter(SegmentLoader(folder, segment, 2, 0, "all", cache_mb=0)), 8))
    child = another(memory, f"""
        from clipsonic.shards.loader import SegmentLoader
        from clipsonic.specs import MelSpec, SegmentSpec
        spec = MelSpec(4000, n_fft=256, hop_length=64, num_mels=16, f_max_hz=2000.0)
        loader = SegmentLoader({str(folder)!r}, SegmentSpec(spec, 50, 8, "toy/1"), 2, 0, "all", cache_mb=1)
        list(loader.one_pass())
        print("read", flush=True)
        sys.stdin.readline()
    """)  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "read\n"
    loader = SegmentLoader(folder, segment, 2, 0, "all", cache_mb=1)
    for shard in folder.glob("*.tar"):
        shard.unlink()  # so nothing can be decoded again
    for batch, expected in zip(islice(iter(loader), 8), alone, strict=True):
        assert batch["keys"] == expected["keys"]
        assert torch.equal(batch["wave"], expected["wave"])
        assert torch.equal(batch["frames"], expected["frames"])
    child.communicate("\n")
    assert child.returncode == 0
