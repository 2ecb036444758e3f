"""From rows of sounds to the figures of the table.

Guarantee: every row is scored by the same code, so the true sound, silence and a model differ by their sounds only;
figures that have no meaning for a corpus are not made. Price: one log-mel per sound, one verdict of the judge where
laws are known, N x N spectrogram distances where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.audio.wave import clipped_share, rms_db
from clipsonic.evaluate.embedders import AudioEmbedder, at_rate, cosine_distances
from clipsonic.evaluate.obedience import Heard, LawEars
from clipsonic.evaluate.rows import Row
from clipsonic.measure.distances import frechet_distance, kernel_distance, posterior_kl
from clipsonic.measure.judge import Judge, Verdicts
from clipsonic.measure.metrics import (
    Interval,
    bootstrap_interval,
    mean_abs_log_mel,
    own_ranks,
    pairwise_mel_difference,
    resampled_interval,
    wilson_interval,
)
from clipsonic.seeding import numpy_rng
from clipsonic.shards.selection import SILENT_RMS_DB
from clipsonic.specs import MelSpec

CLIPPED_SHARE = 0.001


class Scored(NamedTuple):
    """A row, its figures (plain values), and the judge's verdicts where there are laws."""

    row: Row
    figures: dict[str, Any]
    verdicts: Verdicts | None


