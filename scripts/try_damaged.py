"""Ingest damaged copies of videos beside the good ones, and say what became of each kind of damage.

    python scripts/try_damaged.py VIDEOS --work FOLDER [--count 2000] [--seed 0]

Every copy has bits flipped, is cut, spliced with another, has a stretch overwritten, or lies in its headers; which, and
where, follows the seed. Fails unless every listed file is ingested or refused, and every good file is in with all the
records that it gives alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipsonic.ingest.quarantine import Outcome
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.seeding import numpy_rng
from clipsonic.specs import CorpusSpec

OPTIONS = IngestOptions(spec=CorpusSpec(16000, 2.56, 1.0), timeout_s=20.0)
HEADERS = (b"moov", b"trak", b"stsz", b"stco", b"stts", b"ctts", b"mdhd", b"avcC", b"esds", b"hdlr", b"mvhd")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    good = sorted(args.videos.glob("*.mp4"))
    alone = {name_of(o): o.records for o in outcomes_of(args.work / "alone", [args.videos])}
    write_damaged(good, args.work / "damaged", args.count, args.seed)
    started = time.monotonic()
    outcomes = outcomes_of(args.work / "corpus", [args.work / "damaged", args.videos])
    print(table(outcomes), f"{len(outcomes)} files in {time.monotonic() - started:.0f} s", sep="\n\n")
    together = {name_of(o): o.records for o in outcomes if not o.source.startswith("damaged/")}
    if len(outcomes) != args.count + len(alone) or together != alone:
        print("a file was lost, or a good one suffered", file=sys.stderr)
        return 1
    return 0


def outcomes_of(out: Path, sources: list[Path]) -> list[Outcome]:
    shutil.rmtree(out, ignore_errors=True)
    return ingest(sources, out, OPTIONS).outcomes


def name_of(outcome: Outcome) -> str:
    return outcome.source.rpartition("/")[2]


def write_damaged(good: list[Path], folder: Path, count: int, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents = [path.read_bytes() for path in good]
    for number in range(count):
        rng = numpy_rng(seed, "damage", number)
        kind = list(DAMAGE)[number % len(DAMAGE)]
        data = DAMAGE[kind](contents[int(rng.integers(len(contents)))], contents, rng)
        (folder / f"{kind}-{number:05d}.mp4").write_bytes(data)


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
    """Up to four numbers in the tables of the header are others."""
    array = bytearray(data)
    for _turn in range(int(rng.integers(1, 5))):
        place = data.find(HEADERS[int(rng.integers(len(HEADERS)))])
        if place >= 0:
            at = place + int(rng.integers(-4, 40))
            array[at : at + 4] = rng.bytes(4) if rng.random() < 0.7 else b"\xff\xff\xff\xff"
    return bytes(array[: len(data)])


DAMAGE: dict[str, Callable[[bytes, list[bytes], np.random.Generator], bytes]] = {
    "flipped": flipped, "cut": cut, "spliced": spliced, "overwritten": overwritten, "lying": lying,
}  # fmt: skip


def table(outcomes: list[Outcome]) -> str:
    """Kinds of damage by what became of the files."""
    kinds = {o.source: name_of(o).partition("-")[0] if o.source.startswith("damaged/") else "good" for o in outcomes}
    fates = {o.source: str(o.reason) if o.refused else "in, ended early" if o.reason else "in" for o in outcomes}
    counts = Counter((kinds[o.source], fates[o.source]) for o in outcomes)
    columns = sorted({fate for _, fate in counts})
    rows = [[kind, *(str(counts[kind, fate]) for fate in columns)] for kind in sorted({kind for kind, _ in counts})]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["damage", *columns], ["---"] * (len(columns) + 1), *rows])


if __name__ == "__main__":
    sys.exit(main())
