"""Ingest killed again and again at seeded moments: the corpus of an unbroken run, and no process left behind."""

from __future__ import annotations

import contextlib
import hashlib
import signal
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
KILLS = 6
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whenever_the_parent_is_killed_the_same_command_ends_with_the_bytes_of_an_unbroken_run(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(24):
        makers.make_video(videos / f"{number}.mp4")
    ingest([videos], tmp_path / "unbroken", OPTIONS, embedder=makers.DoubleEmbedder())
    code = CODE.format(folder=str(Path(__file__).parent), videos=str(videos), out=str(out))
    rng, killed = numpy_rng(0, "test.kills"), 0
    for _ in range(KILLS):
        started = time.time()
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        children: list[psutil.Process] = []
        while process.poll() is None and not is_writing(out, started):
            time.sleep(0.02)
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0.0, 0.7)))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not any(child.is_running() for child in children)
    assert killed == KILLS
    assert not (out / "index.json").exists()
    ingest([videos], out, OPTIONS, embedder=makers.DoubleEmbedder())
    assert digests(out) == digests(tmp_path / "unbroken")
