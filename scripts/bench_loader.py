"""The training loader against a plain WebDataset pipeline of the same shards, or against what it was: speed and memory.

    python scripts/bench_loader.py --work FOLDER [--records 1200] [--rounds 3] [--corpus CORPUS]
    python scripts/bench_loader.py --work FOLDER --against COMMIT [--rounds 3] [--processes 8] [--frames 992]

The second form takes turns of a few seconds with a checkout of COMMIT, each side in a process of its own: segments per
second of both, and the median of the turns' ratios with its 95 % interval (bootstrap); then what so many processes of
each side take together, by their proportional set size, with a memory for records and without, beside as many that have
only imported what that takes (torch alone is some 290 MiB in each, which nothing shares).

In the first both decode the same members (FLAC, frames, facts), crop 9.92 s of 10.24 s and hand out batches of 32. The
rows take turns, and each begins with the shards out of the system's cache (where the system lets them go), but for the
rows with memory, which are of the second epoch. A segment per CPU second is what other work on the machine does not
change much; segments per second are of this machine at this hour. Without --corpus one is made: tones and noise, 200 KB
a record.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import torch
import webdataset

from clipsonic.shards.crops import pad_frames
from clipsonic.shards.loader import SegmentLoader
from clipsonic.shards.record import Record
from clipsonic.shards.writer import CorpusIndex, write_facts, write_shard
from clipsonic.specs import CorpusSpec, MelSpec, SegmentSpec

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE, PER_SHARD, WIDTH = 32, 200, 768
CACHE_MB = 8192
WAYS = {"no memory": 0, "first epoch": CACHE_MB, "from memory": CACHE_MB}
KINDS = ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem")
SPEC = CorpusSpec(16000, 10.24, 2.56)


@dataclass
class Row:
    """One way to read an epoch, and what its rounds took."""

    name: str
    batches: Callable[[], Iterator[Any]]
    cold: bool = True
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    grown_mib: list[float] = field(default_factory=list)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the corpus is made here")
    parser.add_argument("--records", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", type=Path, help="a corpus of 10.24 s at 16 kHz instead")
    parser.add_argument("--frames", type=int, default=992, help="mel frames of a segment, 10 ms each")
    parser.add_argument("--against", help="a commit to take turns with")
    parser.add_argument("--processes", type=int, default=0, help="with --against: measure the memory of so many")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    corpus = args.corpus or make_corpus(args.work / f"corpus-{args.records}", args.records)
    index = CorpusIndex.load(corpus)
    segment = SegmentSpec(MelSpec(16000, hop_length=160), args.frames, index.width, index.fingerprint)
    if args.answer:
        return answer(corpus, segment)
    if args.against:
        words = ["--work", str(args.work), "--corpus", str(corpus.absolute()), "--frames", str(args.frames)]
        return print(against(args.against, words, args.rounds, args.processes))
    rows = rows_of(corpus, segment)
    for _ in range(args.rounds):
        for row in rows:
            measure(row, corpus)
    print(table(rows, index))


def answer(corpus: Path, segment: SegmentSpec) -> None:
    """One side: for each line of standard input (a way, its threads, how many batches) says what they took."""
    loaders: dict[tuple[str, int], tuple[SegmentLoader, Iterator[Any]]] = {}
    for line in sys.stdin:
        way, threads, num_batches = json.loads(line)
        if way == "imports":
            print(json.dumps(pss_mib()), flush=True)
            continue
        fresh = way == "first epoch" or (way, threads) not in loaders
        if fresh:
            loaders.pop((way, threads), None)
            loader = SegmentLoader(corpus, segment, BATCH_SIZE, 0, "all", num_workers=threads, cache_mb=WAYS[way])
            loaders[way, threads] = loader, iter(loader)
        loader, batches = loaders[way, threads]
        if fresh and way != "first epoch":
            for _ in islice(batches, len(loader) if WAYS[way] else 2):
                pass  # not held: a list of an epoch would be most of what is measured
        cpu_s, started = used_s(), time.monotonic()
        count = sum(len(batch["keys"]) for batch in islice(batches, num_batches or len(loader)))
        took = {"per_s": count / (time.monotonic() - started), "per_cpu_s": count / (used_s() - cpu_s)}
        if way == "first epoch":
            del loaders[way, threads], loader, batches
        print(json.dumps({**took, **pss_mib()}), flush=True)


class Side:
    """A process that answers, of one tree."""

    def __init__(self, tree: Path, words: list[str]) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), *words, "--answer"]
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=tree)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, way: str, threads: int, num_batches: int) -> None:
        assert self.process.stdin is not None
        print(json.dumps([way, threads, num_batches]), file=self.process.stdin, flush=True)

    def told(self) -> dict[str, float]:
        assert self.process.stdout is not None
        found: dict[str, float] = json.loads(self.process.stdout.readline())
        return found


def against(commit: str, words: list[str], rounds: int, processes: int) -> str:
    """Turns of the loader of a commit and of this one, as a table."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
        tree = Path(folder) / "old"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            lines = turns(tree, words, rounds) if rounds else []
            if processes:
                lines += memory(tree, words, processes)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return "\n".join(lines)


