"""One real demo, in a process group of its own, for all tests of the page and the service.

It cannot outlive its tests: the group is killed at the end, and by `timeout` should the tests themselves be killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

START_S = 180.0  # 10 s of computing, on a machine that may have much else to do
LIFE_S = 900
PLACES = 8


@dataclass
class Demo:
    """A demo that answers at `url`; its temporary files are below `temporary`."""

    url: str
    process: subprocess.Popen[bytes]
    temporary: Path
    places: int = PLACES


def start_demo(folder: Path, *options: str) -> Demo:
    """Start `clipsonic demo` and wait until it says where it is; killed if it does not."""
    log = folder / "demo.log"
    guard = ["timeout", "-s", "KILL", str(LIFE_S)] if shutil.which("timeout") else []
    words = [*guard, sys.executable, "-m", "clipsonic.cli", "demo", "--port", "0", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        words_said = log.read_text(errors="replace")
        if " is at http://" in words_said:
            url = words_said.partition(" is at ")[2].split()[0]
            return Demo(url, process, folder)
        time.sleep(0.1)
    kill_group(process)
    raise AssertionError(f"the demo has not started in {START_S:g} s: {log.read_text(errors='replace')[-2000:]}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and all its children, whatever they do."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo of the bundled model."""
    for name in ("gradio", "fastapi", "uvicorn"):
        pytest.importorskip(name, reason="needs the packages of the page: pip install clipsonic[demo]")
    running = start_demo(tmp_path_factory.mktemp("demo"), "--max-upload-mb", "2", "--max-waiting", str(PLACES))
    try:
        yield running
    finally:
        kill_group(running.process)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bell.png and bell.wav (3 s, stereo, 44.1 kHz, 24 bits), of the soundstage; scene.mp4, 2.5 s without sound;
    broken.mp4, its first third."""
    folder = tmp_path_factory.mktemp("media")
    from clipsonic.soundstage.scene import draw_scene
    from clipsonic.soundstage.stills import draw_picture
    from clipsonic.soundstage.synth import synthesize

    Image.fromarray(np.asarray(draw_picture(3, 33, "heldout").pixels)).save(folder / "bell.png")
    left = synthesize(draw_scene(9, 0, split="heldout", kind="bell"), 44100)[: 3 * 44100]
    soundfile.write(folder / "bell.wav", np.stack([left, 0.5 * left], axis=1), 44100, "PCM_24")
    with av.open(str(folder / "scene.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(25):
            pixels = np.full((64, 96, 3), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    whole = (folder / "scene.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 3])
    return folder
