"""What the model sounds like so far: pictures and playable sound of fixed prompts, in TensorBoard.

Guarantee: the prompts are held-out records, the noise is the same every time, the averaged weights are used, and
training is left as it was. Price: two network calls per solver step, and Griffin-Lim.
"""

from __future__ import annotations

import io
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from clipsonic.audio.picture import spectrogram_png
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.diffusion.guidance import guided
from clipsonic.diffusion.sampling import initial_noise, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.conditioner import timed_condition
from clipsonic.seeding import torch_generator
from clipsonic.shards.loader import Batch
from clipsonic.train.callbacks import StepCallback
from clipsonic.train.module import SoundModule

NUM_PROMPTS = 3
NUM_STEPS = 24
GUIDANCE_SCALE = 3.0


class Preview(StepCallback):
    """Every so many steps, what the fixed prompts sound like; once, beside it, the true sounds."""

    def __init__(self, batch: Batch, every: int) -> None:
        self._prompts = {name: batch[name][:NUM_PROMPTS] for name in ("wave", "frames", "frame_times_s", "frame_mask")}
        self._every = every
        self._truth_shown = False

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if not self._every or step % self._every or not isinstance(trainer.logger, TensorBoardLogger):
            return
        with module.clock.pause(), module.averaged():
            board = trainer.logger.experiment
            if not self._truth_shown:
                show(board, "truth", module.log_mel(self._prompts["wave"].to(module.device)).cpu(), module, 0)
                self._truth_shown = True
            show(board, "generated", generate(module, self._prompts), module, step)


@torch.no_grad()
def generate(module: SoundModule, prompts: dict[str, Tensor]) -> Tensor:
    """Log-mels (N, M, F) on the CPU for the frames of some records, with the network's present weights."""
    condition = timed_condition(prompts["frames"], prompts["frame_times_s"], prompts["frame_mask"]).to(module.device)
    null = condition.null_like()
    shape = (module.segment.mel.num_mels, module.segment.num_mel_frames)
    generators = [torch_generator(module.config.run.seed, "train.preview", item) for item in range(len(condition))]
    x0_BMF = sample(
        lambda x, t: guided(module.denoiser, x, t, condition, null, GUIDANCE_SCALE),
        make_scheduler(module.objective.prediction_type, flow_shift=module.config.objective.flow_shift),
        initial_noise(shape, generators).to(module.device),
        NUM_STEPS,
        generators=generators,
    )
    return module.from_model_space(x0_BMF).cpu()


def show(board: Any, name: str, log_mel_BMF: Tensor, module: SoundModule, step: int) -> None:
    """One picture and one sound per item."""
    spec = module.segment.mel
    waves = GriffinLim(spec)(log_mel_BMF)
    for item, (log_mel, wave) in enumerate(zip(log_mel_BMF, waves, strict=True)):
        picture = Image.open(io.BytesIO(spectrogram_png(log_mel.numpy(), spec))).convert("RGB")
        board.add_image(f"{name}/{item}", np.asarray(picture), step, dataformats="HWC")
        board.add_audio(f"{name}/{item}", wave, step, sample_rate=spec.sample_rate_hz)
