"""Ingest killed again and again at seeded moments: the corpus of an unbroken run, and no process left behind."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import makers_ingest as makers
import psutil
import pytest

from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.seeding import numpy_rng
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 2.0, 1.0), shard_files=1, workers=2)
KILLS = 20
CODE = """
import sys, time
sys.path.insert(0, {folder!r})
import makers_ingest as makers
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.specs import CorpusSpec
class Slow(makers.DoubleEmbedder):
    def embed_pictures(self, pictures, batch_size=64):
        time.sleep(0.3)
        return super().embed_pictures(pictures, batch_size)
options = IngestOptions(spec=CorpusSpec(16000, 2.0, 1.0), shard_files=1, workers=2)
ingest([{videos!r}], {out!r}, options, embedder=Slow())
"""


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_writing(out: Path, since: float) -> bool:
    """Whether a run that began then has written something; the killed ones before it have left theirs."""
    with contextlib.suppress(FileNotFoundError):  # a temporary file that has just been given its name
        return any(path.stat().st_mtime > since for path in [*out.glob(".shard-*"), *out.glob("ingest/unit-*")])
    return False


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children()
    return []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whenever_parent_or_workers_are_killed_the_corpus_has_the_bytes_of_an_unbroken_run(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(60):
        makers.make_video(videos / f"{number}.mp4")
    ingest([videos], tmp_path / "unbroken", OPTIONS, embedder=makers.DoubleEmbedder())
    code = CODE.format(folder=str(Path(__file__).parent), videos=str(videos), out=str(out))
    rng, killed, process = numpy_rng(0, "test.kills"), {"parent": 0, "worker": 0}, None
    while sum(killed.values()) < KILLS:
        if process is None:
            started = time.time()
            process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            while process.poll() is None and not is_writing(out, started):
                time.sleep(0.02)
        time.sleep(float(rng.uniform(0.0, 0.5)))
        assert process.poll() is None, "all videos were in before all kills were done"
        children = children_of(process)
        if rng.random() < 0.5:
            process.kill()
            process.wait()
            process = None
            psutil.wait_procs(children, timeout=10)
            assert not any(child.is_running() for child in children)
            killed["parent"] += 1
        elif children:
            children[int(rng.integers(len(children)))].kill()
            killed["worker"] += 1
    if process is not None:
        process.kill()
        process.wait()
    assert min(killed.values()) >= 5
    assert not (out / "index.json").exists()
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    assert digests(out) == digests(tmp_path / "unbroken")
