"""Ingest against the usual script, on the same files, in the same run: decoding alone, end to end, and memory.

    python scripts/bench_ingest.py VIDEOS --work FOLDER [--copies 20] [--memory-segments 0 [--memory-only]]

The videos are encoded anew at 854 x 480 with x264's default settings. The usual script is decord's `get_batch` at
uniform indices and its AudioReader; it takes as many pictures as ingest. Decoding alone is timed on one thread and in
turns; ratios last, milliseconds are of this machine. Memory is that of the ingesting process, from file 1,000 on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from clipsonic.clip.open_clip import load_clip
from clipsonic.ingest.border import WorkerPool
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.run import fit_of
from clipsonic.ingest.segments import Fit, ReadSettings, read_segments
from clipsonic.ingest.sources import list_jobs
from clipsonic.specs import CorpusSpec

WIDTH, HEIGHT, SOUND_HZ = 854, 480, 44100
SPEC = CorpusSpec(16000, 10.24, 2.56)
ROUNDS = 3


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=20, help="of every video, end to end")
    parser.add_argument("--memory-segments", type=int, default=0, help="ingest so many for the memory's curve; 0 = not")
    parser.add_argument("--memory-only", action="store_true", help="only that, from VIDEOS as they are")
    args = parser.parse_args(argv)
    if args.memory_only:
        print(memory_table(sorted(args.videos.glob("*.mp4")), args.work, args.memory_segments))
        return
    files = [encoded(path, args.work / "480p") for path in sorted(args.videos.glob("*.mp4"))]
    print(decoding_table(files), end_to_end(files, args.work, args.copies), sep="\n\n", flush=True)
    if args.memory_segments:
        print("\n" + memory_table(files, args.work, args.memory_segments))


def encoded(path: Path, folder: Path) -> Path:
    """The video at 480p by x264 with its defaults, and AAC; kept for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if target.exists():
        return target
    half = target.with_suffix(".part.mp4")
    with av.open(str(path)) as source, av.open(str(half), "w") as out:
        rate = round(source.streams.video[0].average_rate or 25)
        video, sound = out.add_stream("libx264", rate=rate), out.add_stream("aac", rate=SOUND_HZ)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        resampler, count = av.AudioResampler("fltp", "stereo", SOUND_HZ), 0
        for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    scaled = frame.reformat(WIDTH, HEIGHT, "yuv420p")
                    scaled.pts, scaled.time_base, count = count, Fraction(1, rate), count + 1
                    out.mux(video.encode(scaled))
                else:
                    for part in resampler.resample(frame):
                        out.mux(sound.encode(part))
        out.mux(video.encode())
        out.mux(sound.encode())
    return half.rename(target)


def decoding_table(files: list[Path]) -> str:
    """CPU time of decoding alone, one thread against one thread, in turns."""
    counts = {path: sum(len(segment.pictures) for segment in ours(path, 0.0)) for path in files}
    ways: dict[str, Callable[[Path], object]] = {
        "decord, uniform indices": lambda path: usual(path, counts[path]),
        "ingest, tolerance 0": lambda path: ours(path, 0.0),
        "ingest, tolerance 0.25 s": lambda path: ours(path, 0.25),
    }
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for path in files:
            for name, way in ways.items():
                started = time.process_time()
                way(path)
                spent[name] += time.process_time() - started
    first = next(iter(spent.values()))
    rows = [f"| {name} | {1e3 * s / ROUNDS / len(files):.0f} | {first / s:.2f} |" for name, s in spent.items()]
    pictures = sum(counts.values()) / len(files)
    head = f"Decoding alone, {len(files)} files, {pictures:.1f} pictures and all sound of each, one thread:"
    return "\n".join([head, "", "| way | ms per file | times decord's speed |", "|---|---|---|", *rows])


def ours(path: Path, tolerance_s: float) -> list:
    settings = ReadSettings(SPEC, SPEC.seconds, thumbnails=False, frame_tolerance_s=tolerance_s)
    return list(read_segments(Job(str(path), path.name, "0" * 16, "0" * 16), settings))


def usual(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    pictures = reader.get_batch(np.linspace(0, len(reader) - 1, count).round().astype(int).tolist()).asnumpy()
    return pictures, decord.AudioReader(str(path), ctx=decord.cpu(0), sample_rate=16000, mono=True)[:].asnumpy()


def copies_of(files: list[Path], folder: Path, count: int) -> Path:
    """Hard links: other names, the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        for path in files:
            link = folder / f"{number:05d}-{path.name}"
            if not link.exists():
                os.link(path, link)
    return folder


def end_to_end(files: list[Path], work: Path, count: int) -> str:
    """Segments per second of the command, of decoding alone and of CLIP alone, each with all cores."""
    folder = copies_of(files, work / "copies", count)
    clip = load_clip("tiny")
    fit = fit_of(clip) or Fit(224, "shortest")
    cores = os.cpu_count() or 1
    settings = ReadSettings(SPEC, SPEC.seconds, fit=fit, frame_tolerance_s=0.25)
    with WorkerPool(cores) as pool:
        list(pool.run(list_jobs(files[:cores]), settings))  # the processes have started
        started = time.monotonic()
        segments = [event[1] for _, event in pool.run(list_jobs([folder]), settings) if event[0] == "segment"]
        decoding = len(segments) / (time.monotonic() - started)
    pictures = [picture for segment in segments for picture in segment.pictures]
    started = time.monotonic()
    clip.embed_pictures(pictures, batch_size=32)
    embedding = len(segments) / (time.monotonic() - started)
    started = time.monotonic()
    run_ingest(folder, work / "corpus").wait()
    whole = len(segments) / (time.monotonic() - started)
    bound = 1.0 / (1.0 / decoding + 1.0 / embedding)
    return (
        f"End to end, {len(segments)} segments, {cores} cores, bundled CLIP on the CPU: {whole:.1f} segments/s, the\n"
        f"command's start included; decoding alone {decoding:.1f}, CLIP alone {embedding:.1f}, bound {bound:.1f}: "
        f"{whole / bound:.0%} of it"
    )


def run_ingest(folder: Path, out: Path) -> subprocess.Popen:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-c", "from clipsonic.cli import main; raise SystemExit(main())", "ingest", str(folder)]
    return subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def memory_table(files: list[Path], work: Path, num_segments: int) -> str:
    """Resident memory of the ingesting process as the corpus grows."""
    folder = copies_of(files, work / "many", -(-num_segments // len(files)))
    process = run_ingest(folder, work / "corpus")
    seen = psutil.Process(process.pid)
    rows: list[tuple[int, float]] = []
    while process.poll() is None:
        done = 64 * len(list((work / "corpus" / "ingest").glob("unit-*.json")))
        if done >= 1000 and (not rows or done > rows[-1][0]):
            rows.append((done, seen.memory_info().rss / 2**20))
        time.sleep(0.5)
    first = rows[0][1]
    lines = [f"| {done} | {rss:.0f} | {rss / first - 1:+.1%} |" for done, rss in rows[:: max(1, len(rows) // 12)]]
    return "\n".join(["| files | MiB | since the first |", "|---|---|---|", *lines])


if __name__ == "__main__":
    main()
