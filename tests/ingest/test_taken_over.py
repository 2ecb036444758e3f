"""A file that has taken its decoder over, and says what it likes to the parent: it costs itself, and nothing else.

Here a file of the suffix `.taken` is Python that runs in the decoding process in place of the decoder, with the
process's own socket in its hands.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import makers_ingest as makers
import pytest

from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.executors import UnitTask
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.plan import FolderDestination, Unit
from clipsonic.ingest.ray_executor import _build_here
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.segments import Fit, ReadSettings
from clipsonic.refusals import RefusedError
from clipsonic.shards.writer import read_shard
from clipsonic.specs import CorpusSpec
from clipsonic.workers import Child, Limits

pytestmark = pytest.mark.timeout(120)

SPEC = CorpusSpec(16000, 1.0, 1.0)
SETTINGS = ReadSettings(SPEC, stride_s=1.0, fit=Fit(64, "shortest"))
ALLOWED_MB = 16
"""What the parent may hold beside an honest run: a message is at most 1 MB here, its head 6 as objects."""

TAKE_OVER = '''
import json, os, socket, stat, struct, sys, time

def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False

class Hijack:
    """What the code of a file has at hand."""
    def __init__(self, path):
        self.path = path
        self.pipe = socket.socket(fileno=os.dup(next(number for number in range(3, 256) if is_socket(number))))
    def raw(self, data):
        try:
            self.pipe.sendall(data)
        except OSError:
            os._exit(0)
    def frame(self, data):
        self.raw(struct.pack("!I", len(data)) + data)
    def head(self, head, arrays=(), data=b""):
        self.frame(json.dumps([head, arrays]).encode())
        self.raw(data)
    def run(self):
        exec(open(self.path).read(), {"me": self, "os": os, "time": time, "struct": struct, "sys": sys})

from clipsonic.ingest import segments
honest = segments.read_segments

def read_segments(job, settings):
    if job.path.endswith(".taken"):
        Hijack(job.path).run()
    for segment in honest(job, settings):
        if job.path.endswith(".forged"):
            exec(open(job.path + ".code").read(), {"segment": segment})
        yield segment

segments.read_segments = read_segments
'''


class Spy:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.fixture
def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes that are started from now on obey files."""
    folder = tmp_path / "take_over"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TAKE_OVER)
    paths = [str(folder), str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.make_video(tmp_path_factory.mktemp("good") / "good.mp4", seconds=2.2)


def job_of(path: Path) -> Job:
    return Job(str(path), path.name, "0" * 16, path.stem.replace(".", ""))


def fates(paths: list[Path], timeout_s: float = 60.0) -> list[tuple[Any, ...]]:
    """How each ended."""
    ends: list[tuple[Any, ...]] = [()] * len(paths)
    with WorkerPool(1, timeout_s=timeout_s) as pool:
        for number, event in pool.run([job_of(path) for path in paths], SETTINGS):
            ends[number] = event
    return ends


def files_of(folder: Path, codes: dict[str, str]) -> list[Path]:
    paths = [folder / f"{name}.taken" for name in codes]
    for path, code in zip(paths, codes.values(), strict=True):
        path.write_text(code)
    return paths


@pytest.mark.usefixtures("taken_over")
def test_a_pickle_in_place_of_a_message_runs_nothing(tmp_path: Path, good: Path) -> None:
    spied = tmp_path / "spied"
    pickles = [pickle.dumps(("segment", Spy(spied)), protocol) for protocol in (0, 2, 5)]
    codes = {f"pickle{number}": f"me.frame({data!r})\ntime.sleep(60)" for number, data in enumerate(pickles)}
    *ends, last = fates([*files_of(tmp_path, codes), good])
    assert not spied.exists()
    assert {end[:2] for end in ends} == {("refused", "crashed")}
    assert last[0] == "done"


ENDLESS = "while True:\n    "
MALFORMED = {
    "noise": "me.raw(bytes(range(256)) * 4000)",
    "length": "me.raw(b'\\x7f\\xff\\xff\\xff' + bytes(2**25))",
    "nest": "me.frame(b'[' * 200000)",
    "objects": "me.frame(b'[{' + b'\"a\":[{}],' * 20000 + b'\"b\":[' + b'{},' * 20000 + b'{}]},[]]')",
    "vast": "me.head({'kind': 'segment'}, [['uint8', [2**40, 3]]], bytes(2**25))",
    "many": "me.head({'kind': 'segment'}, [['uint8', [2**20]]] * 2000, bytes(2**25))",
    "flood": ENDLESS + "me.raw(struct.pack('!I', 60) + b' ' * 60)",
}


@pytest.mark.usefixtures("taken_over")
def test_no_sender_makes_the_parent_hold_more_than_its_limit(tmp_path: Path, good: Path) -> None:
    paths = [path for file in files_of(tmp_path, MALFORMED) for path in (file, good)]
    tracemalloc.start()
    try:
        ends = fates(paths)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {end[:2] for end in ends[::2]} == {("refused", "crashed")}, ends
    assert {end[0] for end in ends[1::2]} == {"done"}
    assert most < ALLOWED_MB * 2**20


@pytest.mark.usefixtures("taken_over")
def test_what_a_process_has_written_before_its_end_is_not_read_whole(tmp_path: Path, good: Path) -> None:
    code = "os.ftruncate(2, 2**30)\nos.lseek(2, 0, os.SEEK_END)\nos.write(2, b'\\nthe last words')\nos._exit(7)"
    tracemalloc.start()
    try:
        loud, quiet = fates([*files_of(tmp_path, {"loud": code}), good])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loud == ("refused", "crashed", "the decoder's process exit status 7 the last words")
    assert quiet[0] == "done"
    assert most < ALLOWED_MB * 2**20


SILENT = {
    "half": ("me.raw(struct.pack('!I', 1000) + b'[')\ntime.sleep(600)", "timeout"),
    "array": ("me.head({'kind': 'segment'}, [['uint8', [1000]]], bytes(10))\ntime.sleep(600)", "timeout"),
    "drip": (ENDLESS + "me.raw(b'\\0'); time.sleep(0.1)", "crashed"),
    "slow": ("me.raw(struct.pack('!I', 1000))\n" + ENDLESS + "me.raw(b' '); time.sleep(0.1)", "timeout"),
    "ready": (ENDLESS + "me.head({'kind': 'ready'}); time.sleep(0.1)", "crashed"),
    "deaf": ("os.close(me.pipe.fileno())\nos.closerange(3, 256)\ntime.sleep(600)", "crashed"),
}


@pytest.mark.usefixtures("taken_over")
@pytest.mark.parametrize("name", SILENT)
def test_a_sender_that_never_comes_to_an_end_is_ended(tmp_path: Path, good: Path, name: str) -> None:
    code, reason = SILENT[name]
    started = time.monotonic()
    hanging, last = fates([*files_of(tmp_path, {name: code}), good], timeout_s=3.0)
    assert hanging[:2] == ("refused", reason)
    assert last[0] == "done"
    assert time.monotonic() - started < 60.0


FORGED = {
    "key": "object.__setattr__(segment, 'key', '../../../outside-00000000')",
    "foreign": "object.__setattr__(segment, 'key', 'other-00000000')",
    "again": "object.__setattr__(segment, 'key', segment.key[:-8] + '00000000'); segment.facts['start_s'] = 0.0",
    "nan": "segment.facts['rms_db'] = float('nan')",
    "infinite": "segment.facts['rms_db'] = 1e999",
    "surrogate": "segment.facts['codec'] = '\\udc80'",
    "hash": "segment.facts['sound_hash'] = 'no number'",
    "source": "segment.facts['source'] = '/etc/passwd'",
    "rate": "segment.facts['sample_rate'] = 8000",
    "times": "segment.facts['frame_times_s'] = [0.0]",
    "none": "del segment.facts['seconds']",
    "sound": "object.__setattr__(segment, 'sound', segment.sound.astype('float64'))",
    "picture": "segment.pictures[0] = segment.pictures[0][..., 0]",
    "file": "object.__setattr__(segment, 'thumbnail', b'<script>')",
}


@pytest.mark.slow
@pytest.mark.usefixtures("taken_over")
def test_a_forged_segment_costs_its_file_and_the_corpus_is_that_of_the_good_ones(tmp_path: Path, good: Path) -> None:
    """Of 14 kinds; 30 s, for each has its process replaced."""
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for name, code in FORGED.items():
        (folder / f"{name}.mp4").write_bytes(good.read_bytes())
        (folder / f"{name}.mp4").rename(folder / f"{name}.forged")
        (folder / f"{name}.forged.code").write_text(code)
    (folder / "good.mp4").write_bytes(good.read_bytes())
    manifest = folder / "all.txt"
    manifest.write_text("".join(f"{name}.forged\n" for name in FORGED) + "good.mp4\n")
    options = IngestOptions(spec=SPEC, workers=2)
    result = ingest([manifest], out, options, embedder=makers.DoubleEmbedder())
    records = {outcome.source.rpartition("/")[2]: outcome.records for outcome in result.outcomes}
    assert records.pop("good.mp4") == 2
    assert records.pop("again.forged") == 1, "the first of its segments is as it was"
    assert set(records.values()) == {0}
    assert result.reasons == {"crashed": 11, "decode_error": 2}, "JSON of NaN is refused by its sender"
    keys = [record.key for shard in result.index.shards for record in read_shard(out / shard["name"])]
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.usefixtures("taken_over")
def test_a_task_of_ray_takes_from_its_decoder_what_every_parent_takes(tmp_path: Path, good: Path) -> None:
    spied = tmp_path / "spied"
    taken = tmp_path / "pickle.taken"
    taken.write_text(f"me.frame({pickle.dumps(('segment', Spy(spied)))!r})\ntime.sleep(60)")
    task = UnitTask(FolderDestination(tmp_path / "out"), SETTINGS, 10, 60.0, 1024)
    unit = Unit(0, (job_of(taken), job_of(good)))
    result = _build_here(unit, task, makers.DoubleEmbedder())
    assert [outcome.get("reason") for outcome in result["outcomes"]] == ["crashed", None]
    assert not spied.exists()
    json.dumps(result, allow_nan=False)  # what Ray carries to the driver is plain values


CALLED = """
import os, socket, stat, struct, time

def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False

def say(words):
    number = next(number for number in range(3, 256) if is_socket(number))
    socket.socket(fileno=number).sendall(bytes.fromhex(words))
    time.sleep(60)

def honest(): return {"is": "well"}, []
"""


def hexed(head: Any, data: bytes = b"") -> str:
    told = head if isinstance(head, bytes) else json.dumps(head).encode()
    return (struct.pack("!I", len(told)) + told + data).hex()


def test_a_child_that_was_taken_over_is_refused_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "called_taken.py").write_text(CALLED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    spied = tmp_path / "spied"
    words = [
        hexed(pickle.dumps(Spy(spied))),
        hexed([{"facts": 1}, []]),
        hexed([{"facts": {}}, [["uint8", [2**40]]]]),
        hexed([{"facts": {}}, [["object", [1]]]], bytes(8)),
        hexed([{"kind": "refused", "reason": "because", "detail": ""}, []]),
    ]
    child = Child("called_taken", Limits(seconds=30.0, answer_mb=1))
    try:
        for said in words:
            with pytest.raises(RefusedError) as caught:
                child.call("say", lambda answer: answer, words=said)
            assert caught.value.reason == "crashed"
        assert child.call("honest", lambda answer: answer) == ({"is": "well"}, [])
    finally:
        child.close()
    assert not spied.exists()
