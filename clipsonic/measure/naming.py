"""How many true sounds a judge names rightly, on scenes that it has never heard, with intervals.

Guarantee: the same pieces for every judge, of a seed that no training uses; half of the scenes have combinations of
attributes that training never draws. Price: 2,000 scenes rendered, about 25 s of one core, and 2,000 verdicts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from clipsonic.measure.judge import Judge
from clipsonic.measure.metrics import confusion, most_confused, wilson_interval
from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.scene import Split
from clipsonic.soundstage.takes import NAMES, as_float, piece_of, take_scene, take_wave
from clipsonic.workers import in_workers

Tables = Mapping[tuple[Split, float], np.ndarray]
"""Confusion counts (C, C) by split and by seconds of the pieces."""

_SEED = 90_001
_SPLITS: tuple[Split, ...] = ("heldout", "any")
_LENGTHS_S = (4.096, 2.56)


def naming_tables(judge: Judge, num_scenes: int = 1000, workers: int = 1) -> Tables:
    """What the judge calls one piece of every scene that has one, `num_scenes` of each split."""
    return {
        (split, seconds): table
        for split in _SPLITS
        for seconds, table in zip(_LENGTHS_S, _tables(judge, split, num_scenes, workers), strict=True)
    }


def _tables(judge: Judge, split: Split, num_scenes: int, workers: int) -> list[np.ndarray]:
    rate_hz, indices = judge.config.mel.sample_rate_hz, range(num_scenes)
    render = partial(take_wave, seed=_SEED, split=split, rate_hz=rate_hz)
    waves = list(in_workers(render, indices, workers))
    scenes = [take_scene(index, _SEED, split) for index in indices]
    tables = []
    for seconds in _LENGTHS_S:
        cuts = [piece_of(scenes[at], seconds, rate_hz, numpy_rng(_SEED, "crop", at)) for at in indices]
        kept = [(as_float(waves[at][cut]), NAMES.index(scenes[at].kind)) for at, cut in enumerate(cuts) if cut]
        pieces, labels = zip(*kept, strict=True)
        tables.append(confusion(np.array(labels), judge.verdicts(np.stack(pieces)).named, len(NAMES)))
    return tables


def naming_figures(tables: Tables) -> str:
    """The tables' shares and the commonest confusions, as Markdown."""
    lines = ["| scenes | crop | sounds | named rightly | 95 % interval |", "|---|---|---|---|---|"]
    for (split, seconds), table in tables.items():
        share = wilson_interval(int(table.trace()), int(table.sum()))
        lines.append(
            f"| {split} | {seconds} s | {table.sum()} | {share.value:.2%} | {share.low:.1%} to {share.high:.1%} |"
        )
    pairs = most_confused(np.sum(list(tables.values()), axis=0), NAMES, 8)
    said = "; ".join(f"{was} called {called} {share:.1%}" for was, called, share in pairs)
    return "\n".join([*lines, "", f"Most confused: {said or 'nothing'}."])


def confusion_table(table: np.ndarray, names: Sequence[str] = NAMES) -> str:
    """Confusion counts (C, C) as Markdown: a row for what it was, a column for what it was called."""
    rows = [[f"**{name}**", *(str(count or "") for count in row)] for name, row in zip(names, table, strict=True)]
    lines = [["", *names], ["---"] * (len(names) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
