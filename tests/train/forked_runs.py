"""Runs `clipsonic train` again and again in forked processes, some of them killed: the imports are paid once.

    python forked_runs.py '[{"words": ["--config", ...], "ranks": 2, "kill_at": [7, 20]}]'

Each run has its processes started as torchrun starts them if there are several. At each step of `kill_at` all of them
get SIGKILL and the run is started again; `last` holds words and ranks of the last start where these are others.
Prints the exit statuses of the last start of each run.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import lightning.pytorch  # noqa: F401

import clipsonic.train.run  # noqa: F401
from clipsonic.cli import main

LONGEST_S = 240.0


def launched(rank: int, ranks: int, port: int) -> dict[str, str]:
    """The environment that torchrun gives a process."""
    if ranks == 1:
        return {}
    numbers = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    return {**where, **{name: str(number) for name, number in numbers.items()}}


def start(words: list[str], ranks: int) -> list[int]:
    """The process ids of a run's processes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os.environ.update(launched(rank, ranks, port))
            status = 99
            try:
                status = main(["train", *words])
            except SystemExit as stop:
                status = int(stop.code or 0)
            except Exception:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        children.append(child)
    return children


def last_step(out: Path) -> int:
    """The last step in the history."""
    path = out / "logs" / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
    return steps[-1] if steps else 0


def finish(children: list[int], out: Path, kill_at: int | None) -> list[int]:
    """Exit statuses; negative where killed."""
    statuses: dict[int, int] = {}
    began_s, killed = time.monotonic(), False
    while len(statuses) < len(children):
        for child in set(children) - statuses.keys():
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                statuses[child] = os.waitstatus_to_exitcode(status)
        late = time.monotonic() - began_s > LONGEST_S
        if not killed and (late or (kill_at is not None and last_step(out) >= kill_at)):
            killed = True
            for child in set(children) - statuses.keys():
                os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return [statuses[child] for child in children]


def run(job: dict) -> list[int]:
    """One run, started again after each kill."""
    words, ranks = job["words"], job.get("ranks", 1)
    out = Path(words[words.index("--out") + 1])
    for step in job.get("kill_at", []):
        finish(start(words, ranks), out, step)
    last = job.get("last", job)
    return finish(start(last["words"], last.get("ranks", 1)), out, None)


if __name__ == "__main__":
    print(json.dumps([run(job) for job in json.loads(sys.argv[1])]))
