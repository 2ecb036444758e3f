"""One `train-prior` run from pairs to a prior folder: embed (or read the cache), train, save, measure what was saved.

Guarantee: figures come from judging pairs that training never saw, on the weights as they are read from disk, beside
those of the zero-shot closer and of the true pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.open_clip import load_clip
from clipsonic.clip.train_run import command_line
from clipsonic.errors import UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.closers import make_closer
from clipsonic.prior.core import check_steps
from clipsonic.prior.embeds import EmbedPairs, embed_pairs
from clipsonic.prior.train import PriorTrainSettings, judge_closer, nearest_kind_accuracy, train_prior
from clipsonic.seeding import numpy_rng, seed_for

_CACHES = ("embeds.npz", "val-embeds.npz")


def run_training(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; `args` as its parser makes them."""
    settings = PriorTrainSettings(args.steps, args.batch_size, args.lr, seed=args.seed)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    if args.sample_steps is not None:
        check_steps(args.sample_steps, args.timesteps)
    clip = load_clip(args.clip, device)
    shape = PriorShape(clip.width, args.depth, args.heads, num_timesteps=args.timesteps)
    out = Path(args.out)
    pairs, val = _pairs(args, clip, out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(args.seed, "prior.weights"))
        prior = TextPrior(shape, clip.fingerprint, sample_steps=args.sample_steps).to(device)
    started = time.monotonic()
    train_prior(prior, pairs, settings)
    minutes = (time.monotonic() - started) / 60.0
    prior.means = pairs.means()
    prior.save(out)
    prior = TextPrior.from_folder(out, device)
    figures = judge(prior, pairs, val)
    prior.card = _card(prior, args.clip, figures, len(pairs), len(val), minutes)
    prior.save(out)
    for name in _CACHES:
        (out / name).unlink(missing_ok=True)
    message = f"{prior.card}\nwritten to {out}"
    return {"message": message, "out": str(out), "fingerprint": prior.fingerprint, **figures}


def judge(prior: TextPrior, known: EmbedPairs, val: EmbedPairs) -> dict[str, float]:
    """The prior beside the zero-shot closer and the true pictures, on judging pairs."""
    figures: dict[str, float] = {}
    for name in ("zero-shot", "mean-shift", "prior"):
        judged = judge_closer(make_closer(name, prior), known, val)
        figures |= {f"{name.replace('-', '_')}_{key}": value for key, value in judged.items()}
    true_accuracy = nearest_kind_accuracy(val.pictures, known, val)
    return figures if true_accuracy is None else {**figures, "true_picture_kind_accuracy": true_accuracy}


def _pairs(args: argparse.Namespace, clip: ClipEmbedder, out: Path) -> tuple[EmbedPairs, EmbedPairs]:
    pairs = embed_pairs(args.pairs, clip, out / _CACHES[0])
    if args.val_pairs:
        return pairs, embed_pairs(args.val_pairs, clip, out / _CACHES[1])
    if len(pairs) < 4:
        raise UsageError(f"{len(pairs)} pairs are too few to train and to judge: give at least 4, better thousands")
    order = numpy_rng(args.seed, "prior.split").permutation(len(pairs))
    count = max(2, len(pairs) // 20)
    return pairs.take(np.sort(order[count:])), pairs.take(np.sort(order[:count]))


def _asked(prior: TextPrior) -> str:
    return "" if prior.sample_steps is None else f"{prior.sample_steps} of them asked in a sample, "


def _card(prior: TextPrior, clip: str, figures: dict[str, float], num_pairs: int, num_val: int, minutes: float) -> str:
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items())
    shape = prior.shape
    assert isinstance(shape, PriorShape)
    return f"""# A small diffusion prior

From CLIP text embeddings to CLIP image embeddings, in the space `{prior.fingerprint}` (`--clip {clip}`).
dalle2-pytorch's DiffusionPrior, width {shape.width}, depth {shape.depth}, {shape.heads} heads of {shape.head_width},
{shape.num_timesteps} timesteps, {_asked(prior)}cosine schedule, x_start prediction, text embedding as condition, no
guidance.
Trained from random weights on {num_pairs} pairs in {minutes:.1f} minutes. Licence: Apache-2.0.

Measured on {num_val} pairs that training never saw:

| figure | value |
|---|---|
{rows}

`*_cosine`: mean cosine of the closed caption to its own picture. `*_kind_accuracy`: the nearest mean of pictures of a
kind is that of its own kind; `true_picture` is what the true picture's embedding reaches.

    {command_line("train-prior")}
"""
