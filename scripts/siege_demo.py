"""Besiege a demo: many requests at once, then many malformed uploads; what it answered, and what it took, as JSON.

    python scripts/siege_demo.py --requests 50 --malformed 200

Starts `clipsonic demo` on a free port, and ends it with SIGTERM. Ends with status 1 if anything was answered by nothing
or by an error of the server's own, if a sound cannot be had afterwards, or if files are left behind. Every wait has a
limit. `memory_mb` is what the demo and its children hold, at the start, after the requests and after the uploads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil

START_S, ANSWER_S, END_S = 120.0, 60.0, 30.0
WISH = {"text": "a small glass bell ringing slowly"}


def main() -> int:
    """Besiege, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50, help="asked for at once")
    parser.add_argument("--malformed", type=int, default=200, help="uploads that are no media, or damaged")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, url = start(Path(folder))
        try:
            report = besiege(process, url, args.requests, args.malformed)
            process.send_signal(signal.SIGTERM)
            report["exit_status"] = process.wait(timeout=END_S)
            report["left_behind"] = [path.name for path in Path(folder).glob("clipsonic-demo-*")]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=END_S)
    print(json.dumps(report))
    return 0 if is_well(report) else 1


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A demo in a process group of its own, and where it is."""
    log = folder / "demo.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "clipsonic.cli", "demo", "--port", "0"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text(errors="replace")
        if " is at http://" in said:
            return process, said.partition(" is at ")[2].split()[0]
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    raise SystemExit(f"the demo has not started in {START_S:g} s: {log.read_text(errors='replace')[-1000:]}")


def besiege(process: subprocess.Popen[bytes], url: str, num_requests: int, num_malformed: int) -> dict[str, Any]:
    """The answers by status, the slowest of them, and the memory in between."""
    ask(url, {"json": WISH})
    memory_mb = [held_mb(process.pid)]
    started = time.monotonic()
    with ThreadPoolExecutor(num_requests) as threads:
        sounds = list(threads.map(lambda seed: ask(url, {"json": {**WISH, "seed": seed}}), range(num_requests)))
    memory_mb.append(held_mb(process.pid))
    uploads = list(malformed(num_malformed))
    with ThreadPoolExecutor(8) as threads:
        refused = list(threads.map(lambda upload: ask_patiently(url, upload), uploads))
    memory_mb.append(held_mb(process.pid))
    return {
        "requests": dict(Counter(status for status, _ in sounds)),
        "malformed": dict(Counter(status for status, _ in refused)),
        "slowest_s": round(max(seconds for _, seconds in [*sounds, *refused]), 2),
        "memory_mb": memory_mb,
        "seconds": round(time.monotonic() - started, 1),
        "afterwards": ask_patiently(url, {"json": WISH})[0],
    }


def ask(url: str, request: dict[str, Any]) -> tuple[str, float]:
    """The status, `nothing` if no answer came, `no sentence` if a refusal has none; and the seconds it took."""
    started = time.monotonic()
    try:
        reply = httpx.post(f"{url}/v1/sounds", timeout=ANSWER_S, **request)
        is_proper = reply.status_code == 200 or set(reply.json()) == {"error"}
        status = str(reply.status_code) if is_proper else "no sentence"
    except (httpx.HTTPError, ValueError) as error:
        status = f"nothing ({type(error).__name__})"
    return status, time.monotonic() - started


def ask_patiently(url: str, request: dict[str, Any]) -> tuple[str, float]:
    """As `ask`, again and again where there was no place."""
    deadline = time.monotonic() + ANSWER_S
    while (answer := ask(url, request))[0] == "429" and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def malformed(count: int) -> list[dict[str, Any]]:
    """Requests of eight kinds, no two alike."""
    rng = random.Random(0)
    video, picture = tiny_video(), png(64, 64)
    makers = [
        lambda: {"files": {"video": ("cut.mp4", video[: rng.randrange(1, len(video))])}},
        lambda: {"files": {"video": ("flipped.mp4", flipped(video, rng))}},
        lambda: {"files": {"video": ("noise.mp4", rng.randbytes(rng.randrange(1, 50_000)))}},
        lambda: {"files": {"image": ("cut.png", picture[: rng.randrange(1, len(picture) - 20)])}},
        lambda: {"files": {"image": ("bomb.png", png(30_000, 30_000 + rng.randrange(9), is_whole=False))}},
        lambda: {"files": {"image": ("noise.jpg", b"\xff\xd8\xff" + rng.randbytes(2000))}},
        lambda: {"files": {rng.choice(["sound", "file", ""]): ("a.bin", rng.randbytes(100))}},
        lambda: {
            "content": b"--b\r\n" + rng.randbytes(300),
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
    ]
    return [makers[index % len(makers)]() for index in range(count)]


def tiny_video() -> bytes:
    """One second of moving picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for index in range(10):
                pixels = np.random.default_rng(index).integers(0, 256, (64, 96, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        return path.read_bytes()


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The same with a hundredth of its bytes replaced, its index among them."""
    changed = bytearray(data)
    for _ in range(max(1, len(changed) // 100)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[:-200]) + rng.randbytes(200)


def png(width: int, height: int, *, is_whole: bool = True) -> bytes:
    """A grey PNG; if it is not whole, only its header and a little of its picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = b"".join(b"\0" + os.urandom(width) for _ in range(height if is_whole else 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def held_mb(process: int) -> int:
    """Resident memory of a process and its children."""
    family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    total = 0
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total >> 20


def is_well(report: dict[str, Any]) -> bool:
    """Whether everything was answered properly, and nothing is left."""
    return (
        set(report["requests"]) <= {"200", "429"}
        and not [status for status in report["malformed"] if status not in ("200", "400", "413", "415", "422")]
        and report["afterwards"] == "200"
        and report["exit_status"] == 0
        and not report["left_behind"]
    )


if __name__ == "__main__":
    sys.exit(main())