def turns(tree: Path, words: list[str], rounds: int) -> list[str]:
    lines = ["| way | threads | old segments/s | new | ratio (95 %) | ratio per CPU second (95 %) |"]
    lines.append("|---|---|---|---|---|---|")
    with Side(tree, words) as old, Side(ROOT, words) as new:
        for way, threads in [(way, threads) for way in WAYS for threads in (1, 2)]:
            found: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
            for number in range(2 * rounds):
                for name, side in (("old", old), ("new", new))[:: -1 if number % 2 else 1]:
                    side.ask(way, threads, {"no memory": 16, "first epoch": 32, "from memory": 64}[way])
                    found[name].append(side.told())
            speed = {name: float(np.median([one["per_s"] for one in told])) for name, told in found.items()}
            ratios = " | ".join(
                interval([new[by] / old[by] for old, new in zip(*found.values(), strict=True)])
                for by in ("per_s", "per_cpu_s")
            )
            lines.append(f"| {way} | {threads} | {speed['old']:.0f} | {speed['new']:.0f} | {ratios} |")
            print(lines[-1], file=sys.stderr)
    return lines


def interval(ratios: list[float]) -> str:
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def memory(tree: Path, words: list[str], processes: int) -> list[str]:
    """What processes take together that have each read an epoch."""
    lines = ["", f"| MiB (PSS) of {processes} processes | in all | their own | files, libraries | shared memory |"]
    lines.append("|---|---|---|---|---|")
    for name, place in (("old", tree), ("new", ROOT)):
        for way in ("imports", "no memory", "from memory")[name == "new" :]:
            told = total_pss(place, words, processes, way)
            parts = " | ".join(f"{told[kind]:.0f}" for kind in KINDS)
            lines.append(f"| {way if way == 'imports' else f'{name}, {way}'} | {parts} |")
    return lines


def total_pss(tree: Path, words: list[str], processes: int, way: str) -> dict[str, float]:
    with ExitStack() as stack:
        sides = [stack.enter_context(Side(tree, words)) for _ in range(processes)]
        for side in sides:
            side.ask(way, 1, 0)
        for side in sides:
            side.told()
        for side in sides:  # again, now that all have read all
            side.ask(way, 1, 1)
        told = [side.told() for side in sides]
        return {kind: sum(one[kind] for one in told) for kind in KINDS}


def pss_mib() -> dict[str, float]:
    """This process's share of the memory that it has mapped, in all and of each kind."""
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    return {name[:-1]: float(size) / 1024 for name, size, *_ in lines if name[:-1] in KINDS}


def rows_of(corpus: Path, segment: SegmentSpec) -> list[Row]:
    """The plain pipeline first: it is what the others are compared with."""

    def ours(num_workers: int, cache_mb: float) -> Callable[[], Iterator[Any]]:
        loader = SegmentLoader(corpus, segment, BATCH_SIZE, 0, "all", num_workers=num_workers, cache_mb=cache_mb)
        if cache_mb:
            list(islice(iter(loader), len(loader)))
        return lambda: islice(iter(loader), len(loader))

    return [
        Row("plain WebDataset, this process", partial(plain, corpus, segment, 0)),
        Row("plain WebDataset, 1 process", partial(plain, corpus, segment, 1)),
        Row("plain WebDataset, 2 processes", partial(plain, corpus, segment, 2)),
        Row("loader, 1 thread", ours(1, 0)),
        Row("loader, 2 threads", ours(2, 0)),
        Row("loader, 1 thread, from memory", ours(1, 8192), False),
        Row("loader, 2 threads, from memory", ours(2, 8192), False),
    ]


