"""Everything that a GPU does here, in at most eight minutes: a table, and exit status 0 if every bound was kept.

    scripts/gpu_check [--small] [--device auto] [--json FILE]

In turn: videos are rendered and ingested; the bundled pipeline makes sounds in float32 and in bfloat16 with few steps;
`evaluate` judges it; a run is killed, continued and held against an unbroken one; each lesson takes steps; `base`
(with --small: a toy) takes 50 in float32, in bfloat16 and compiled; its memory, records per second and MFU at a batch
that the GPU has room for are measured. Rows without a bound are for reading. What fails does not keep the rest from
being tried; what has no time left counts as failed. --small runs the same code at toy size, on a CPU in about two
minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / place) for place in ("scripts", "tests", "tests/train")]

LONGEST_S = 480
NUM_VIDEOS, NUM_GOOD, NUM_STEPS = 20, 19, 50
"""Of the videos one is shorter than a record may be."""
ROUNDED_LOSS, COMPILED_LOSS, LESSON_LOSS = 0.02, 0.01, 0.02
"""Largest relative differences of losses to float32's: over 50 steps in bfloat16 and compiled, of a lesson's first."""
ROUNDED_MEL = 0.25
"""Largest mean difference of log-mels, in nepers, of sounds made in bfloat16 to those in float32: 2 dB."""
RESUMED = 1e-3
"""Largest difference of weights after a kill: on a CPU it is 0, a GPU adds in no fixed order."""
MEMORY = 0.25
NAMED_RIGHTLY = 0.5
"""Least share of sounds that the judge names rightly; chance is 0.04, the bundled pipeline's own above 0.9."""


class Row(NamedTuple):
    """One line of the table; `passed` is None where there is no bound."""

    what: str
    found: str
    bound: str = ""
    passed: bool | None = None


Rows = Iterator[Row]


@dataclass
class Bench:
    """What checks share.

    Args:
        device: as `--device` takes it.
        small: toy sizes.
        folder: for whatever they write.
    """

    device: str
    small: bool
    folder: Path

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"


def ingested(bench: Bench) -> Rows:
    """Rendered videos become a corpus."""
    command("soundstage", "--out", bench.videos, "--num-videos", NUM_VIDEOS, "--split", "heldout", "--seed", 1818)
    began_s = time.perf_counter()
    told = command("ingest", bench.videos, "--out", bench.corpus, "--device", bench.device)
    per_s = told["listed"] / (time.perf_counter() - began_s)
    reasons = "".join(f", {count} {reason}" for reason, count in told["reasons"].items())
    found = f"{told['ingested']} in{reasons}, {told['records']} records, {per_s:.1f} videos/s with loading"
    whole = told["listed"] == NUM_VIDEOS and told["ingested"] >= NUM_GOOD
    yield bounded(f"ingest of {NUM_VIDEOS} videos", found, f"{NUM_GOOD} in", whole)


def generated(bench: Bench) -> Rows:
    """The bundled pipeline, float32 and bfloat16, many steps and few."""
    import numpy as np
    import torch

    from clipsonic.options import device_of
    from clipsonic.pipeline import ClipSonicPipeline

    pipeline = ClipSonicPipeline.from_pretrained("tiny").to(device_of(bench.device))
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    pipeline.load_parts("text")
    embeds = pipeline.clip.embed_texts(["a dog barking", "rain falling", "a bell ringing", "an engine running"])
    mels = {}
    for dtype in (torch.float32, torch.bfloat16):
        pipeline.to(dtype)
        for few in (None, 4):
            pipeline.set_few_steps(few)
            pipeline(embeds=embeds, seed=0)  # what is made first pays for what is made once
            began_s = time.perf_counter()
            made = pipeline(embeds=embeds, seed=0)
            each_s = (time.perf_counter() - began_s) / len(embeds)
            mels[dtype, few] = made.mels
            name = f"pipeline, {str(dtype).removeprefix('torch.')}, {'few steps' if few else 'its own steps'}"
            whole = bool(np.isfinite(made.audios).all()) and float(np.abs(made.audios).max()) > 1e-3
            yield bounded(name, f"{each_s:.3f} s a sound", "finite, not silent", whole)
    for few in (None, 4):
        apart = float(np.abs(mels[torch.bfloat16, few] - mels[torch.float32, few]).mean())
        what = f"bfloat16 against float32, {'few steps' if few else 'its own steps'}"
        yield at_most(what, apart, ROUNDED_MEL, "{:.3f} nepers of log-mel")
    made = pipeline(text="a dog barking", seed=0)
    yield bounded("a text through the prior, bfloat16", f"{made.audios.shape[1]} samples", "finite",
                  bool(np.isfinite(made.audios).all()))  # fmt: skip


