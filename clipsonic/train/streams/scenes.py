"""An endless stream of pieces of soundstage sounds with the kinds of what sounds; each batch is of one length.

Guarantee: a row is a pure function of (seed, place): the scenes in an order of their own in each epoch, a piece of each
in which it sounds. A scene that has none of the batch's length gives its row to another, so that all processes have
equally many rows. Price: scenes are rendered when they are first needed, 12 ms of a core each, and kept as int16 while
there is room; what has none is rendered anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial

import numpy as np
import torch

from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng
from clipsonic.shards.endless import Batch, Endless
from clipsonic.soundstage.takes import NAMES, piece_of, take_scene, take_wave
from clipsonic.train.lessons.configs import JudgeConfig
from clipsonic.workers import away, in_workers

_MOST_TRIED = 200
_LONGEST_S = 12.0
Row = tuple[int, slice]
"""A scene's number and its piece."""
Ask = Callable[[int], Future[np.ndarray]]


class SceneStream(Endless):
    """Batches of `wave` (B, T), int16, `label` (B,), the place of its kind in KINDS, `keys` and `position`.

    Args:
        config: which scenes, and how long the pieces are.
        rate_hz: of the sounds.
        batch_size: rows of a batch over all processes.
        seed: of order, lengths and pieces.
        workers: processes that render ahead; up to one it is a thread, with none it is done when asked for.
        cache_mb: for rendered scenes, in MiB.
    """

    reads = "scenes"

    def __init__(
        self, config: JudgeConfig, rate_hz: int, batch_size: int, seed: int, *, workers: int = 0, cache_mb: float = 1024
    ) -> None:
        super().__init__(batch_size, seed, workers)
        self._config, self._rate_hz = config, rate_hz
        self.report["scenes"] = config.num_scenes
        self._render = partial(take_wave, seed=config.scene_seed, split="train", rate_hz=rate_hz)
        self._most_kept = int(cache_mb * 2**20 / (2 * rate_hz * _LONGEST_S))

    @property
    def digest(self) -> str:
        """Names the scenes and the lengths."""
        told = (self._config.num_scenes, self._config.scene_seed, self._config.lengths_s, self._rate_hz)
        return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the stream from `position`; it never ends."""
        with ExitStack() as stack:
            workers = max(1, self.num_workers)
            render = self._render if workers == 1 else stack.enter_context(away(self._render, workers))
            pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
            stack.callback(pool.shutdown, cancel_futures=True)
            ask: Ask = partial(pool.submit, render)
            ahead, pending = self.position, deque[tuple[int, list[Row], list[Future[np.ndarray]]]]()
            kept: dict[int, Future[np.ndarray]] = {}
            while True:
                while len(pending) <= self.num_workers:
                    rows = self._rows(ahead)
                    ahead += self.stride
                    pending.append((ahead, rows, [self._wave(index, ask, kept) for index, _ in rows]))
                self.position, rows, waves = pending.popleft()
                yield {**collate(rows, [wave.result() for wave in waves]), "position": self.position}

    def batch_at(self, position: int) -> Batch:
        """This rank's pieces from a position on."""
        rows = self._rows(position)
        return collate(rows, [self._render(index) for index, _ in rows])

    def _rows(self, position: int) -> list[Row]:
        lengths = self._config.lengths_s
        seconds = lengths[int(numpy_rng(self.seed, "train.scenes.length", position).integers(len(lengths)))]
        return [self._row(place, seconds) for place in self.places(position)]

    def _row(self, place: int, seconds: float) -> Row:
        count = self._config.num_scenes
        epoch, nth = divmod(place, count)
        rng = numpy_rng(self.seed, "train.scenes.piece", place)
        index = int(_order(self.seed, epoch, count)[nth])
        for _ in range(_MOST_TRIED):
            piece = piece_of(take_scene(index, self._config.scene_seed, "train"), seconds, self._rate_hz, rng)
            if piece is not None:
                return index, piece
            index = int(rng.integers(count))
        raise UsageError(
            f"judge.lengths_s {seconds} is longer than what sounds in the {count} scenes, of at most {_LONGEST_S:g} s: "
            "make it shorter, or judge.num_scenes more"
        )

    def _wave(self, index: int, ask: Ask, kept: dict[int, Future[np.ndarray]]) -> Future[np.ndarray]:
        if index in kept:
            return kept[index]
        asked = ask(index)
        if len(kept) < self._most_kept:
            kept[index] = asked
        return asked


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return numpy_rng(seed, "train.scenes.order", epoch).permutation(count)


def collate(rows: Sequence[Row], waves: Sequence[np.ndarray]) -> Batch:
    """The pieces of these scenes, of one length, as a batch without a position."""
    pieces = [wave[piece] for (_, piece), wave in zip(rows, waves, strict=True)]
    return {
        "wave": torch.from_numpy(np.stack(pieces)),
        "label": torch.tensor([index % len(NAMES) for index, _ in rows]),
        "keys": [f"scene {index}, sample {piece.start}" for index, piece in rows],
    }


def held_out_scenes(config: JudgeConfig, rate_hz: int, batch_size: int, workers: int = 0) -> list[Batch]:
    """A piece of every scene with a held-out combination of attributes that has one, the lengths taken in turn.

    Raises:
        UsageError: none has a piece.
    """
    indices = range(config.num_held_out)
    render = partial(take_wave, seed=config.scene_seed, split="heldout", rate_hz=rate_hz)
    waves = in_workers(render, indices, max(1, workers))
    batches = []
    for number, begin in enumerate(range(0, len(indices), batch_size)):
        seconds, found = config.lengths_s[number % len(config.lengths_s)], []
        for index, wave in zip(indices[begin : begin + batch_size], waves, strict=False):
            scene = take_scene(index, config.scene_seed, "heldout")
            piece = piece_of(scene, seconds, rate_hz, numpy_rng(config.scene_seed, "train.scenes.held_out", index))
            found += [] if piece is None else [((index, piece), wave)]
        batches += [collate(*zip(*found, strict=True))] if found else []
    if not batches:
        raise UsageError(
            f"judge.num_held_out {config.num_held_out} leaves no piece of {max(config.lengths_s)} s to judge by: "
            "give more scenes or shorter judge.lengths_s"
        )
    return batches