def plain(corpus: Path, segment: SegmentSpec, num_processes: int) -> Iterator[Any]:
    """WebDataset as its documentation shows it: shards and samples shuffled, decoded, batched."""

    def decoded(sample: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
        wave, _ = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        frames, facts = np.load(io.BytesIO(sample["frames.npy"])), json.loads(sample["json"])
        times_s = np.asarray(facts["frame_times_s"], dtype=np.float32)
        return wave[: segment.num_samples], frames.astype(np.float32), times_s, sample["__key__"]

    def collated(items: list[Any]) -> dict[str, Any]:
        waves, frames, times_s, keys = zip(*items, strict=True)
        return {"wave": torch.from_numpy(np.stack(waves)), **pad_frames(frames, times_s), "keys": list(keys)}

    data = (
        webdataset.WebDataset([str(path) for path in sorted(corpus.glob("*.tar"))], shardshuffle=100, seed=0)
        .shuffle(500, seed=0)
        .map(decoded)
        .batched(BATCH_SIZE, collation_fn=collated)
    )
    return iter(webdataset.WebLoader(data, batch_size=None, num_workers=num_processes) if num_processes else data)


def measure(row: Row, corpus: Path) -> None:
    """One epoch."""
    if row.cold:
        for path in corpus.glob("*.tar"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before_mib, cpu_s, started = rss_mib(), used_s(), time.monotonic()
    count = sum(len(batch["keys"]) for batch in row.batches())
    row.wall_s.append((time.monotonic() - started) / count)
    row.cpu_s.append((used_s() - cpu_s) / count)
    row.grown_mib.append(rss_mib() - before_mib)


def used_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def rss_mib() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def table(rows: list[Row], index: CorpusIndex) -> str:
    """The medians of the rounds."""
    size = sum(shard["bytes"] for shard in index.shards) / index.num_records / 1e3
    lines = [
        f"{index.num_records} records of {index.spec.seconds:g} s, {size:.0f} KB each, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; times of the first row",
        "",
        "| way | segments/s | times | per CPU second | times | MiB grown in an epoch, first and last |",
        "|---|---|---|---|---|---|",
    ]
    wall, cpu = float(np.median(rows[0].wall_s)), float(np.median(rows[0].cpu_s))
    for row in rows:
        mine, mine_cpu = float(np.median(row.wall_s)), float(np.median(row.cpu_s))
        lines.append(
            f"| {row.name} | {1 / mine:.0f} | {wall / mine:.2f} | {1 / mine_cpu:.0f} | {cpu / mine_cpu:.2f} | "
            f"{row.grown_mib[0]:.0f}, {row.grown_mib[-1]:.0f} |"
        )
    return "\n".join(lines)


def make_corpus(folder: Path, count: int) -> Path:
    """Tones that swell and fade over noise, as compressible as the sound of videos; made once."""
    if (folder / "index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    facts = []
    for start in range(0, count, PER_SHARD):
        records = [make_record(number) for number in range(start, min(start + PER_SHARD, count))]
        shards.append(write_shard(folder / f"shard-{len(shards):06d}.tar", records))
        facts += [{**record.facts, "key": record.key, "shard": shards[-1]["name"]} for record in records]
    write_facts(folder, facts)
    CorpusIndex(SPEC, "bench/0", "bench", WIDTH, shards).save(folder)
    return folder


def make_record(number: int) -> Record:
    rng = np.random.default_rng(number)
    time_s = np.arange(SPEC.num_samples()) / SPEC.sample_rate_hz
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 1.0) * time_s)
    tones = sum(np.sin(2 * np.pi * rng.uniform(80, 2000) * time_s) for _ in range(4))
    wave = (0.05 * swell * tones + 0.006 * rng.standard_normal(len(time_s))).astype(np.float32)
    frames = rng.standard_normal((10, WIDTH)).astype(np.float16)
    times_s = list(SPEC.frame_times_s(SPEC.seconds, 10))
    facts = {"source": f"{number}.mp4", "seconds": SPEC.seconds, "valid_seconds": SPEC.seconds, "rms_db": -20.0}
    return Record(f"r{number:06d}", wave, frames, {**facts, "frame_times_s": times_s, "sample_rate": 16000})


if __name__ == "__main__":
    main()
