"""Trains a diffusion prior on embedding pairs (Ramesh et al. 2022, arXiv 2204.06125, section 2.2).

Guarantee: batches, timesteps and noise are functions of (seed, step), so equal pairs give equal weights on CPU; what
is kept is the running mean of the weights. Price: about 0.1 s per step of 256 on one core for the bundled shape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from clipsonic.errors import TrainingError, UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.embeds import EmbedPairs
from clipsonic.resumable import learning_rate_factor
from clipsonic.seeding import numpy_rng, torch_generator


@dataclass(frozen=True)
class PriorTrainSettings:
    """How to train a prior; `ema_decay` is that of the running mean of the weights."""

    num_steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_share: float = 0.05
    ema_decay: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.batch_size < 1 or self.learning_rate <= 0.0:
            raise UsageError(
                f"steps {self.num_steps}, batch size {self.batch_size} and rate {self.learning_rate} "
                "must all be positive"
            )


def train_prior(prior: TextPrior, pairs: EmbedPairs, settings: PriorTrainSettings) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    network = prior.core.network.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))  # type: ignore[no-untyped-call]
    losses = []
    with tqdm(total=settings.num_steps, file=sys.stderr, mininterval=0.5, unit="step", desc="train-prior") as bar:
        for step in range(settings.num_steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * learning_rate_factor(
                    (step + 1) / settings.num_steps, settings.warmup_share
                )
            loss = prior.loss(*_batch(pairs, prior, settings, step))
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"the loss is not finite at step {step}: lower --lr (now {settings.learning_rate})")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(network)
            losses.append(float(loss.detach()))
            bar.update()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}")
    network.load_state_dict(averaged.module.state_dict(), strict=True)
    network.eval().requires_grad_(False)
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def _batch(
    pairs: EmbedPairs, prior: TextPrior, settings: PriorTrainSettings, step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Captions, the pictures they belong to, timesteps and noise of this step."""
    rows = numpy_rng(settings.seed, "prior.batch", step).integers(0, len(pairs.captions), settings.batch_size)
    generator = torch_generator(settings.seed, "prior.noise", step)
    texts = torch.from_numpy(pairs.captions[rows])
    images = torch.from_numpy(pairs.pictures[pairs.owners[rows]])
    assert isinstance(prior.shape, PriorShape)
    times = torch.randint(0, prior.shape.num_timesteps, (len(rows),), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    device = prior.device
    return texts.to(device), images.to(device), times.to(device), noise.to(device)


def judge_closer(
    closer: Callable[[torch.Tensor, list[torch.Generator]], torch.Tensor],
    known: EmbedPairs,
    val: EmbedPairs,
    seed: int = 0,
) -> dict[str, float]:
    """Mean cosine of the closed first caption to its own picture, and how often it names the right kind.

    A kind is named by the nearest mean of the pictures of that kind in `known`; absent where kinds are unknown.
    """
    generators = [torch_generator(seed, "prior.judge", row) for row in range(len(val))]
    closed = closer(torch.from_numpy(val.first_captions()), generators).cpu().numpy()
    figures = {"cosine": float(np.mean(np.sum(closed * val.pictures, axis=1)))}
    accuracy = nearest_kind_accuracy(closed, known, val)
    return figures if accuracy is None else {**figures, "kind_accuracy": accuracy}


def nearest_kind_accuracy(vectors: np.ndarray, known: EmbedPairs, val: EmbedPairs) -> float | None:
    """Share of `vectors` (row by row of `val`) whose nearest kind centroid in `known` is their own kind."""
    names = np.array(sorted({kind for kind in known.kinds if kind} & set(val.kinds)))
    asked = np.isin(val.kinds, names)
    if len(names) < 2 or not asked.any():
        return None
    centres = np.stack([known.pictures[known.kinds == name].mean(0) for name in names])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return float(np.mean(names[np.argmax(vectors[asked] @ centres.T, axis=1)] == val.kinds[asked]))