def evaluated(bench: Bench) -> Rows:
    """The judge hears what the bundled pipeline makes of the ingested pictures."""
    out = bench.folder / "report"
    words = ["--prompts", "image", "--few-steps", 4, "--no-laws", "--num-players", 0, "--device", bench.device]
    told = command("evaluate", "--model", "tiny", "--corpus", bench.corpus, "--out", out, *words)
    (made,) = [row["figures"] for row in told["rows"] if row["name"] == "image"]
    share = made["accuracy"]["value"]
    found = f"{share:.0%} of {made['num_sounds']} named rightly, {made['seconds_per_sound']:.3f} s a sound"
    yield bounded("evaluate, pictures, few steps", found, f"at least {NAMED_RIGHTLY:.0%}", share >= NAMED_RIGHTLY)


def resumed(bench: Bench) -> Rows:
    """A run of the command that gets SIGKILL and is given again ends where an unbroken one ends."""
    import torch

    steps = 16 if bench.small else 60
    size = ["--config", "smoke"] if bench.small else []
    often = [f"--run.{name}" for name in ("val_every=0", "preview_every=0", f"ckpt_every={steps // 4}", "log_every=2")]
    run = ["train", "--config", "tiny", *size, *often, "--data.val_share", "0", "--corpus", str(bench.corpus),
           "--max-steps", str(steps), "--device", bench.device, "--json"]  # fmt: skip
    told = command(*run, "--out", bench.folder / "whole")
    broken = [*run, "--out", str(bench.folder / "broken")]
    killed_at = killed_after([sys.executable, "-m", "clipsonic.cli", *broken], bench.folder / "broken", steps // 2)
    command(*broken)
    one, two = (
        torch.load(bench.folder / name / "checkpoints" / f"step-{steps:08d}.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    apart = max(float((one[name].double() - two[name].double()).abs().max()) for name in one)
    yield at_most(f"killed at step {killed_at} of {steps} and continued", apart, RESUMED, "weights {:.1e} apart")
    waited = f"{told['samples_per_s']:.0f} records/s, {told['data_wait_share']:.1%} of it waiting for data"
    yield Row("a short run of the command", waited)


def killed_after(words: list[str], out: Path, step: int) -> int:
    """Start a run and end it by SIGKILL once its log has this step; gives the last one logged."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None and last_step(out) < step:
                time.sleep(0.01)
        finally:
            process.kill()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run ended by itself with status {process.returncode}")
    return last_step(out)


def last_step(out: Path) -> int:
    history = out / "logs" / "history.jsonl"
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def taught(bench: Bench) -> Rows:
    """Every lesson's steps on toy data: its first loss rounded and not, then a few whole steps."""
    import torch
    from lessons_at_work import LESSONS, awake, course_of

    from clipsonic.options import device_of
    from clipsonic.train.engine.steps import BareSteps, rows

    device = device_of(bench.device)
    for name, words_of in LESSONS.items():
        folder = bench.folder / "lessons" / name
        folder.mkdir(parents=True)
        with quiet():
            config, course = course_of(words_of(folder))
        course.lesson.begin(device)
        awake(course)
        batch = next(iter(course.stream))
        batch = rows(batch, len(batch["keys"]), device)
        module = placed(config, course, device)
        with torch.no_grad():
            plain, rounded = (float(BareSteps(module, rounded=how).loss(batch)) for how in (False, True))
        steps = BareSteps(module, rounded=True)
        for _ in range(3):
            steps.step(batch)
        after = float(steps.loss(batch))
        apart = abs(rounded / plain - 1.0) if math.isfinite(after) else math.inf
        yield at_most(f"lesson {name}, three steps", apart, LESSON_LOSS, f"loss {plain:.4f}, rounded {{:.2%}} off")


def stepped(bench: Bench) -> Rows:
    """Fifty steps of a denoiser in float32, in bfloat16 and compiled see the same losses."""
    losses = {how: fifty_losses(bench, how) for how in ("float32", "bfloat16", "compiled")}
    plain = losses["float32"]
    yield Row(f"{NUM_STEPS} steps in float32", f"loss {plain[0]:.4f} to {plain[-1]:.4f}")
    for how, largest in (("bfloat16", ROUNDED_LOSS), ("compiled", COMPILED_LOSS)):
        yield at_most(f"{NUM_STEPS} steps, {how} against float32", apart_by(losses[how], plain), largest, "{:.3%} off")


def fifty_losses(bench: Bench, how: str) -> list[float]:
    """The means of the losses of ten steps each; one seed and the same batches every time."""
    from clipsonic.options import device_of
    from clipsonic.train.engine.steps import BareSteps, rows

    device, size = device_of(bench.device), 4 if bench.small else 8
    config, course = denoiser_course(bench)
    module = placed(config, course, device)
    if how == "compiled":
        module.lesson.learner.compile()
    steps = BareSteps(module, rounded=how == "bfloat16")
    stream, found = iter(course.stream), []
    for _ in range(NUM_STEPS):
        batch = rows(next(stream), size, device)
        found.append(steps.step(batch))
    return [float(sum(found[at : at + 10])) / 10 for at in range(0, NUM_STEPS, 10)]


def apart_by(some: Sequence[float], others: Sequence[float]) -> float:
    """The largest relative difference; infinite where a number is none."""
    pairs = list(zip(some, others, strict=True))
    return max(abs(one / other - 1.0) for one, other in pairs) if all(map(math.isfinite, some)) else math.inf


def measured(bench: Bench) -> Rows:
    """What the dry run says of memory against what is used, and the speed of a step."""
    import torch

    from clipsonic.options import device_of
    from clipsonic.train.engine.dry_run import dry_run
    from clipsonic.train.engine.pace import peak_flops
    from clipsonic.train.engine.steps import BareSteps, rows

    device, size = device_of(bench.device), 4 if bench.small else 32
    config, course = denoiser_course(bench, size)
    told = dry_run(config, lambda _: denoiser_course(bench, size)[1])
    said = told["memory_bytes"]["sum"]
    yield Row("dry run", f"{said / 2**30:.2f} GiB, {told['step_s']:.3f} s a step of {size}")
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    module = placed(config, course, device)
    rounded = device.type == "cuda"
    steps, batch = BareSteps(module, rounded), rows(next(iter(course.stream)), size, device)
    for _ in range(3):
        steps.step(batch)
    step_s = steps.seconds(batch, 2 if bench.small else 10)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        off = abs(said / peak - 1.0)
        yield at_most("memory", off, MEMORY, f"{peak / 2**30:.2f} GiB at the peak, the dry run {{:.0%}} off")
    else:
        yield Row("memory", "not measured on a CPU")
    flops = course.lesson.flops_per_item() * size / step_s
    peak_f = peak_flops(device, torch.bfloat16 if rounded else torch.float32)
    yield Row("speed", f"{size / step_s:.1f} records/s, MFU {flops / peak_f:.1%} of {peak_f / 1e12:.3g} TFLOP/s")


def denoiser_course(bench: Bench, batch_size: int = 8) -> tuple[Any, Any]:
    """`base` on a corpus of noise, or a toy on the videos."""
    from bench_train import noise_corpus

    from clipsonic.train.command import load_config
    from clipsonic.train.config import Sources
    from clipsonic.train.run import maker

    config = load_config("tiny", "smoke") if bench.small else load_config("base")
    optim = dataclasses.replace(config.optim, batch_size=batch_size, warmup_steps=5)
    run = dataclasses.replace(config.run, device=bench.device)
    data = dataclasses.replace(config.data, num_workers=0)
    config = dataclasses.replace(config, optim=optim, run=run, data=data)
    corpus = bench.corpus if bench.small else bench.folder / "noise"
    if not bench.small and not corpus.exists():
        noise_corpus(corpus, config)
    return config, maker(config, Sources(corpora=(str(corpus),)), None)(None)


def placed(config: Any, course: Any, device: Any) -> Any:
    """The course's lesson in training, on its device."""
    from clipsonic.train.engine.clock import Clock
    from clipsonic.train.engine.module import LessonModule

    module = LessonModule(config, course.lesson, Clock(config.run)).to(device)
    module.average.place(device, None)
    if course.lesson.adversary is not None:
        course.lesson.adversary.place(device)
    return module


def command(*words: Any) -> dict[str, Any]:
    """What `clipsonic WORDS --json` answers, in this process.

    Raises:
        RuntimeError: it did not end with status 0.
    """
    import io

    from clipsonic.cli import main

    said = io.StringIO()
    with redirect_stdout(said):
        status = main([*map(str, words), *([] if "--json" in words else ["--json"])])
    if status:
        raise RuntimeError(f"clipsonic {words[0]} ended with status {status}")
    answer: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    return answer


@contextmanager
def quiet() -> Iterator[None]:
    """What commands print is no part of the table."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


CHECKS: tuple[Callable[[Bench], Rows], ...] = (ingested, generated, evaluated, resumed, taught, stepped, measured)


def bounded(what: str, found: str, bound: str, passed: bool) -> Row:
    return Row(what, found, bound, passed)


def at_most(what: str, value: float, largest: float, words: str) -> Row:
    """A row for a number that has an upper bound; a number that is none has not kept it."""
    return Row(what, words.format(value), f"at most {words_of_bound(words, largest)}", value <= largest)


def words_of_bound(words: str, largest: float) -> str:
    place = words[words.index("{") : words.index("}") + 1]
    return place.format(largest)


def rows_of(checks: Sequence[Callable[[Bench], Rows]], bench: Bench, left_s: Callable[[], float]) -> Iterator[Row]:
    """The rows of all checks; one that raises has a failed row with its sentence, one without time left too."""
    for check in checks:
        if left_s() <= 0:
            yield Row(check.__name__, "no time was left", "is run", False)
            continue
        try:
            with at_longest(left_s()):
                yield from check(bench)
        except Exception as error:  # whatever a machine has in store, the other checks are run
            first = (str(error) or type(error).__name__).splitlines()[0]
            yield Row(check.__name__, f"{type(error).__name__}: {first}", "no error", False)


@contextmanager
def at_longest(seconds: float) -> Iterator[None]:
    """Raise TimeoutError inside after so many seconds."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the eight minutes are over")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def table(rows: Sequence[Row]) -> str:
    """As Markdown, with one sentence below."""
    marks = {True: "ok", False: "FAILED", None: ""}
    lines = ["| what | found | bound | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.found.replace('|', '/')} | {row.bound} | {marks[row.passed]} |" for row in rows]
    return "\n".join([*lines, "", verdict(rows)])


def verdict(rows: Sequence[Row]) -> str:
    failed, kept = ([row.what for row in rows if row.passed is which] for which in (False, True))
    if failed:
        return f"{len(failed)} of {len(failed) + len(kept)} bounds were not kept: {', '.join(failed)}"
    return f"all {len(kept)} bounds were kept" if kept else "no bound was tried"


def status_of(rows: Sequence[Row]) -> int:
    """0 where bounds were kept, and there were any; 1 otherwise."""
    bounds = [row.passed for row in rows if row.passed is not None]
    return 0 if bounds and all(bounds) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="toy sizes, on whatever device there is")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    args = parser.parse_args(argv)
    from clipsonic.errors import UsageError
    from clipsonic.options import device_of

    try:
        device = device_of(args.device)
    except UsageError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    if device.type != "cuda" and not args.small:
        print("gpu_check: there is no GPU that torch can use: give --small to try its code on a CPU", file=sys.stderr)
        return 2
    began_s, found = time.monotonic(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as folder:
        bench = Bench(args.device, args.small, Path(folder))
        for row in rows_of(CHECKS, bench, lambda: LONGEST_S - (time.monotonic() - began_s)):
            found.append(row)
            print(f"{time.monotonic() - began_s:6.1f} s  {row.what}: {row.found}", file=sys.stderr, flush=True)
    print(f"{device}: {time.monotonic() - began_s:.0f} s\n\n{table(found)}")
    if args.json is not None:
        args.json.write_text(json.dumps([row._asdict() for row in found], indent=1) + "\n")
    return status_of(found)


if __name__ == "__main__":
    raise SystemExit(main())
