"""The lesson `adapter`: a low-rank adapter learns the soundtrack of a few videos, beside a pipeline that stays.

Its loss is the denoiser's, and `adapter.keep` times how far the network moved on what it made before. Price: with
`adapter.keep` a step costs twice as much and one call more.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.objective import sample_timesteps
from clipsonic.models.conditioner import global_condition
from clipsonic.models.lowrank import adapters_off
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Losses
from clipsonic.train.lessons.adapted import Adapted, adapted, joined, places
from clipsonic.train.lessons.condition import turned
from clipsonic.train.lessons.denoising import Denoising, by_time
from clipsonic.train.lessons.figures_of_sound import Heard
from clipsonic.train.lessons.sampled import Sampling
from clipsonic.train.lessons.sound import told_in_card
from clipsonic.train.streams.records import TrainData


class AdapterLesson(Heard):
    """An adapter that learns from the records of corpora."""

    def __init__(self, found: Adapted, data: TrainData) -> None:
        super().__init__()
        self.adapted, self._data = found, data

    @property
    def sound(self) -> Denoising:
        """The pipeline's denoiser, of which the adapter learns."""
        return self.adapted.sound

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """The denoiser's loss, and in training `adapter.keep` times how far it moved on what it made before."""
        loss_B, t_B = self.sound.loss_and_time(batch, draws)
        keep = self.adapted.config.adapter.keep
        return by_time(loss_B + keep * self.moved(draws.aside("keep")) if self.training and keep else loss_B, t_B)

    def moved(self, draws: Draws) -> Tensor:
        """w(t) || D(x_t, t, c) - D_0(x_t, t, c) ||^2 of noised kept sounds, (B,); D_0 is without the adapter.

        Prior preservation (Ruiz et al. 2022, arXiv 2208.12242, section 3.3), on predictions instead of samples.
        """
        sound, how = self.sound, self.adapted.config.condition
        place_B = draws.of(partial(places, len(self.adapted.kept_KMF)))
        x0_BMF, embeds_BE = self.adapted.kept_KMF[place_B], self.adapted.bank_NE[place_B]
        sees_B = draws.uniform() >= how.dropout
        if how.embed_noise_std > 0.0:
            embeds_BE = turned(embeds_BE, draws.normal(embeds_BE.shape[-1]), how.embed_noise_std)
        condition = global_condition(embeds_BE).keep_where(sees_B)
        t_B = draws.of(partial(sample_timesteps, sound.objective))
        noise_BMF = draws.normal(*x0_BMF.shape[1:])
        x_BMF, timestep_B = sound.objective.add_noise(x0_BMF, noise_BMF, t_B), sound.objective.timestep(t_B)
        with torch.no_grad(), adapters_off(sound.denoiser):
            before_BMF = sound.denoiser(x_BMF, timestep_B, condition)
        far_BMF = (sound.denoiser(x_BMF, timestep_B, condition) - before_BMF).float()
        loss_B: Tensor = sound.objective.weight(t_B).float() * far_BMF.square().mean(dim=(1, 2))
        return loss_B

    def begin(self, device: torch.device) -> None:
        """Make the kept sounds."""
        self.adapted.make_kept(device)

    def identity(self) -> dict[str, Any]:
        """That of network and adapter."""
        return self.adapted.identity()

    def sampling(self) -> Sampling:
        """As the pipeline samples."""
        pipeline = self.adapted.pipeline
        return Sampling(pipeline.solver, *pipeline.sampling())

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """Write the pipeline folder: its own network and parts with the adapter, or with it worked in.

        An adapter that makes other sounds adds its corpus's pictures to the pipeline's bank.
        """
        pipeline, config = self.adapted.pipeline, self.adapted.config
        found, merged = self.adapted.taken(weights)
        if config.adapter.merge:
            self.adapted.denoiser.load_state_dict(merged, strict=True)
        else:
            pipeline.put_adapter(found, out)
        pipeline.card = None
        pipeline.set_bank(joined(self._data.bank(config.data.bank_size), pipeline.bank))
        pipeline.save_pretrained(out)
        return told_in_card(out, told)


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """An adapter at its beginning, or one that goes on. Raises as `adapted`."""
    found, data = adapted(config, sources, init, saved)
    return Course(AdapterLesson(found, data), data.loader, data.val_batches, data.notes, data.summary(), init)
