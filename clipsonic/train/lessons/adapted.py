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
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.lessons.denoising import Denoising
from clipsonic.train.lessons.init import pipeline_to_adapt
from clipsonic.train.streams.records import TrainData, data_of

NUM_KEPT = 128
"""Sounds of the pipeline that `adapter.keep` holds on to: five of each of soundstage's kinds, 15 s to make."""
KEPT_BATCH = 32


class Adapted(nn.Module):
    """A pipeline and the adapter that is trained on it.

    Args:
        config: the run; `adapter.rank` is above 0.
        pipeline: whose network it is; it is taken over and must not be used elsewhere.
        saved: the bank and the kept sounds of an earlier session; None takes the bank from the pipeline, and the kept
            sounds are silent until they are made.

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
        material = saved if saved is not None else self._material()
        for name in ("bank_NE", "kept_KMF"):
            self.register_buffer(name, material[name].clone())
        self._unmade = saved is None
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

    @torch.no_grad()
    def make_kept(self, device: torch.device) -> None:
        """Let the pipeline without the adapter make a new run's kept sounds on this device, each in one process only.

        Which of the processes makes a sound, and how many there are, changes nothing of it.
        """
        if not self._unmade:
            return
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, ranks = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if several else (0, 1)
        kept_KMF = torch.zeros_like(self.kept_KMF, device=device)
        self.pipeline.to(device).set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        with adapters_off(self.denoiser):
            for start in range(0, len(kept_KMF), KEPT_BATCH)[rank::ranks]:
                kept_KMF[start : start + KEPT_BATCH] = self._sounds_from(start)
        if several:
            torch.distributed.all_reduce(kept_KMF)  # whoever has not made a sound holds zeros there
        self.kept_KMF, self._unmade = kept_KMF.to(self.kept_KMF.device), False

    def _material(self) -> dict[str, Tensor]:
        """The pipeline's bank in an order drawn from the seed, and room for what it makes of its first pictures."""
        keeping, bank = self.config.adapter.keep > 0.0, self.pipeline.bank
        if bank is None and (keeping or (self.config.distill.steps and self.config.distill.bank_share > 0.0)):
            raise UsageError(
                "adapter.keep and distill.bank_share need a bank of pictures, --init has none: set both to 0"
            )
        space = self.pipeline.segment
        bank_NE = torch.zeros(0, space.embed_width)
        if bank is not None:
            order = numpy_rng(self.config.run.seed, "train.adapter.bank").permutation(len(bank.images))
            bank_NE = bank.images[torch.from_numpy(order)]
        count = min(len(bank_NE), NUM_KEPT) if keeping else 0
        return {"bank_NE": bank_NE, "kept_KMF": torch.zeros(count, space.mel.num_mels, space.num_mel_frames)}

    def _sounds_from(self, start: int) -> Tensor:
        """What the pipeline makes of the bank's pictures from this place on, (KEPT_BATCH or the rest, M, F)."""
        embeds_BE = self.bank_NE[start : min(start + KEPT_BATCH, len(self.kept_KMF))].cpu()
        seed, places = self.config.run.seed, range(start, start + len(embeds_BE))
        generators = [torch_generator(seed, "train.adapter.kept", place) for place in places]
        mels = self.pipeline(embeds=embeds_BE.numpy(), generator=generators, output_type="mel").mels
        return self.sound.to_model_space(torch.from_numpy(mels).to(self.sound.device))

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
