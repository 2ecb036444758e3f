"""Ingest damaged copies of videos beside the good ones, and say what became of each kind of damage.

    python scripts/try_damaged.py VIDEOS --work FOLDER [--count 2000] [--seed 0] [--small]

Every copy has bits flipped, is cut, spliced with another, has a stretch overwritten, or lies in its headers; which, and
where, follows the seed. `--small` damages short small copies of the videos in seven containers instead (10,000 take
about as long as 1,000 real ones). Fails unless every file that was written is listed once and ingested or refused, none
hung, the shards hold the records that the outcomes count, every good file is in with the sound and the facts that it
gives alone, and no decoding process is left.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from clipsonic.ingest.run import IngestOptions, IngestResult, ingest
from clipsonic.ingest.sources import Outcome
from clipsonic.refusals import RefusalReason
from clipsonic.seeding import numpy_rng
from clipsonic.shards.record import encode_record
from clipsonic.shards.writer import read_shard
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 2.56, 1.0), timeout_s=20.0)
HEADERS = (b"moov", b"trak", b"stsz", b"stco", b"stts", b"ctts", b"mdhd", b"avcC", b"esds", b"hdlr", b"mvhd")
SMALL = (
    *((".mp4", "libx264", "aac"), (".mkv", "libx265", "flac"), (".webm", "libvpx-vp9", "libopus")),
    *((".avi", "mpeg4", "pcm_s16le"), (".ts", "mpeg2video", "mp2"), (".flv", "libx264", "aac")),
    (".mov", "mjpeg", "aac"),
)
SMALL_S, SMALL_FPS, SMALL_SIZE, SMALL_HZ = 3, 25, (160, 96), 48000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args(argv)
    videos = small_copies(args.videos, args.work / "small") if args.small else args.videos
    alone = ingested(args.work / "alone", [videos])
    damaged = write_damaged(sorted(videos.iterdir()), args.work / "damaged", args.count, args.seed)
    started = time.monotonic()
    result = ingested(args.work / "corpus", [args.work / "damaged", videos])
    outcomes = result.outcomes
    print(table(outcomes), f"{len(outcomes)} files in {time.monotonic() - started:.0f} s", sep="\n\n")
    faults = list(faults_of(result, outcomes, alone, [f"damaged/{path.name}" for path in damaged]))
    print(*faults or ["none lost, none hung, no good one suffered"], sep="\n")
    return 1 if faults else 0


def ingested(out: Path, sources: list[Path]) -> IngestResult:
    shutil.rmtree(out, ignore_errors=True)
    return ingest(sources, out, OPTIONS)


def faults_of(result: IngestResult, outcomes: list[Outcome], alone: IngestResult, damaged: list[str]) -> Iterator[str]:
    """What is not as it must be, in words."""
    fates = Counter(outcome.source for outcome in outcomes)
    expected = Counter([*damaged, *(outcome.source for outcome in alone.outcomes)])
    if fates != expected or result.listed != len(outcomes):
        yield f"lost: {sorted(expected - fates)[:5]}; too many: {sorted(fates - expected)[:5]}"
    known = {str(reason) for reason in RefusalReason}
    if odd := [outcome for outcome in outcomes if outcome.reason not in known and (outcome.reason or outcome.refused)]:
        yield f"without a known reason: {odd[:5]}"
    if hung := [outcome.source for outcome in outcomes if outcome.reason == RefusalReason.TIMEOUT]:
        yield f"hung: {len(hung)}, for instance {hung[:5]}"
    if open_ones := [outcome for outcome in outcomes if outcome.is_open]:
        yield f"charged to the machine: {len(open_ones)}, for instance {open_ones[:5]}"
    mixed, single = digests_of(result), digests_of(alone)
    if len(mixed) != sum(outcome.records for outcome in outcomes):
        yield f"{len(mixed)} records in the shards, {sum(outcome.records for outcome in outcomes)} in the outcomes"
    if suffered := [key for key in single if mixed.get(key) != single[key]]:
        yield f"good files suffered: {len(suffered)} records, for instance {suffered[:5]}"
    if left := psutil.Process().children(recursive=True):
        yield f"processes left: {left}"


def digests_of(result: IngestResult) -> dict[str, str]:
    """Key -> hash of sound and facts (embeddings depend on the batch they were in), read from the shards."""
    digests = {}
    for shard in result.index.shards:
        for record in read_shard(Path(result.folder) / shard["name"]):
            files = encode_record(record)
            digests[record.key] = hashlib.sha256(files["flac"] + files["json"]).hexdigest()
    return digests


def small_copies(videos: Path, folder: Path) -> Path:
    """The beginning of each video, small, in one container after the other."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted(videos.glob("*.mp4"))):
        suffix, codec, sound_codec = SMALL[number % len(SMALL)]
        small_copy(path, folder / f"{path.stem}{suffix}", codec, sound_codec)
    return folder


