"""Pairs of embeddings as an endless stream of batches, straight from the disk, however many there are.

Guarantee: a pure function of (seed, position): every training row comes exactly once per epoch, whatever the number of
processes, and a position is one number that resumes exactly. Pairs that are held out are never trained on, nor are
those beside them of the same picture or caption. Memory is that of two windows.
Price: rows are shuffled within windows, of blocks drawn from everywhere, each read in one piece. A row that is not
finite or has no length is left out when its window comes, which is said; another row of the window takes its turn.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clipsonic.errors import CorpusError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.endless import Batch, Endless
from clipsonic.train.streams.pair_rows import PairRows, Rows

BLOCK_BYTES, WINDOW_BYTES = 2**20, 128 * 2**20
"""Of vectors in float32."""
HELD_OUT = 1024
"""Pairs that are looked at of those that are held out."""
_FEWEST_HELD_OUT = 2


class Window(NamedTuple):
    """Positions `start` to `stop`: rows shuffled together, of the blocks `first` to `last` in an epoch's order."""

    epoch: int
    start: int
    stop: int
    first: int
    last: int


class PairStream(Endless):
    """Batches of `texts` and `images` (B, E), float32 unit vectors, with `keys` and `position`.

    Args:
        rows: all pairs.
        batch_size: pairs per batch; shrunk if there are fewer (`report["batch_size"]` says so).
        seed: of order and of what is held out.
        val_share: share of the pairs that is held out, see `held_out`.
        num_workers: batches made ahead.
        block_bytes, window_bytes: read in one piece, and shuffled together.

    Raises:
        CorpusError: too few pairs.
    """

    reads = "pairs"

    def __init__(
        self,
        rows: PairRows,
        batch_size: int,
        seed: int,
        *,
        val_share: float = 0.0,
        num_workers: int = 1,
        block_bytes: int = BLOCK_BYTES,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.rows = rows
        row_bytes = 2 * 4 * rows.width
        self._how = (val_share, max(1, block_bytes // row_bytes), max(1, window_bytes // row_bytes))
        self.held_out, self._held = _held_out(rows, val_share, seed)
        self._blocks = rows.blocks(self._how[1])
        sizes = np.diff(self._blocks - self._held_before(self._blocks))[:, 0]
        self._blocks, self._sizes = self._blocks[sizes > 0], sizes[sizes > 0]
        self.num_rows = int(self._sizes.sum())
        if not self.num_rows:
            raise CorpusError(f"{len(rows)} pairs are too few to train on and to hold some out: give thousands")
        super().__init__(min(batch_size, self.num_rows), seed, num_workers)
        self.report |= {"pairs": len(rows), "used": self.num_rows}
        self._epochs: dict[int, tuple[np.ndarray, list[Window]]] = {}

    @cached_property
    def digest(self) -> str:
        """Names the files (by name, size and rows) and how they are shuffled and held out."""
        facts = [[shard.facts for shard in self.rows.shards], self._how]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from `position`; it never ends."""
        with ThreadPoolExecutor(1, "windows") as reader, ThreadPoolExecutor(1, "batches") as maker:
            loaded: dict[Window, Future[tuple[Rows, Tensor]]] = {}
            ahead, pending = self.position, deque[tuple[int, Future[Batch]]]()
            while True:
                while len(pending) <= self.num_workers:
                    after = ahead + self.stride
                    pending.append((after, maker.submit(self._made_of, ahead, reader, loaded)))
                    ahead = after
                after, batch = pending.popleft()
                self.position, made = after, batch.result()
                yield {**made, "position": after}

    def batch_at(self, position: int) -> Batch:
        """This rank's pairs from a position on; a window is read for them."""
        with ThreadPoolExecutor(1, "windows") as reader:
            return self._made_of(position, reader, {})

    def look(self, most_rows: int) -> Iterator[tuple[Rows, np.ndarray]]:
        """Rows that are trained on, block by block, with their kinds: all, or the first so many of a shuffled epoch."""
        for window in self._epoch(0)[1]:
            for rows in self._blocks_of(window):
                if most_rows <= 0:
                    return
                most_rows -= len(rows.numbers)
                if len(rows.numbers):
                    yield rows, self.rows.kinds(rows)

    def _made_of(
        self, position: int, reader: ThreadPoolExecutor, loaded: dict[Window, Future[tuple[Rows, Tensor]]]
    ) -> Batch:
        places = torch.tensor(self.places(position))
        parts = []
        while len(places):
            window = self._window_at(int(places[0]))
            wanted = (window, self._window_at(window.stop))
            for gone in loaded.keys() - set(wanted):
                del loaded[gone]
            for each in wanted:
                if each not in loaded:
                    loaded[each] = reader.submit(self._loaded, each)
            inside = places[places < window.stop]
            found, order = loaded[window].result()
            parts.append(found.take(order[inside - window.start]))
            places = places[len(inside) :]
        rows = Rows.cat(parts)
        return {"texts": rows.texts, "images": rows.images, "keys": self.rows.keys(rows)}

    def _window_at(self, position: int) -> Window:
        _, windows = self._epoch(position // self.num_rows)
        return windows[bisect_right(windows, position, key=lambda window: window.start) - 1]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, list[Window]]:
        """An epoch's own order of the blocks, and its windows."""
        if epoch not in self._epochs:
            for gone in [known for known in self._epochs if abs(known - epoch) > 1]:
                del self._epochs[gone]
            order = numpy_rng(self.seed, "train.pairs.blocks", epoch).permutation(len(self._sizes))
            ends = epoch * self.num_rows + np.cumsum(self._sizes[order])
            begins = ends - self._sizes[order]
            firsts = np.unique((begins - begins[0]) // self._how[2], return_index=True)[1].tolist()
            self._epochs[epoch] = (
                order,
                [
                    Window(epoch, int(begins[first]), int(ends[after - 1]), first, after)
                    for first, after in itertools.pairwise([*firsts, len(order)])
                ],
            )
        return self._epochs[epoch]

    def _blocks_of(self, window: Window) -> Iterator[Rows]:
        for block in self._epoch(window.epoch)[0][window.first : window.last]:
            start, stop = self._blocks[block].tolist()
            first = int(np.searchsorted(self._held[:, 1], start, "right"))
            last = int(np.searchsorted(self._held[:, 0], stop, "left"))
            yield self.rows.read(start, stop, without=self._held[first:last].tolist())

    def _loaded(self, window: Window) -> tuple[Rows, Tensor]:
        """The rows of a window, and the place among them of each of its positions."""
        count, filled = window.stop - window.start, 0
        texts, images = torch.empty(2, count, self.rows.width)
        rows = Rows(texts, images, torch.empty(count, dtype=torch.int64))
        for part in self._blocks_of(window):
            after = filled + len(part.numbers)
            for whole, values in zip(rows, part, strict=True):
                whole[filled:after] = values
            filled = after
        if not filled:
            raise CorpusError(f"none of {count} rows in turn is finite and has a length: make the embeddings again")
        order = numpy_rng(self.seed, "train.pairs.rows", window.start).permutation(filled)
        return rows, torch.from_numpy(np.resize(order, count))

    def _held_before(self, row: np.ndarray) -> np.ndarray:
        """How many of the rows before these are held out."""
        before = np.searchsorted(self._held[:, 0], row, "right")
        sums = np.cumsum([0, *np.diff(self._held)[:, 0]])
        stops = np.concatenate([[0], self._held[:, 1]])[before]
        counts: np.ndarray = sums[before] - np.maximum(0, stops - row)
        return counts


def _held_out(rows: PairRows, share: float, seed: int) -> tuple[list[int], np.ndarray]:
    """At most `HELD_OUT` rows to look at, and the spans (n, 2) around them that are not trained on: runs from
    everywhere, in all about this share, with what shares a picture or a caption with their ends."""
    spans: dict[int, int] = {}
    if share > 0.0:
        wanted = share * len(rows)
        length = max(1, int(wanted) // HELD_OUT)
        count = -(-len(rows) // length)
        drawn = numpy_rng(seed, "train.pairs.held_out").choice(
            count, min(count, int(wanted / length) + _FEWEST_HELD_OUT), replace=False
        )
        for start in (drawn * length).tolist():
            if len(spans) >= _FEWEST_HELD_OUT and sum(stop - first for first, stop in spans.items()) >= wanted:
                break
            first, stop = rows.alike(start)[0], rows.alike(min(start + length, len(rows)) - 1)[1]
            spans[first] = max(stop, spans.get(first, 0))
    merged: list[list[int]] = []
    for first, stop in sorted(spans.items()):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(stop, merged[-1][1])
        else:
            merged.append([first, stop])
    return list(spans)[:HELD_OUT], np.array(merged, dtype=int).reshape(-1, 2)
