"""The lesson `prior`: from the embedding of a caption to that of a picture, by diffusion.

|| f(z_t, t, c) - z ||^2, z a picture's embedding scaled by sqrt(E), z_t = a_t z + s_t noise, c its caption's embedding
(Ramesh et al. 2022, arXiv 2204.06125, section 2.2). Guarantee: figures come from pairs that are never trained on, those
of the card on the weights as they are read from the disk. Price: about 0.1 s per step of 256 on one core for the
bundled shape; before the first one `KNOWN_ROWS` are read, for the means that are kept with the prior.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipsonic.errors import SpecError, UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.measure import Known, Pairs, judge, table
from clipsonic.seeding import seed_for
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Held, Lesson, Losses, Shown
from clipsonic.train.streams.embeds import HELD_OUT, PairStream
from clipsonic.train.streams.pair_rows import Space

KNOWN_ROWS = 2**20
"""Most rows whose means are taken; the error of a mean is then a thousandth of the spread."""
JUDGED_IN_TRAINING = 256
"""Pairs on which a sample is drawn while the run goes on: each takes as many network calls as the prior has steps."""


class PriorLesson(Lesson):
    """A diffusion prior.

    Args:
        prior: with random weights, or those to begin with.
        known: means of what it is trained on.
        judging: held-out pairs for figures.
        clip: name of the CLIP, for the card.
        num_pairs: that it is trained on, for the card.
    """

    def __init__(self, prior: TextPrior, known: Known, judging: Pairs, clip: str, num_pairs: int) -> None:
        super().__init__()
        self.prior, self._known, self._judging, self._clip, self._num_pairs = prior, known, judging, clip, num_pairs
        self.diffusion = prior.core.whole
        self._judged_at, self._figures = -1, dict[str, float]()
        prior.means = known.means
        learning = {name for name, weight in self.learner.named_parameters() if weight.requires_grad}
        state = self.learner.state_dict()
        self._fixed = {name: value.clone() for name, value in state.items() if name not in learning}

    @property
    def shape(self) -> PriorShape:
        """Of the prior."""
        assert isinstance(self.prior.shape, PriorShape)
        return self.prior.shape

    @property
    def learner(self) -> nn.Module:
        """The network that says the picture."""
        return self.prior.core.network

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """Of each pair, (B,)."""
        total = self.shape.num_timesteps
        t_B = draws.of(lambda count, of: torch.randint(total, (count,), generator=of, device=of.device))
        noise_BE = draws.normal(self.shape.width)
        return Losses(self.prior.loss(batch["texts"], batch["images"], t_B, noise_BE))

    def identity(self) -> dict[str, Any]:
        """Shape and CLIP space."""
        return {"shape": asdict(self.shape), "fingerprint": self.prior.fingerprint}

    def units(self) -> set[type[nn.Module]]:
        """The transformer as a whole: its layers share one rotary embedding."""
        return {type(self.learner.get_submodule("causal_transformer"))}

    def figures(self, held: Held) -> dict[str, float]:
        """Cosine to the own picture and naming of kinds, beside what needs no prior."""
        if self._judged_at != held.step:
            some = self._judging.first(JUDGED_IN_TRAINING)
            self._judged_at, self._figures = held.step, judge(self.prior, self._known, some)
        return self._figures

    def show(self, held: Held) -> Iterable[Shown]:
        """The figures as a table."""
        yield Shown("figures/0", text=table(self.figures(held)))

    def facts(self) -> dict[str, Any]:
        """The CLIP space."""
        return {"fingerprint": self.prior.fingerprint, "clip": self._clip}

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """A prior's folder, with a card of the figures of what is in it."""
        device = self.prior.device
        saved = fresh_prior(self.shape, self.prior.fingerprint, self.prior.sample_steps, seed=0)
        saved.core.network.load_state_dict({**self._fixed, **weights}, strict=True)
        saved.means = self.prior.means
        saved.save(out)
        saved = TextPrior.from_folder(out, device)
        figures = judge(saved, self._known, self._judging)
        saved.card = self._card(figures, told)
        saved.save(out)
        then = f'clipsonic generate --model PIPELINE --prior {out} --text "a small glass bell" --out bell.wav'
        return {**figures, "fingerprint": saved.fingerprint, "next": f"hear what it does by {then}"}

    def _card(self, figures: dict[str, float], told: dict[str, Any]) -> str:
        shape, steps = self.shape, self.prior.sample_steps
        asked = "" if steps is None else f"{steps} of them asked in a sample, "
        return f"""# A small diffusion prior

From CLIP text embeddings to CLIP image embeddings, in the space `{self.prior.fingerprint}`
(`--prior.clip {self._clip}`).
dalle2-pytorch's DiffusionPrior, width {shape.width}, depth {shape.depth}, {shape.heads} heads of {shape.head_width},
{shape.num_timesteps} timesteps, {asked}cosine schedule, x_start prediction, text embedding as condition, no
guidance.
Trained by `clipsonic train --config prior` on {self._num_pairs} pairs, {told["steps"]} steps in {told["minutes"]:.1f}
minutes; `training.json` says how. Licence: Apache-2.0.

Measured on {len(self._judging.kinds)} pairs that training never saw:

{table(figures)}

`*_cosine`: mean cosine of the closed caption to its own picture. `*_kind_accuracy`: the nearest mean of pictures of a
kind is that of its own kind; `true_picture` is what the true picture's embedding reaches.
"""


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """A run on pairs; `init` is a prior's folder to begin with.

    Raises:
        UsageError: no pairs.
        CorpusError, FingerprintError: pairs that cannot be read, or do not go together.
        SpecError, CheckpointError: a prior of another shape or space to begin with, or none.
    """
    if not sources.pairs:
        raise UsageError("a prior learns from pairs: give --pairs with tars or with what clipsonic embed-pairs wrote")
    space, size = Space(config.prior.clip, config.run.device), config.optim.batch_size
    rows = space.open(sources.pairs)
    share = 0.0 if sources.val_pairs else config.data.val_share
    stream = PairStream(rows, size, config.run.seed, val_share=share, num_workers=config.data.num_workers)
    judged = space.open(sources.val_pairs) if sources.val_pairs else rows
    if judged is rows and not stream.held_out:
        space.notes.append("no pair is held out (data.val_share 0): the figures are measured on training pairs")
    if stream.batch_size < size:
        space.notes.append(f"batch size is {stream.batch_size} instead of {size}: there are no more pairs")
    looked_at = list(judged.one_of_each(stream.held_out or judged.spread(HELD_OUT), size))
    batches = [batch for batch, _ in looked_at]
    judging = Pairs(*_columns(batches), np.concatenate([kinds for _, kinds in looked_at]))
    lesson = PriorLesson(_prior(config, space, rows.width, init), _known(stream), judging, space.clip, stream.num_rows)
    return Course(lesson, stream, batches, space.notes, {**stream.report, "validation": len(judging.kinds)}, init)