def small_copy(source: Path, target: Path, codec: str, sound_codec: str) -> None:
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        video, sound = out.add_stream(codec, rate=SMALL_FPS), out.add_stream(sound_codec, rate=SMALL_HZ, layout="mono")
        video.width, video.height = SMALL_SIZE
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.options = {"x265-params": "log-level=none", "cpu-used": "8", "g": "12"}
        packets = []
        for number, frame in enumerate(frame for frame in given.decode(video=0) if (frame.time or 0) < SMALL_S):
            small = frame.reformat(*SMALL_SIZE, format=video.pix_fmt)
            small.pts, small.time_base = number, Fraction(1, SMALL_FPS)
            packets += video.encode(small)
            if number + 1 == SMALL_S * SMALL_FPS:
                break
        given.seek(0)
        size = sound.frame_size or 1024
        resampler = av.AudioResampler(format=sound.format, layout="mono", rate=SMALL_HZ, frame_size=size)
        for frame in given.decode(audio=0):
            if (frame.time or 0) >= SMALL_S:
                break
            for piece in resampler.resample(frame):
                packets += sound.encode(piece)
        packets += [*video.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            out.mux(packet)


def write_damaged(good: list[Path], folder: Path, count: int, seed: int) -> list[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents, written = [path.read_bytes() for path in good], []
    for number in range(count):
        rng = numpy_rng(seed, "damage", number)
        kind = list(DAMAGE)[number % len(DAMAGE)]
        chosen = int(rng.integers(len(contents)))
        written.append(folder / f"{kind}-{number:05d}{good[chosen].suffix}")
        written[-1].write_bytes(DAMAGE[kind](contents[chosen], contents, rng))
    return written


def flipped(data: bytes, _: list[bytes], rng: np.random.Generator) -> bytes:
    """1 to 1,000 bits anywhere."""
    array = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(len(array), size=int(10 ** rng.uniform(0, 3)))
    array[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
    return array.tobytes()


def cut(data: bytes, _: list[bytes], rng: np.random.Generator) -> bytes:
    return data[: int(len(data) * rng.uniform(0.01, 0.99))]


def spliced(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The beginning of one file and the end of another."""
    other = others[int(rng.integers(len(others)))]
    return data[: int(len(data) * rng.uniform(0.1, 0.9))] + other[int(len(other) * rng.uniform(0.1, 0.9)) :]


def overwritten(data: bytes, _: list[bytes], rng: np.random.Generator) -> bytes:
    """A stretch of zeros or of noise."""
    start, length = int(rng.integers(len(data))), int(len(data) * rng.uniform(0.001, 0.3))
    filler = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return (data[:start] + filler + data[start + length :])[: len(data)]


def lying(data: bytes, _: list[bytes], rng: np.random.Generator) -> bytes:
    """Up to four numbers in the tables of the header are others; of what is no MP4, somewhere in its first 2 KB."""
    array = bytearray(data)
    for _turn in range(int(rng.integers(1, 5))):
        place = data.find(HEADERS[int(rng.integers(len(HEADERS)))])
        if place >= 0 or b"ftyp" not in data[:16]:
            at = place + int(rng.integers(-4, 40)) if place >= 0 else int(rng.integers(2048))
            array[at : at + 4] = rng.bytes(4) if rng.random() < 0.7 else b"\xff\xff\xff\xff"
    return bytes(array[: len(data)])


DAMAGE: dict[str, Callable[[bytes, list[bytes], np.random.Generator], bytes]] = {
    "flipped": flipped, "cut": cut, "spliced": spliced, "overwritten": overwritten, "lying": lying,
}  # fmt: skip


def table(outcomes: list[Outcome]) -> str:
    """Kinds of damage by what became of the files."""
    names = {o.source: o.source.rpartition("/")[2].partition("-")[0] for o in outcomes}
    kinds = {source: kind if source.startswith("damaged/") else "good" for source, kind in names.items()}
    fates = {o.source: str(o.reason) if o.refused else "in, ended early" if o.reason else "in" for o in outcomes}
    counts = Counter((kinds[o.source], fates[o.source]) for o in outcomes)
    columns = sorted({fate for _, fate in counts})
    rows = [[kind, *(str(counts[kind, fate]) for fate in columns)] for kind in sorted({kind for kind, _ in counts})]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["damage", *columns], ["---"] * (len(columns) + 1), *rows])


if __name__ == "__main__":
    sys.exit(main())
