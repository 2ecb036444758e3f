"""The rows of one task: every way of filling what is missing, by error, seam and naming together.

Guarantee: a row is scored with the given cells put back, whoever left them changed, and what had moved is a figure of
its own; differences are paired by sound; the true sound is scored as itself. Price: for each way one fill, one pass of
the vocoder and one verdict of the judge per sound.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clipsonic.evaluate.edits.figures import drift_db, error_db, seam_db
from clipsonic.evaluate.edits.tasks import Task
from clipsonic.evaluate.edits.ways import AUDIOLDM, Model, Way, ways_for
from clipsonic.evaluate.embedders import at_rate
from clipsonic.evaluate.examples import Judged
from clipsonic.evaluate.score import as_dict, share
from clipsonic.measure.judge import Verdicts
from clipsonic.measure.metrics import bootstrap_interval
from clipsonic.seeding import numpy_rng

TRUE = "true"


class FilledRow(NamedTuple):
    """One way on one task: plain figures, and the waves of the items that can be heard, by place."""

    task: Task
    name: str
    label: str
    about: str
    figures: dict[str, Any]
    waves: dict[int, np.ndarray]
    verdicts: Verdicts | None

    @property
    def plain(self) -> dict[str, Any]:
        """For report.json."""
        name, label = f"{self.task.name}/{self.name}", f"{self.task.label}: {self.label}"
        return {"name": name, "label": label, "about": self.about, "figures": self.figures}


def filled_rows(
    task: Task, model: Model, true_waves: np.ndarray, judged: Judged | None, heard_places: list[int]
) -> list[FilledRow]:
    """All ways on this task, the true sound first.

    Args:
        true_waves: (N, T).
        judged: true classes and judge, where laws are known.
        heard_places: items whose waves are kept.
    """
    made_NMF = torch.stack([model.mask(task, place) for place in range(len(model.x0_NMF))])
    scorer = _TaskScorer(task, model, made_NMF, judged, heard_places)
    true = scorer.row(_TRUE_WAY, model.log_mels_NMF, None, true_waves)
    rows, errors = [true], {}
    for way in ways_for(task, model):
        x_BMF, seconds = _filled(way, task, model, made_NMF)
        mels_BMF = model.to_log_mel(x_BMF)
        errors[way.name] = scorer.errors(mels_BMF)
        rows.append(scorer.row(way, mels_BMF, seconds))
    return [_compared(row, errors, model.making.seed) for row in rows]


_TRUE_WAY = Way(TRUE, "true sound", "the soundtrack itself", lambda x0_BMF, made_BMF, at: x0_BMF)


def _filled(way: Way, task: Task, model: Model, made_NMF: Tensor) -> tuple[Tensor, float]:
    """What this way makes of the first n items (n, M, F), in the model's space, and the seconds that one took."""
    count = len(made_NMF) if way.is_compared else len(made_NMF[: model.making.num_others])
    parts, started_s = [], time.perf_counter()
    with tqdm(total=count, desc=f"{task.label}: {way.label}", unit="sound", file=sys.stderr, mininterval=0.5) as bar:
        for start in range(0, count, model.making.batch_size):
            at = np.arange(start, min(start + model.making.batch_size, count))
            x0_BMF, made_BMF = (values[at].to(model.device) for values in (model.x0_NMF, made_NMF))
            parts.append(way.fill(x0_BMF, made_BMF, at).cpu())
            bar.update(len(at))
    return torch.cat(parts), (time.perf_counter() - started_s) / count


class _TaskScorer:
    """Scores ways on one task; a row of n sounds is held against the first n true ones."""

    def __init__(
        self, task: Task, model: Model, made_NMF: Tensor, judged: Judged | None, heard_places: list[int]
    ) -> None:
        self._task, self._model, self._judged, self._heard = task, model, judged, heard_places
        self._true, self._made = model.log_mels_NMF.numpy(), made_NMF.numpy()
        least_s = judged[1].config.min_seconds if judged else 0.0
        self._stretch = samples_of(task.stretch(made_NMF[0]), model, least_s)

    def errors(self, mels_BMF: Tensor) -> np.ndarray:
        """Of each sound, in the made cells."""
        count = len(mels_BMF)
        return error_db(mels_BMF.numpy(), self._true[:count], self._made[:count], self._model.segment.mel)

    def row(self, way: Way, mels_BMF: Tensor, seconds: float | None, waves: np.ndarray | None = None) -> FilledRow:
        """The row of these log-mels, heard through the vocoder unless the waves are known."""
        count, mel = len(mels_BMF), self._model.segment.mel
        mels, true, made = mels_BMF.numpy(), self._true[:count], self._made[:count]
        pasted = np.where(made, mels, true)
        figures: dict[str, Any] = {
            "num_sounds": count,
            "error_db": self._interval(error_db(mels, true, made, mel)),
            "seam_db": self._interval(seam_db(pasted, made, mel)),
            "drift_db": self._interval(drift_db(mels, true, made, mel)),
            "seconds_per_sound": seconds,
        }
        if self._judged is None and not self._heard:
            return FilledRow(self._task, way.name, way.label, way.about, figures, {}, None)
        if waves is None:
            waves = self._model.waves(torch.from_numpy(pasted))
        verdicts = self._verdicts(waves)
        if verdicts is not None and self._judged is not None:
            right = int((verdicts.named == self._judged[0][:count]).sum())
            figures["stretch_named"] = share(right, count)
        kept = {place: waves[place] for place in self._heard if place < count}
        return FilledRow(self._task, way.name, way.label, way.about, figures, kept, verdicts)

    def _verdicts(self, waves: np.ndarray) -> Verdicts | None:
        if self._judged is None:
            return None
        rate_hz, judge = self._model.segment.mel.sample_rate_hz, self._judged[1]
        return judge.verdicts(at_rate(waves[:, self._stretch], rate_hz, judge.config.mel.sample_rate_hz))

    def _interval(self, values: np.ndarray) -> dict[str, float]:
        return as_dict(bootstrap_interval(values, numpy_rng(self._model.making.seed, "evaluate.bootstrap")))


def samples_of(stretch: slice | None, model: Model, least_s: float) -> slice:
    """The samples of a stretch of columns, widened evenly to `least_s`; of no stretch, all."""
    mel, whole = model.segment.mel, model.segment.num_samples
    if stretch is None:
        return slice(0, whole)
    start, stop = (round(mel.start_s(column) * mel.sample_rate_hz) for column in (stretch.start, stretch.stop))
    length = max(stop - start, round(least_s * mel.sample_rate_hz))
    first = min(max(0, start - (length - (stop - start)) // 2), whole - length)
    return slice(first, first + length)


def _compared(row: FilledRow, errors: dict[str, np.ndarray], seed: int) -> FilledRow:
    """The row with how much smaller its error is than AudioLDM's way's, sound by sound."""
    if row.name not in errors or row.name == AUDIOLDM:
        return row
    own = errors[row.name]
    gain = bootstrap_interval(errors[AUDIOLDM][: len(own)] - own, numpy_rng(seed, "evaluate.bootstrap"))
    return row._replace(figures={**row.figures, "below_audioldm_db": as_dict(gain)})
