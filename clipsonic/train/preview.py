"""What the model sounds like so far: pictures and playable sound of fixed prompts, in TensorBoard.

Guarantee: the prompts are held-out records, the noise is the same every time, the averaged weights are used, and
training is left as it was. Price: two network calls per solver step, and Griffin-Lim.
"""

from __future__ import annotations

import io
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from clipsonic.audio.picture import spectrogram_png
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.shards.loader import Batch
from clipsonic.train.callbacks import StepCallback
from clipsonic.train.health import Health
from clipsonic.train.module import SoundModule

NUM_PROMPTS = 3


class Preview(StepCallback):
    """Every so many steps, what the fixed prompts sound like; once, beside it, the true sounds."""

    def __init__(self, batch: Batch, every: int, health: Health) -> None:
        self._prompts = {name: batch[name][:NUM_PROMPTS] for name in ("wave", "frames", "frame_times_s", "frame_mask")}
        self._every, self._health = every, health
        self._truth_shown = False

    def on_step(self, trainer: lightning.Trainer, module: SoundModule, step: int) -> None:
        if not self._every or step % self._every:
            return
        with module.clock.pause(), module.averaged():
            made = trainer.strategy.predict_step(self._prompts, 0)
            true = module.log_mel(self._prompts["wave"].to(module.device)).cpu()
            self._judge(step, module.segment.mel.db(made), module.segment.mel.db(true))
            if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
                self._show(trainer.logger.experiment, made, true, module, step)

    def _show(self, board: Any, made_BMF: Tensor, true_BMF: Tensor, module: SoundModule, step: int) -> None:
        if not self._truth_shown:
            show(board, "truth", true_BMF, module, 0)
            self._truth_shown = True
        show(board, "generated", made_BMF, module, step)

    def _judge(self, step: int, made_db: Tensor, true_db: Tensor) -> None:
        spread = float(made_db.std() / true_db.std().clamp_min(1e-6))
        self._health.look_at_levels(step, float(made_db.mean()), float(true_db.mean()), spread)


def show(board: Any, name: str, log_mel_BMF: Tensor, module: SoundModule, step: int) -> None:
    """One picture and one sound per item."""
    spec = module.segment.mel
    waves = GriffinLim(spec)(log_mel_BMF)
    for item, (log_mel, wave) in enumerate(zip(log_mel_BMF, waves, strict=True)):
        picture = Image.open(io.BytesIO(spectrogram_png(log_mel.numpy(), spec))).convert("RGB")
        board.add_image(f"{name}/{item}", np.asarray(picture), step, dataformats="HWC")
        board.add_audio(f"{name}/{item}", wave, step, sample_rate=spec.sample_rate_hz)
