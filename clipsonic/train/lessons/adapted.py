"""A pipeline's denoiser with an adapter in training: what the lessons `adapter` and `fewstep` share.

Guarantee: only the adapter learns, so the pipeline that is saved still has the network it began with. Price: gradients
still flow through the whole network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipsonic.errors import UsageError
from clipsonic.models.lowrank import (
    LowRank,
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
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.lessons.denoising import Denoising
from clipsonic.train.lessons.init import pipeline_to_adapt
from clipsonic.train.streams.records import TrainData, data_of

NUM_KEPT = 128
"""Sounds of the pipeline that `adapter.keep` holds on to: five of each of soundstage's kinds, 15 s to make."""


class Adapted(nn.Module):
    """A pipeline and the adapter that is trained on it.

    Args:
        config: the run; `adapter.rank` is above 0.
        pipeline: whose network it is; it is taken over and must not be used elsewhere.
        saved: the bank and the kept sounds of an earlier session; None makes them from the pipeline.

    Raises:
        UsageError: something of the bank is wanted and the pipeline has none.
    """

    bank_NE: Tensor
    kept_KMF: Tensor

    def __init__(
        self, config: TrainConfig, pipeline: ClipSonicPipeline, saved: dict[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.config, self.pipeline = config, pipeline
        self.sound = Denoising(config, pipeline.segment, pipeline.denoiser, *pipeline.mel_statistics)
        made = saved if saved is not None else self._material()
        for name in ("bank_NE", "kept_KMF"):
            self.register_buffer(name, made[name].clone())
        self.shape = LowRank(config.adapter.rank, config.adapter.alpha, tuple(config.adapter.modules))
        add_adapter(self.denoiser, self.shape, ADAPTER, seed_for(config.run.seed, "train.adapter"))
        use_adapters(self.denoiser, {ADAPTER: 1.0})
        learning_weights(self.denoiser, ADAPTER)
        if saved is None and config.adapter.start is not None:
            self._begin_with(Path(config.adapter.start))

    @property
    def denoiser(self) -> Any:
        """The network, of which only the adapter learns."""
        return self.sound.denoiser

    def identity(self) -> dict[str, Any]:
        """That of the network, and what is trained on it."""
        values = self.config.to_dict()
        return {**self.sound.identity(), "adapter": values["adapter"], "distill": values["distill"]}

    def taken(self, weights: dict[str, Tensor]) -> tuple[Adapter, dict[str, Tensor]]:
        """The adapter of these weights, and the network's own with it worked in; the network is then without it."""
        self.cpu()
        self.denoiser.load_state_dict({**self.denoiser.state_dict(), **weights}, strict=True)
        found, merged = Adapter.taken_from(self.denoiser, ADAPTER, self.shape), merged_weights(self.denoiser)
        remove_adapter(self.denoiser, ADAPTER)
        return found, merged

    def _material(self) -> dict[str, Tensor]:
        """The pipeline's bank in an order drawn from the seed, and what the pipeline makes of its first pictures."""
        keeping, bank = self.config.adapter.keep > 0.0, self.pipeline.bank
        if bank is None and (keeping or (self.config.distill.steps and self.config.distill.bank_share > 0.0)):
            raise UsageError(
                "adapter.keep and distill.bank_share need a bank of pictures, --init has none: set both to 0"
            )
        space = self.pipeline.segment
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
        return self.sound.to_model_space(torch.cat([torch.from_numpy(mel) for mel in mels]))

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


def adapted(
    config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None
) -> tuple[Adapted, TrainData]:
    """A pipeline with an adapter to be trained, and the records that it is trained on.

    Raises:
        UsageError: no pipeline, or one without a bank where something of it is wanted.
        SpecError: it is not the config's and the corpus's.
    """
    data = data_of(config, sources)
    mine = None if saved is None else {name: saved[f"adapted.{name}"] for name in ("bank_NE", "kept_KMF")}
    found = Adapted(config, pipeline_to_adapt(init, config, data.segment), mine)
    learning = sum(weight.numel() for weight in found.denoiser.parameters() if weight.requires_grad)
    if saved is None:
        data.notes.append(f"an adapter of {learning} weights on {init}")
    return found, data


def joined(new: EmbedBank, old: EmbedBank | None) -> EmbedBank:
    """All of the new pictures and as many of the old as there is room for."""
    if old is None:
        return new
    return EmbedBank(torch.cat([new.images, old.images])[:MAX_BANK], new.fingerprint)
