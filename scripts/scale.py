"""From costs per segment to hours, machines and disks: the tables of docs/scale.md.

    python scripts/scale.py [--decode-s 0.56] [--clip-s 0.016] [--record-kb 220] [--video-mb 1.9]
                             [--cores 64] [--gpus 4]

Costs are of one segment: CPU seconds of one core for decoding, GPU seconds for the CLIP (`bench_ingest.py` measures
both where you are), kilobytes of a record, megabytes of the video that it is cut from.
"""

from __future__ import annotations

import argparse

COUNTS = (10**5, 10**6, 10**8)
SEGMENT_S = 10.24


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decode-s", type=float, default=0.56)
    parser.add_argument("--clip-s", type=float, default=0.016)
    parser.add_argument("--record-kb", type=float, default=220.0)
    parser.add_argument("--video-mb", type=float, default=1.9)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=4)
    args = parser.parse_args(argv)
    print(table(args))


def table(args: argparse.Namespace) -> str:
    """A row for each size of corpus."""
    lines = [
        f"| segments | hours of video | core hours | GPU hours | {args.cores} cores, {args.gpus} GPUs | waits for | "
        "corpus | video to read |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in COUNTS:
        core_hours, gpu_hours = count * args.decode_s / 3600, count * args.clip_s / 3600
        decoding, embedding = core_hours / args.cores, gpu_hours / args.gpus
        lines.append(
            f"| {count:,} | {count * SEGMENT_S / 3600:,.0f} | {core_hours:,.0f} | {gpu_hours:,.1f} | "
            f"{duration(max(decoding, embedding))} | {'decoding' if decoding > embedding else 'CLIP'} | "
            f"{size(count * args.record_kb * 1e3)} | {size(count * args.video_mb * 1e6)} |"
        )
    return "\n".join(lines)


def duration(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.0f} GB" if num_bytes < 1e12 else f"{num_bytes / 1e12:,.1f} TB"


if __name__ == "__main__":
    main()
