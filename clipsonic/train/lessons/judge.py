"""The lesson `judge`: to name the kind of a soundstage sound, whatever codec or room it has been through.

Its loss is the cross entropy of the kind, with smoothed labels and on worsened sounds while it learns. Guarantee: only
true synthesized sound is ever heard; the folder's card says what the saved weights, rounded to float16, name rightly.
Price: 12 ms of a core for each scene, once, and 25 s of one at the end for the card.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipsonic.audio.mel import LogMel
from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.measure.judge import Judge, JudgeConfig
from clipsonic.measure.metrics import confusion
from clipsonic.measure.naming import confusion_table, naming_figures, naming_tables
from clipsonic.seeding import seed_for
from clipsonic.shards.crops import as_float
from clipsonic.soundstage.takes import NAMES
from clipsonic.specs import MelSpec
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Held, Lesson, Losses, Shown
from clipsonic.train.engine.norm import over_processes
from clipsonic.train.lessons.figures_of_sound import picture_of
from clipsonic.train.lessons.worsening import hide, worsen
from clipsonic.train.streams.scenes import SceneStream, held_out_scenes

LABEL_SMOOTHING = 0.05
NUM_SHOWN = 3


class JudgeLesson(Lesson):
    """A judge of random weights that learns from a stream of scenes."""

    def __init__(self, config: TrainConfig, mel: MelSpec) -> None:
        super().__init__()
        self._config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(config.run.seed, "train.weights"))
            self.judge = Judge(JudgeConfig(mel=mel))
        over_processes(self.judge)

    @property
    def learner(self) -> nn.Module:
        """The judge."""
        return self.judge

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """Cross entropy of each item's kind; the share that is named rightly is logged."""
        wave_BT = as_float(batch["wave"])
        picture_B1MF = self._worsened(wave_BT, draws) if self.training else self.judge.picture(wave_BT)
        logits_BC, _ = self.judge.judge_picture(picture_B1MF)
        smoothing = LABEL_SMOOTHING if self.training else 0.0
        loss_B = nn.functional.cross_entropy(
            logits_BC.float(), batch["label"], reduction="none", label_smoothing=smoothing
        )
        right_B = (logits_BC.argmax(dim=1) == batch["label"]).float()
        return Losses(loss_B, {"named_rightly": (right_B, torch.ones_like(right_B))})

    @torch.no_grad()
    def _worsened(self, wave_BT: Tensor, draws: Draws) -> Tensor:
        shares = [draws.uniform() for _ in range(7)]
        noise_BT = draws.normal(wave_BT.shape[1])
        low_pass_B, tilt_B, level_B, *stretches = shares
        worse_BT = worsen(wave_BT, noise_BT, low_pass_B, tilt_B, level_B, self.judge.config.mel.sample_rate_hz)
        return hide(self.judge.picture(worse_BT), *stretches)

    def identity(self) -> dict[str, Any]:
        """What is heard, and what it is called."""
        return {"mel": self.judge.config.mel.to_dict(), "kinds": list(self.judge.config.kinds)}

    def figures(self, held: Held) -> dict[str, float]:
        """The share of held-out pieces that is named rightly."""
        table = self._confusion(held)
        return {"val_named_rightly": float(table.trace() / table.sum())}

    def show(self, held: Held) -> Iterable[Shown]:
        """What is called what, and some pieces with what they are called."""
        yield Shown("confusion", text=confusion_table(self._confusion(held)))
        batch, mel = held.batches[0], self.judge.config.mel
        both = zip(batch["label"], self._named(batch), strict=True)
        for item, (label, called) in enumerate(itertools.islice(both, NUM_SHOWN)):
            wave_T = as_float(batch["wave"][item])
            picture = picture_of(LogMel(mel)(wave_T[None])[0], mel)
            text = f"{NAMES[label]}, called {NAMES[called]}"
            yield Shown(f"heard/{item}", picture, wave_T.numpy(), mel.sample_rate_hz, text)

    def _confusion(self, held: Held) -> np.ndarray:
        true, named = ([part(batch) for batch in held.batches] for part in (lambda one: one["label"], self._named))
        return confusion(torch.cat(true).numpy(), torch.cat(named).numpy(), len(NAMES))

    def _named(self, batch: Batch) -> Tensor:
        wave_BT = as_float(batch["wave"].to(self.judge.head.weight.device))
        logits_BC: Tensor = self.judge(wave_BT)[0]
        return logits_BC.argmax(dim=1).cpu()

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """Write the judge's folder and what it names rightly."""
        config = self._config
        judge = Judge(self.judge.config)
        judge.load_state_dict({**self.judge.state_dict(), **weights}, strict=True)
        judge.save(out)
        tables = naming_tables(Judge.load(out), config.judge.num_held_out, config.data.num_workers or 1)
        how = config.judge
        lengths = " or ".join(f"{seconds:g}" for seconds in sorted(set(how.lengths_s), reverse=True))
        text = CARD.format(
            num_kinds=len(NAMES), num_weights=sum(weight.numel() for weight in judge.parameters()),
            size=(out / "model.safetensors").stat().st_size / 1e6, mel=judge.config.mel, judge=judge.config,
            num_scenes=how.num_scenes, seed=how.scene_seed, lengths=lengths,
            epochs=told["steps"] * config.optim.batch_size * config.optim.accumulate / how.num_scenes,
            figures=naming_figures(tables),
        )  # fmt: skip
        write_whole(out / "card.md", text.encode())
        named = {
            f"{split}, {seconds:g} s": float(table.trace() / table.sum()) for (split, seconds), table in tables.items()
        }
        return {"named_rightly": named, "next": f"{out}/card.md says what it names rightly"}


