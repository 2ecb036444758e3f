"""The lesson `sound`: a denoiser learns the soundtrack of the seconds that it sees.

Its loss is w(t) || D(x_t, t, c) - target ||^2, see `diffusion/objective`. Guarantee: the pipeline folder that is left
holds the averaged weights of the last step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from clipsonic.diffusion.objective import make_scheduler
from clipsonic.files import write_whole
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.card import with_training
from clipsonic.pipeline.folder import CARD_FILE, read_card
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Losses
from clipsonic.train.lessons.denoiser import flops_per_sample, make_denoiser
from clipsonic.train.lessons.denoising import Denoising, by_time
from clipsonic.train.lessons.figures_of_sound import Heard
from clipsonic.train.lessons.init import denoiser_of
from clipsonic.train.lessons.sampled import Sampling
from clipsonic.train.streams.records import TrainData, data_of, mel_statistics


class SoundLesson(Heard):
    """A denoiser that learns from the records of corpora."""

    def __init__(self, sound: Denoising, data: TrainData) -> None:
        super().__init__()
        self._modules["sound"] = sound
        self._data = data

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """The denoiser's loss."""
        return by_time(*self.sound.loss_and_time(batch, draws))

    def identity(self) -> dict[str, Any]:
        """That of the network."""
        return self.sound.identity()

    def units(self) -> set[type[nn.Module]]:
        """Each block, and what is left of the network."""
        from diffusers.models.attention import BasicTransformerBlock
        from diffusers.models.resnet import ResnetBlock2D

        from clipsonic.models.blocks import Block

        return {Block, BasicTransformerBlock, ResnetBlock2D, *super().units()}

    def sampling(self) -> Sampling:
        """As the pipeline that is left samples."""
        pipeline = self._pipeline(self.sound.denoiser)
        return Sampling(pipeline.solver, *pipeline.sampling())

    def flops_per_item(self) -> float:
        """Of the network's forward and backward pass."""
        tokens = self._data.val_batches[0]["frames"].shape[1]
        return flops_per_sample(self.sound.config, self.sound.segment, tokens)

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """Write the pipeline folder."""
        config = self.sound.config
        denoiser = make_denoiser(config.model, config.objective.prediction_type, self.sound.segment, config.run.seed)
        denoiser.load_state_dict({**denoiser.state_dict(), **weights}, strict=True)
        pipeline = self._pipeline(denoiser.eval())
        pipeline.set_bank(self._data.bank(config.data.bank_size))
        pipeline.save_pretrained(out)
        return told_in_card(out, told)

    def _pipeline(self, denoiser: Any) -> ClipSonicPipeline:
        """The pipeline that this run leaves, around this network."""
        sound, how = self.sound, self.sound.config.objective
        return ClipSonicPipeline(
            denoiser, make_scheduler(how.prediction_type, flow_shift=how.flow_shift), sound.segment,
            sound.mel_mean.tolist(), sound.mel_std.tolist(), self._data.clip_name, **how.sampling,
        )  # fmt: skip


def told_in_card(out: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Put what is known of a run into the pipeline's card, if that asks for it; the result is what `leave` answers."""
    if (card := read_card(out)) is not None:
        write_whole(out / CARD_FILE, with_training(card, told))
    return {"next": f'next: clipsonic generate --model {out} --text "..." --out sound.wav', "pipeline": str(out)}


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """A denoiser of random weights, of those of a pipeline, or one that goes on.

    Raises:
        CorpusError, FingerprintError, SpecError: the corpora cannot feed the model.
        SpecError: --init is another model.
    """
    data = data_of(config, sources)
    network = make_denoiser(config.model, config.objective.prediction_type, data.segment, config.run.seed)
    if saved is not None:
        mean, std = saved["sound.mel_mean"], saved["sound.mel_std"]
    elif init is None:
        mean, std = mel_statistics(data.loader)
    else:
        mean, std = denoiser_of(init, network, data.segment)
        data.notes.append(f"starting from the weights of {init}")
    lesson = SoundLesson(Denoising(config, data.segment, network, mean, std), data)
    return Course(lesson, data.loader, data.val_batches, data.notes, data.summary(), init)
