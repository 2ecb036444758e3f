"""How many files of the package a reader follows: those whose functions run on one journey, by a profiler.

    python scripts/journeys.py [sound|record|loss ...] [--video FILE]      about two minutes on one core

`sound`: `clipsonic generate` from a text to a wav by the bundled pipeline; `record`: `clipsonic ingest` of one video,
child processes included; `loss`: from the corpus to the end of one training step of `tiny`, without what is made
before. Bodies of modules and classes do not count. Then what is too long for a reader.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

PACKAGE = Path(__file__).resolve().parents[1] / "clipsonic"
SEEN = "CLIPSONIC_JOURNEY"
"""The folder in which each process of a journey leaves the files that it ran through."""
JOURNEYS = ("sound", "record", "loss")
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
COMMAND = "from clipsonic.cli import main; raise SystemExit(main())"
IMPORT = f"import sys; sys.path.append({str(Path(__file__).resolve().parent)!r}); import journeys; journeys."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journeys", nargs="*", choices=[[], *JOURNEYS], metavar="sound|record|loss")
    parser.add_argument("--video", type=Path, help="of the journey to a record (default: one is rendered)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="journeys-") as temporary:
        for name in args.journeys or JOURNEYS:
            files = followed(name, Path(temporary) / name, args.video)
            print(f"{name}: {len(files)} files", *(f"  {file}" for file in files), sep="\n")
    print(f"files above {MOST_LINES} lines:", ", ".join(long_files()) or "none")
    print(f"functions above {MOST_FUNCTION_LINES} lines:", ", ".join(long_functions()) or "none")


def followed(journey: str, work: Path, video: Path | None = None) -> list[str]:
    """The files of a journey, by their places in the package.

    Args:
        work: a folder that is not there yet.
        video: for `record`.
    """
    (work / "start").mkdir(parents=True)
    (work / "start" / "sitecustomize.py").write_text(f"{IMPORT}watch()")  # Python runs it when it starts
    watched = {"PYTHONPATH": f"{work / 'start'}{os.pathsep}{PACKAGE.parent}", SEEN: str(work)}
    if journey == "sound":
        run(COMMAND, "generate", "--text", "a small glass bell ringing", "--out", work / "x.wav", **watched)
    elif journey == "record":
        run(COMMAND, "ingest", video or rendered(work / "videos", 1), "--out", work / "corpus", **watched)
    else:
        run(COMMAND, "ingest", rendered(work / "videos", 16), "--out", work / "corpus", "--min-seconds", "4.096")
        run(f"{IMPORT}step(sys.argv[1])", work / "corpus", **{SEEN: str(work)})
    return sorted({line for path in work.glob("*.txt") for line in path.read_text().splitlines()})


def rendered(folder: Path, count: int) -> Path:
    run(COMMAND, "soundstage", "--out", folder, "--num-videos", count, "--seed", 1)
    return folder


def run(code: str, *words: object, **environment: str) -> None:
    """Python code in a process of its own, which finds this package."""
    told = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment}
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], env=told, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} failed: {done.stderr.strip()[-500:]}")


def step(corpus: str) -> None:
    """One training step of `tiny`, watched."""
    from clipsonic.train.command import load_config
    from clipsonic.train.engine.clock import Clock
    from clipsonic.train.engine.module import LessonModule
    from clipsonic.train.engine.steps import BareSteps
    from clipsonic.train.run import maker

    config = load_config("tiny")
    course = maker(config, corpus, None)(None)
    steps = BareSteps(LessonModule(config, course.lesson, Clock(config.run)))
    watch()
    steps.step(next(iter(course.stream)))


def watch() -> None:
    """From now on write down every file of the package in which a function runs, in any thread of this process."""
    place = Path(os.environ[SEEN]) / f"{os.getpid()}.txt"
    found: set[str] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event != "call" or name in found or not name.startswith(str(PACKAGE) + os.sep):
            return
        code = frame.f_code
        if code.co_flags & inspect.CO_OPTIMIZED and not code.co_qualname.startswith("<"):  # a body, or a loop in one
            found.add(name)
            with place.open("a") as file:  # a process may be killed: nothing is left for its end
                file.write(f"{Path(name).relative_to(PACKAGE)}\n")

    threading.setprofile(called)
    sys.setprofile(called)


def long_files() -> list[str]:
    counted = {path: len(path.read_text().splitlines()) for path in sorted(PACKAGE.rglob("*.py"))}
    return [f"{path.relative_to(PACKAGE)} ({lines})" for path, lines in counted.items() if lines > MOST_LINES]


def long_functions() -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)}: {node.name} ({lines})"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_FUNCTION_LINES
    ]


if __name__ == "__main__":
    main()