CARD = """# The judge

A convolutional classifier of the {num_kinds} soundstage kinds: {num_weights:,} weights, {size:.2f} MB in float16. It
looks at {mel.num_mels} log-mel bands ({mel.sample_rate_hz} Hz, n_fft {mel.n_fft}, hop {mel.hop_length}) of any sound
from {judge.min_seconds:g} s up, level-free, {judge.range_db:g} dB deep, and gives a verdict and {judge.num_features}
features. `clipsonic evaluate` uses it to name what a sound model made.

Trained on true synthesized sound only: {num_scenes:,} scenes (seed {seed}, split `train`), one random piece of
{lengths} s per scene and epoch, {epochs:.3g} epochs, with random low-pass, tilt, noise and blanked stretches. It never
heard the output of a sound model or of a vocoder, or a decoded file. Licence: Apache-2.0, as the project. Made by
`clipsonic train --config judge --out FOLDER`.

## Measured

On scenes of another seed; `heldout` scenes have attribute combinations that training never draws. Printed by
`python scripts/check_judge.py FOLDER`:

{figures}

## Limits

It knows the soundstage and nothing else: on any other sound its verdict means nothing, so `clipsonic evaluate` prints
no verdicts on corpora without known laws. It always names one kind, on silence too.
"""


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """A judge of random weights and the scenes it learns from.

    Raises:
        UsageError: data or weights are given, or no scene has a piece as long as it is to hear.
    """
    if init is not None or sources != Sources():
        raise UsageError("the lesson judge begins anew and renders what it hears: leave out --init and data")
    mel, how = MelSpec.of(config.segment), config.data
    common = (config.judge, mel.sample_rate_hz, config.optim.batch_size)
    stream = SceneStream(*common, config.run.seed, workers=how.num_workers, cache_mb=how.cache_mb)
    held_out = held_out_scenes(*common, how.num_workers)
    summary = {**stream.report, "validation": sum(len(batch["keys"]) for batch in held_out)}
    return Course(JudgeLesson(config, mel), stream, held_out, summary=summary)
