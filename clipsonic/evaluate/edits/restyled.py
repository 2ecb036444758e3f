"""Rows of whole sounds that are changed: restyled to another picture at rising strengths, and varied without a prompt.

Guarantee: sources and targets are a derangement by kind (by video where kinds are unknown), one for all rows; naming is
made only where laws are known. Price: a sampled row costs the levels below its strength, FlowEdit two calls at each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clipsonic.diffusion.editing import Given, restyled, sample_given, start_of
from clipsonic.diffusion.sampling import StepFn, initial_noise
from clipsonic.evaluate.edits.ways import Model
from clipsonic.evaluate.embedders import at_rate
from clipsonic.evaluate.examples import Judged
from clipsonic.evaluate.material import Material
from clipsonic.evaluate.obedience import correlation, loudness_curve
from clipsonic.evaluate.score import as_dict, share
from clipsonic.measure.metrics import bootstrap_interval, derangement, mean_abs_log_mel
from clipsonic.seeding import numpy_rng

STRENGTHS = (0.25, 0.5, 0.75, 0.9)

Change = Callable[[np.ndarray, Tensor, Sequence[torch.Generator]], Tensor]
"""(places (B,), their x0 (B, M, F), a generator each) to the changed x0."""


def changed_rows(model: Model, material: Material, judged: Judged | None) -> list[dict[str, Any]]:
    """The rows of report.json: source and target alone, restyled both ways at each strength, and variations."""
    bench = _Bench(model, material, judged)
    rows = [
        bench.row("source", "source itself", "through the vocoder", lambda at, x0_BMF, _: x0_BMF),
        bench.row("target", "target's picture alone", "nothing given", bench.to_target(1.0)),
    ]
    for strength in STRENGTHS:
        about = "the source noised as far as the strength says, then sampled for the target's picture"
        rows.append(
            bench.row(f"restyle-{strength:g}", f"restyle, strength {strength:g}", about, bench.to_target(strength))
        )
    for strength in STRENGTHS:
        name, label = f"restyle-from-{strength:g}", f"restyle, source named, strength {strength:g}"
        rows.append(bench.row(name, label, "FlowEdit, from the source's own picture", bench.from_source(strength)))
    return [*rows, *(bench.variation(strength) for strength in STRENGTHS)]


class _Bench:
    """Sources in order, at most `num_others`, and their targets."""

    def __init__(self, model: Model, material: Material, judged: Judged | None) -> None:
        self._model, self._judged, self._seed = model, judged, model.making.seed
        items = material.items[: model.making.num_others]
        self._count, self._rate_hz = len(items), model.segment.mel.sample_rate_hz
        groups = [item.kind or item.source for item in items]
        self._targets = derangement(groups, numpy_rng(self._seed, "evaluate.edit.targets"))
        self._curves = [loudness_curve(wave, self._rate_hz) for wave in material.waves[: self._count]]

    def to_target(self, strength: float) -> Change:
        """From the noised source to the target's picture."""
        return self._sampled(strength, lambda at: self._prompted(self._targets[at]))

    def from_source(self, strength: float) -> Change:
        """FlowEdit, from the source's picture to the target's."""

        def change(at: np.ndarray, x0_BMF: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
            to_target, of_source = self._prompted(self._targets[at]), self._prompted(at)
            return restyled(to_target, of_source, *self._told(x0_BMF, generators, strength))

        return change

    def variation(self, strength: float) -> dict[str, Any]:
        """The row of variations without a prompt, with how far a second seed lies from the first."""
        change = self._sampled(strength, lambda at: self._model.bound(at, is_blind=True))
        label = f"variation, strength {strength:g}"
        mels_NMF, seconds = self._made(change, label)
        again_NMF, _ = self._made(change, f"{label} again", "evaluate.edit.again")
        figures = self._figures(mels_NMF, seconds)
        figures.pop("target_named", None)
        apart = mean_abs_log_mel(mels_NMF.numpy(), again_NMF.numpy(), self._model.segment.mel)
        figures["seeds_distance_db"] = self._interval(apart)
        return {"name": f"variation-{strength:g}", "label": label, "about": "no prompt", "figures": figures}

    def row(self, name: str, label: str, about: str, change: Change) -> dict[str, Any]:
        """What this change makes of the sources."""
        mels_NMF, seconds = self._made(change, label)
        return {"name": name, "label": label, "about": about, "figures": self._figures(mels_NMF, seconds)}

    def _prompted(self, at: np.ndarray) -> StepFn:
        return self._model.bound(at, guidance=self._model.changing)

    def _sampled(self, strength: float, bind: Callable[[np.ndarray], StepFn]) -> Change:
        return lambda at, x0_BMF, generators: sample_given(bind(at), *self._told(x0_BMF, generators, strength))

    def _told(self, x0_BMF: Tensor, generators: Sequence[torch.Generator], strength: float) -> tuple[Any, ...]:
        """What a sampler is told beside its networks: all of the sound may change, as far as the strength says."""
        everything = torch.ones(1, 1, 1, dtype=torch.bool, device=x0_BMF.device)
        noise_BMF = initial_noise(x0_BMF.shape[1:], generators)
        given = Given(x0_BMF, everything, start_of(strength))
        return self._model.objective, self._model.levels, noise_BMF, generators, given

    def _made(self, change: Change, what: str, purpose: str = "evaluate.edit") -> tuple[Tensor, float]:
        """Log-mels (n, M, F) of all sources changed, and the seconds that one took."""
        model, parts, started_s = self._model, [], time.perf_counter()
        with tqdm(total=self._count, desc=what, unit="sound", file=sys.stderr, mininterval=0.5) as bar:
            for start in range(0, self._count, model.making.batch_size):
                at = np.arange(start, min(start + model.making.batch_size, self._count))
                parts.append(change(at, model.x0_NMF[at].to(model.device), model.generators(at, purpose)).cpu())
                bar.update(len(at))
        return model.to_log_mel(torch.cat(parts)), (time.perf_counter() - started_s) / self._count

    def _figures(self, mels_NMF: Tensor, seconds: float) -> dict[str, Any]:
        waves, source_NMF = self._model.waves(mels_NMF), self._model.log_mels_NMF[: self._count]
        alike = [
            correlation(curve, loudness_curve(wave, self._rate_hz))
            for curve, wave in zip(self._curves, waves, strict=True)
        ]
        distances = mean_abs_log_mel(mels_NMF.numpy(), source_NMF.numpy(), self._model.segment.mel)
        return {
            "num_sounds": self._count,
            **self._named(waves),
            "loudness_correlation": self._interval(np.array(alike)),
            "source_distance_db": self._interval(distances),
            "seconds_per_sound": seconds,
        }

    def _named(self, waves: np.ndarray) -> dict[str, Any]:
        """How often the judge names the target, and how often still the source."""
        if self._judged is None:
            return {}
        kinds, judge = self._judged
        named = judge.verdicts(at_rate(waves, self._rate_hz, judge.config.mel.sample_rate_hz)).named
        source, target = kinds[: self._count], kinds[self._targets]
        return {
            "target_named": share(int((named == target).sum()), self._count),
            "source_named": share(int((named == source).sum()), self._count),
        }

    def _interval(self, values: np.ndarray) -> dict[str, float]:
        return as_dict(bootstrap_interval(values, numpy_rng(self._seed, "evaluate.bootstrap")))
