"""Training an adapter on a pipeline whose own weights stay: on a few videos of one's own, say.

Guarantee: only the adapter learns, so the pipeline that is saved still has the network it began with. Price: gradients
still flow through the whole network; with `adapter.keep` a step costs twice as much and one call more.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.guidance import Guidance
from clipsonic.diffusion.objective import sample_timesteps
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import global_condition
from clipsonic.models.lowrank import (
    LowRank,
    adapters_off,
    add_adapter,
    learning_weights,
    merged_weights,
    remove_adapter,
    set_adapter_weights,
    use_adapters,
)
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.adapter_folder import ADAPTER, Adapter, inside
from clipsonic.prior.bank import MAX_BANK, EmbedBank
from clipsonic.seeding import numpy_rng, seed_for, torch_generator
from clipsonic.specs import SegmentSpec
from clipsonic.train.average import Average
from clipsonic.train.clock import Clock
from clipsonic.train.condition import turned
from clipsonic.train.config import TrainConfig
from clipsonic.train.draws import Draws
from clipsonic.train.module import SoundModule

NUM_KEPT = 128
"""Sounds of the pipeline that `adapter.keep` holds on to: five of each of soundstage's kinds, 15 s to make."""


class AdapterModule(SoundModule):
    """A pipeline's denoiser with an adapter in training.

    Args:
        config: the run; `adapter.rank` is above 0.
        segment: the pipeline's.
        pipeline: whose network it is; it is taken over and must not be used elsewhere.
        clock: how far the run is.
        saved: the bank and the kept sounds of an earlier session; None makes them from the pipeline.

    Raises:
        UsageError: something of the bank is wanted and the pipeline has none.
    """

    bank_NE: Tensor
    kept_KMF: Tensor

    def __init__(
        self,
        config: TrainConfig,
        segment: SegmentSpec,
        pipeline: ClipSonicPipeline,
        clock: Clock,
        saved: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__(config, segment, *pipeline.mel_statistics, clock)
        self.pipeline = own_weights_only(pipeline)
        self.denoiser = self.pipeline.denoiser
        made = saved if saved is not None else self._material()
        self.register_buffer("bank_NE", made["bank_NE"].clone())
        self.register_buffer("kept_KMF", made["kept_KMF"].clone())
        self.shape = LowRank(config.adapter.rank, config.adapter.alpha, tuple(config.adapter.modules))
        add_adapter(self.denoiser, self.shape, ADAPTER, seed_for(config.run.seed, "train.adapter"))
        use_adapters(self.denoiser, {ADAPTER: 1.0})
        learning_weights(self.denoiser, ADAPTER)
        if saved is None and config.adapter.start is not None:
            self._begin_with(Path(config.adapter.start))
        self.average = Average(self.denoiser, config.ema.decay)

    def loss_and_time(
        self, batch: dict[str, Any], purpose: str, *indices: int, seeing: bool = False, ranks: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """The denoiser's loss (B,), and in training `adapter.keep` times how far it moved on what it made before."""
        loss_B, t_B = super().loss_and_time(batch, purpose, *indices, seeing=seeing, ranks=ranks)
        if seeing or self.config.adapter.keep == 0.0:
            return loss_B, t_B
        generator = torch_generator(self.config.run.seed, f"{purpose}.keep", *indices, device=str(self.device))
        return loss_B + self.config.adapter.keep * self.moved(Draws(generator, len(loss_B), *ranks)), t_B

    def sampling(self) -> tuple[Any, int, Guidance]:
        """Those of the pipeline that is trained on, which stay."""
        return self.pipeline.solver, *self.pipeline.sampling()

    def moved(self, draws: Draws) -> Tensor:
        """w(t) || D(x_t, t, c) - D_0(x_t, t, c) ||^2 of noised kept sounds, (B,); D_0 is without the adapter.

        Prior preservation (Ruiz et al. 2022, arXiv 2208.12242, section 3.3), on predictions instead of samples.
        """
        place_B = draws.of(partial(places, len(self.kept_KMF)))
        x0_BMF, embeds_BE = self.kept_KMF[place_B], self.bank_NE[place_B]
        how = self.config.condition
        sees_B = draws.uniform() >= how.dropout
        if how.embed_noise_std > 0.0:
            embeds_BE = turned(embeds_BE, draws.normal(embeds_BE.shape[-1]), how.embed_noise_std)
        condition = global_condition(embeds_BE).keep_where(sees_B)
        t_B = draws.of(partial(sample_timesteps, self.objective))
        noise_BMF = draws.normal(*x0_BMF.shape[1:])
        x_BMF, timestep_B = self.objective.add_noise(x0_BMF, noise_BMF, t_B), self.objective.timestep(t_B)
        with torch.no_grad(), adapters_off(self.denoiser):
            before_BMF = self.denoiser(x_BMF, timestep_B, condition)
        far_BMF = (self.denoiser(x_BMF, timestep_B, condition) - before_BMF).float()
        loss_B: Tensor = self.objective.weight(t_B).float() * far_BMF.square().mean(dim=(1, 2))
        return loss_B

    def _material(self) -> dict[str, Tensor]:
        """The pipeline's bank in an order drawn from the seed, and what the pipeline makes of its first pictures."""
        keeping, bank = self.config.adapter.keep > 0.0, self.pipeline.bank
        if bank is None and (keeping or (self.config.distill.steps and self.config.distill.bank_share > 0.0)):
            raise UsageError(
                "adapter.keep and distill.bank_share need a bank of pictures, --init has none: set both to 0"
            )
        space = self.segment
        kept_KMF = torch.zeros(0, space.mel.num_mels, space.num_mel_frames)
        if bank is None:
            return {"bank_NE": torch.zeros(0, space.embed_width), "kept_KMF": kept_KMF}
        order = numpy_rng(self.config.run.seed, "train.adapter.bank").permutation(len(bank.images))
        bank_NE = bank.images[torch.from_numpy(order)]
        if keeping:
            kept_KMF = self._sounds_of(bank_NE[:NUM_KEPT])
        return {"bank_NE": bank_NE, "kept_KMF": kept_KMF}

    def _sounds_of(self, embeds_KE: Tensor, batch: int = 32) -> Tensor:
        """What the pipeline makes of these pictures, (K, M, F) in model space."""
        self.pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        seed, mels = self.config.run.seed, []
        for start in range(0, len(embeds_KE), batch):
            part_BE = embeds_KE[start : start + batch]
            generators = [torch_generator(seed, "train.adapter.kept", start + item) for item in range(len(part_BE))]
            mels.append(self.pipeline(embeds=part_BE.numpy(), generator=generators, output_type="mel").mels)
        return self.to_model_space(torch.cat([torch.from_numpy(mel) for mel in mels]))

    def _begin_with(self, folder: Path) -> None:
        """Another run's adapter; that it was trained on other weights is no matter here.

        Raises:
            UsageError: there is none, or it is of another shape.
        """
        found = Adapter.from_folder(inside(folder))
        if found.shape != self.shape:
            raise UsageError(f"adapter.start {folder} is of {found.shape} and the run's of {self.shape}: use its shape")
        set_adapter_weights(self.denoiser, ADAPTER, found.weights, str(folder))


def places(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Places in a list of this size, (count,), uniform."""
    return torch.randint(size, (count,), generator=generator, device=generator.device)


def own_weights_only(pipeline: ClipSonicPipeline) -> ClipSonicPipeline:
    """The pipeline with its adapter, if it has one, worked into its denoiser, in float32."""
    weights = merged_weights(pipeline.denoiser.float())
    pipeline.unload_adapter()
    pipeline.denoiser.load_state_dict(weights, strict=True)
    return pipeline


def save_adapted(module: AdapterModule, bank: EmbedBank, out: Path) -> None:
    """Write the pipeline folder: the pipeline's own network and parts with the averaged adapter, or with it merged.

    `bank` is the corpus's; an adapter that makes other sounds adds it to the pipeline's, few steps leave that as it is.
    """
    module.cpu()
    module.average.ema.to("cpu")
    pipeline, how = module.pipeline, module.config
    with module.averaged():
        found = Adapter.taken_from(module.denoiser, ADAPTER, module.shape)
        merged = merged_weights(module.denoiser)
    remove_adapter(module.denoiser, ADAPTER)
    if how.distill.steps:
        found = replace(found, steps=how.distill.steps, flow_shift=flow_shift_of(module))
    if how.adapter.merge:
        module.denoiser.load_state_dict(merged, strict=True)
    else:
        pipeline.put_adapter(found, out)
    if not how.distill.steps:
        pipeline.card = None
        pipeline.set_bank(_joined(bank, pipeline.bank))
    pipeline.save_pretrained(out)


def flow_shift_of(module: AdapterModule) -> float:
    """How much the few steps lean to high noise: as the config says, else as the pipeline's scheduler does."""
    asked = module.config.distill.flow_shift
    return float(module.pipeline.scheduler.config.get("shift", 1.0)) if asked is None else asked


def _joined(new: EmbedBank, old: EmbedBank | None) -> EmbedBank:
    """All of the new pictures and as many of the old as there is room for."""
    if old is None:
        return new
    return EmbedBank(torch.cat([new.images, old.images])[:MAX_BANK], new.fingerprint)
