"""Trains a small CLIP on pairs with open_clip's own contrastive loss (Radford et al. 2021, arXiv 2103.00020).

Guarantee: batches are a function of (seed, step), so a run resumed from its last checkpoint continues as the unbroken
one would, bit for bit on CPU (unless limited by minutes); checkpoints are written whole about once a minute.
Price: about 4 ms per pair and step on two cores for the bundled architecture.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clipsonic.clip.batches import BatchMaker
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.open_clip import encode_captions
from clipsonic.errors import TrainingError, UsageError
from clipsonic.resumable import learning_rate_factor, load_state, save_state

_MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Args:
        num_steps: optimiser steps; `max_minutes` may end the run earlier.
        learning_rate: at its highest; it rises over the first `warmup_share` and falls along a cosine to zero.
        max_minutes: wall-clock limit over all resumes; the schedule then follows the clock, so results vary.
        checkpoint_s: seconds between checkpoints.
    """

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.05
    seed: int = 0
    max_minutes: float | None = None
    checkpoint_s: float = 60.0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.batch_size < 2 or self.learning_rate <= 0.0:
            raise UsageError(
                f"steps {self.num_steps}, batch size {self.batch_size} and rate {self.learning_rate} "
                "must be at least 1, at least 2 and above 0"
            )


class ClipTrainer:
    """One run: model, optimiser, and the place it has reached."""

    def __init__(
        self,
        embedder: ClipEmbedder,
        loss: torch.nn.Module,
        batches: BatchMaker,
        settings: TrainSettings,
        facts: dict[str, Any],
    ) -> None:
        """`facts` name the data and the architecture; a checkpoint with other facts is refused."""
        self.embedder, self.loss, self.batches, self.settings = embedder, loss, batches, settings
        self.facts = {**facts, **{key: value for key, value in asdict(settings).items() if key != "checkpoint_s"}}
        self.model: Any = embedder.model.requires_grad_(True).to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.model, settings)
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by the clock, whichever is further."""
        by_clock = self.seconds / (60.0 * self.settings.max_minutes) if self.settings.max_minutes else 0.0
        return max(self.step / self.settings.num_steps, by_clock)

    def run(self, folder: Path) -> None:
        """Train to the end, with checkpoints in `folder`.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        saved = time.monotonic()
        with tqdm(
            total=self.settings.num_steps,
            initial=self.step,
            file=sys.stderr,
            mininterval=0.5,
            unit="step",
            desc="train-clip",
        ) as bar:
            while self.progress < 1.0:
                started = time.monotonic()
                loss, right = self._train_step()
                self.seconds += time.monotonic() - started
                bar.update()
                if self.step % 10 == 0:
                    bar.set_postfix(loss=f"{loss:.3f}", batch_top1=f"{right:.2f}", done=f"{self.progress:.0%}")
                if time.monotonic() - saved > self.settings.checkpoint_s:
                    self.save_checkpoint(folder)
                    saved = time.monotonic()
        self.model.requires_grad_(False).eval()
        self.embedder.weights_changed()

    def _train_step(self) -> tuple[float, float]:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_factor(self.progress + 1e-6, settings.warmup_share)
        self.model.train()
        pictures, tokens = self.batches(self.step)
        device = self.embedder.device
        pixels = self.embedder.normalized(pictures).to(device, memory_format=torch.channels_last)
        image_features = self.model.encode_image(pixels, normalize=True)
        text_features = encode_captions(self.model, tokens.to(device))
        loss = self.loss(image_features, text_features, self.model.logit_scale.exp())
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is not finite at step {self.step}: lower --lr (now {settings.learning_rate})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, _MAX_LOGIT_SCALE)
            own = (image_features @ text_features.T).argmax(1).cpu() == torch.arange(len(tokens))
        self.step += 1
        return float(loss.detach()), float(own.float().mean())

    def save_checkpoint(self, folder: Path) -> None:
        """Everything the rest of the run needs, written whole."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_state(folder, {**state, "step": self.step, "seconds": self.seconds}, self.facts)

    def resume(self, folder: Path) -> bool:
        """Continue from the checkpoint in `folder`, if there is one.

        Raises:
            CheckpointError: the checkpoint is damaged.
            UsageError: it belongs to another run.
        """
        state = load_state(folder, self.facts, self.embedder.device)
        if state is None:
            return False
        self.model.load_state_dict(state["model"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        return True


def _optimizer(model: torch.nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW as in CLIP: no decay on gains, biases and the logit scale."""
    decayed = [value for value in model.parameters() if value.ndim >= 2]
    plain = [value for value in model.parameters() if value.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6)
