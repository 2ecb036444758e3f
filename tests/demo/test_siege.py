"""Many at once and much that is malformed: clear answers, flat memory, nothing left behind.

`CLIPSONIC_SIEGE=50,200` asks for the full numbers of requests and of malformed uploads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "siege_demo.py"
LIFE_S = 170.0


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_siege_is_answered_in_sentences_with_flat_memory_and_leaves_nothing(tmp_path: Path) -> None:
    for name in ("gradio", "fastapi", "uvicorn", "httpx"):
        pytest.importorskip(name, reason="needs the packages of the page: pip install clipsonic[demo]")
    num_requests, num_malformed = os.environ.get("CLIPSONIC_SIEGE", "20,60").split(",")
    words = [sys.executable, str(SCRIPT), "--requests", num_requests, "--malformed", num_malformed]
    with (tmp_path / "said.json").open("wb") as said, (tmp_path / "errors.txt").open("wb") as errors:
        siege = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=errors, start_new_session=True)
        try:
            siege.wait(timeout=LIFE_S)
        finally:
            if siege.poll() is None:
                siege.send_signal(signal.SIGINT)  # it ends its demo then
                try:
                    siege.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    siege.kill()
    said_words = (tmp_path / "said.json").read_text() or (tmp_path / "errors.txt").read_text()[-2000:]
    assert siege.returncode == 0, said_words
    report = json.loads(said_words)
    assert int(report["requests"]["200"]) >= 8
    assert sum(report["malformed"].values()) == int(num_malformed)
    assert report["malformed"].get("200", 0) <= 0.3 * int(num_malformed)  # a cut video may still show something
    at_first, _, at_last = report["memory_mb"]
    assert at_last - at_first < 200, report["memory_mb"]