class Scorer:
    """Scores rows against the true sounds.

    Args:
        waves: true sounds (N, T); a row of n sounds is heard against the first n.
        mel: the mel space of the distances.
        kinds: the true class of each item with the judge that names them, or None where no law is known.
        firsts: indexes of the items that open their video, for the share nearest to their own soundtrack.
        seed: of the resampled intervals.
        heard: the stretch of each item's scene, where laws are known.
        embed: what compares sounds where no law is known; None compares log-mels.
    """

    def __init__(
        self,
        waves: np.ndarray,
        mel: MelSpec,
        kinds: tuple[np.ndarray, Judge] | None,
        firsts: Sequence[int],
        seed: int,
        heard: Sequence[Heard] = (),
        embed: AudioEmbedder | None = None,
    ) -> None:
        self._log_mel, self._kinds, self._seed = LogMel(mel), kinds, seed
        self._ears = LawEars(heard, waves, mel.sample_rate_hz, seed) if heard else None
        self._firsts = list(firsts)
        self._true = self._mels(waves)
        self._embed = embed
        self._true_features = None if embed is None else embed(waves, mel.sample_rate_hz)
        self._true_verdicts = None if kinds is None else kinds[1].verdicts(self._at_judges_rate(waves))

    def score(self, row: Row) -> Scored:
        """The figures of a row."""
        if row.waves is None:
            return Scored(row, self._chance(), None)
        mels = self._mels(row.waves)
        distances = mean_abs_log_mel(mels, self._true[: len(mels)], self._log_mel.spec)
        figures: dict[str, Any] = {
            "num_sounds": len(mels),
            "mel_difference_db": as_dict(bootstrap_interval(distances, numpy_rng(self._seed, "evaluate.bootstrap"))),
            "silent_share": float(np.mean([rms_db(wave) < SILENT_RMS_DB for wave in row.waves])),
            "clipped_share": float(np.mean([clipped_share(wave) > CLIPPED_SHARE for wave in row.waves])),
            "seconds_per_sound": row.seconds_per_sound,
        }
        if self._kinds is None:
            return Scored(row, {**self._of_videos(row, mels), **figures}, None)
        verdicts = self._kinds[1].verdicts(self._at_judges_rate(row.waves))
        right = int((verdicts.named == self._kinds[0][: len(mels)]).sum())
        against_true = self._distances(verdicts, is_true=row.name == "true")
        laws = self._ears.figures(row.waves) if self._ears else {}
        return Scored(row, {"accuracy": share(right, len(mels)), **against_true, **figures, **laws}, verdicts)

    def _distances(self, verdicts: Verdicts, *, is_true: bool) -> dict[str, Any]:
        """The judge's features and posteriors against those of as many true sounds; of true sound, its halves."""
        assert self._true_verdicts is not None
        between_sets = self._between_sets(verdicts.features, self._true_verdicts.features, is_true=is_true)
        if not between_sets:
            return {}
        true = self._true_verdicts.probabilities[: len(verdicts.probabilities)]
        divergences = posterior_kl(true, verdicts.probabilities)
        rng = numpy_rng(self._seed, "evaluate.bootstrap")
        return {**between_sets, "posterior_kl": as_dict(bootstrap_interval(divergences, rng))}

    def _between_sets(self, made: np.ndarray, true: np.ndarray, *, is_true: bool) -> dict[str, Any]:
        """Distances of features (n, C) to the first n of the true ones; of true sound, between its halves."""
        count = len(made)
        if count < 4:
            return {}
        half = count // 2
        first, second = (made[:half], made[half : 2 * half]) if is_true else (true[:count], made)
        return {
            "frechet": self._distance(frechet_distance, first, second),
            "kernel": self._distance(lambda true, made: 1000.0 * kernel_distance(true, made), first, second),
        }

    def _distance(
        self, between: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray
    ) -> dict[str, float]:
        rng = numpy_rng(self._seed, "evaluate.bootstrap")
        resampled = resampled_interval(
            between(first, second), lambda at: between(first[at], second[at]), len(first), rng
        )
        return as_dict(resampled)

    def _chance(self) -> dict[str, Any]:
        """What guessing gives, known without a sound."""
        count = len(self._true)
        if self._kinds is None:
            return {"recall_at_1": _known(1 / count), "mean_rank": (count + 1) / 2}
        return {"accuracy": _known(1 / len(self._kinds[1].config.kinds))}

    def _of_videos(self, row: Row, mels: np.ndarray) -> dict[str, Any]:
        """Retrieval of the own soundtrack, by the embedder's features where there is one, and then their distances."""
        if self._embed is None or self._true_features is None:
            return self._retrieval(pairwise_mel_difference(mels, self._true[: len(mels)], self._log_mel.spec))
        assert row.waves is not None
        features = self._embed(row.waves, self._log_mel.spec.sample_rate_hz)
        found = self._retrieval(cosine_distances(features, self._true_features[: len(features)]))
        return {**found, **self._between_sets(features, self._true_features, is_true=row.name == "true")}

    def _retrieval(self, distances: np.ndarray) -> dict[str, Any]:
        """Where the own soundtrack stands among all, and among those of the other videos' first segments."""
        ranks = own_ranks(distances)
        figures: dict[str, Any] = {
            "recall_at_1": share(int((ranks == 1).sum()), len(ranks)),
            "mean_rank": float(ranks.mean()),
        }
        firsts = [place for place in self._firsts if place < len(ranks)]
        if firsts:
            first_ranks = own_ranks(distances[np.ix_(firsts, firsts)])
            figures["nearest_to_own"] = {"count": int((first_ranks == 1).sum()), "of": len(firsts)}
        return figures

    def _mels(self, waves: np.ndarray, batch_size: int = 32) -> np.ndarray:
        starts = range(0, len(waves), batch_size)
        return np.concatenate([self._log_mel(torch.from_numpy(waves[at : at + batch_size])).numpy() for at in starts])

    def _at_judges_rate(self, waves: np.ndarray) -> np.ndarray:
        assert self._kinds is not None
        return at_rate(waves, self._log_mel.spec.sample_rate_hz, self._kinds[1].config.mel.sample_rate_hz)


def as_dict(interval: Interval) -> dict[str, float]:
    """An interval as plain values."""
    return dict(interval._asdict())


def share(hits: int, total: int) -> dict[str, float]:
    return {**as_dict(wilson_interval(hits, total)), "hits": hits, "total": total}


def _known(value: float) -> dict[str, float]:
    """A share that is known and not measured: its interval is itself."""
    return {"value": value, "low": value, "high": value}