def _columns(batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    texts, images = (torch.cat([batch[name] for batch in batches]) for name in ("texts", "images"))
    return texts, images


def _known(stream: PairStream) -> Known:
    known = Known(stream.rows.width)
    for rows, kinds in stream.look(KNOWN_ROWS):
        known.add(Pairs(rows.texts, rows.images, kinds))
    return known


def _prior(config: TrainConfig, space: Space, width: int, init: str | None) -> TextPrior:
    """The prior at its first step, in the space of its pairs."""
    assert space.fingerprint is not None
    how = config.prior
    shape = PriorShape(width, how.depth, how.heads, num_timesteps=how.timesteps)
    prior = fresh_prior(shape, space.fingerprint, how.sample_steps, config.run.seed)
    if init is not None:
        there = TextPrior.from_folder(init)
        if there.shape != shape:
            raise SpecError(f"--init {init} is a prior of {there.shape}, not {shape}: train with its --prior values")
        there.check_space(prior.fingerprint)
        prior.core.network.load_state_dict(there.core.network.state_dict(), strict=True)
    return prior


def fresh_prior(shape: PriorShape, fingerprint: str, sample_steps: int | None, seed: int) -> TextPrior:
    """A prior with random weights of this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "prior.weights"))
        return TextPrior(shape, fingerprint, sample_steps=sample_steps)
