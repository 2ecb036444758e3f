"""What it costs to read pairs of embeddings from a disk instead of from memory.

    python scripts/bench_pairs.py [--pairs 1000000] [--width 128] [--turns 9] [--steps 10] [--device cpu]

Writes made-up pairs (float16, ten shards) to a temporary folder and streams all of them: by how much the process grows
beyond its largest size within the first three windows. Then steps of the prior's training (the bundled depth, batches
of 256) on batches of the stream against the same steps on tensors in memory, in turns in one process; the median turn
counts. Prints the figures and their targets.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import torch

from clipsonic.clip.pair_embeds import Embedded, open_embedded
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch
from clipsonic.train.streams.embeds import WINDOW_BYTES, PairStream
from clipsonic.train.streams.pair_rows import PairRows

NUM_SHARDS, BATCH = 10, 256
MOST_GROWTH, LEAST_SPEED = 5.0, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="of each turn")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.pairs // NUM_SHARDS, args.width)
        growth, alone = stream_all(Path(folder), args.width)
        print(f"{args.pairs} pairs of width {args.width}: grows by {growth:.2f} % (at most {MOST_GROWTH:g}), "
              f"{alone:.0f} pairs/s without a step", flush=True)  # fmt: skip
        streamed, held = against_memory(Path(folder), args.width, args.turns, args.steps, args.device)
        print(f"training on {args.device}: {streamed:.0f} samples/s streamed, {held:.0f} from memory, "
              f"{streamed / held:.3f} of it (at least {LEAST_SPEED:g})")  # fmt: skip


def write(folder: Path, rows: int, width: int) -> None:
    """Shards in clip-retrieval's layout."""
    for number in range(NUM_SHARDS):
        rng = np.random.default_rng(number)
        images, texts = (rng.standard_normal((rows, width), np.float32).astype(np.float16) for _ in range(2))
        Embedded(images, texts, np.full(rows, "")).write(folder, number)


def opened(folder: Path) -> PairStream:
    return PairStream(PairRows(open_embedded(folder)), BATCH, 0, val_share=0.001)


def stream_all(folder: Path, width: int) -> tuple[float, float]:
    """By how much (%) the process is larger at its largest than within the first three windows, and pairs/s."""
    stream, process, sizes, started = opened(folder), psutil.Process(), [], time.monotonic()
    first = 3 * WINDOW_BYTES // (8 * width) // BATCH
    for _ in itertools.islice(stream, stream.num_rows // BATCH):
        sizes.append(process.memory_info().rss)
    return 100.0 * (max(sizes) / max(sizes[:first]) - 1.0), stream.num_rows / (time.monotonic() - started)


def against_memory(folder: Path, width: int, turns: int, steps: int, device: str) -> tuple[float, float]:
    """Samples/s of training steps fed by the stream, and by tensors in memory."""
    stream = opened(folder)
    kept = list(itertools.islice(opened(folder), 64))
    feeds: tuple[Iterator[Batch], ...] = (iter(stream), itertools.cycle(kept))
    step, speeds = make_step(width, device), ([], [])  # type: ignore[var-annotated]
    for feed in feeds:
        step(next(feed))
    for _ in range(turns):
        for feed, found in zip(feeds, speeds, strict=True):
            started = time.monotonic()
            for _ in range(steps):
                loss = step(next(feed))
            loss.item()  # the device is done
            found.append(BATCH * steps / (time.monotonic() - started))
    streamed, held = (statistics.median(found) for found in speeds)
    return streamed, held


def make_step(width: int, device: str) -> Callable[[Batch], torch.Tensor]:
    """One step of the prior's training."""
    torch.manual_seed(0)
    prior = TextPrior(PriorShape(width), "bench").to(device)
    optimizer = torch.optim.AdamW(prior.core.network.parameters(), 1e-4)
    generator = torch.Generator(device).manual_seed(0)

    def step(batch: Batch) -> torch.Tensor:
        draws = Draws(generator, BATCH)
        t_B = draws.of(lambda count, of: torch.randint(100, (count,), generator=of, device=of.device))
        texts, images = (batch[name].to(device, non_blocking=True) for name in ("texts", "images"))
        loss = prior.loss(texts, images, t_B, draws.normal(width)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    main()
