"""Closers of the gap between texts and pictures: one call, text embeddings (N, E) -> image embeddings (N, E).

Guarantee: unit vectors in, unit vectors out, of the same space; only `prior` uses randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn.functional import normalize

from clipsonic.errors import UsageError
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.bank import EmbedBank
from clipsonic.prior.closer_names import CHOICES, unknown
from clipsonic.prior.core import Spoken

NUM_NEIGHBOURS = 16
TEMPERATURE = 0.05
"""Of the weights of the neighbours, in units of the cosine."""

Generators = Sequence[torch.Generator] | torch.Generator
Closer = Callable[[torch.Tensor, Generators], torch.Tensor]


def make_closer(
    name: str, prior: TextPrior | None = None, bank: EmbedBank | None = None, encodings: Spoken | None = None
) -> Closer:
    """The closer of this name: (text embeddings (N, E), generators) -> (N, E) unit vectors.

    Args:
        prior: for `prior`; of its pairs `mean-shift` takes the mean text and, without a bank, the mean picture.
        bank: for `neighbours`; pictures of the corpus that the sound model knows.
        encodings: of the captions that will be closed, for a prior that reads their tokens.

    Raises:
        UsageError: an unknown name, or one whose parts are missing.
    """
    if name not in CHOICES:
        raise UsageError(unknown(name))
    if reason := why_not(name, prior, bank):
        raise UsageError(reason)
    if name == "auto":
        name = automatic(prior is not None, bank is not None)
    if name == "prior" and prior is not None:
        return prior if encodings is None else partial(prior, encodings=encodings)
    if name == "mean-shift":
        assert prior is not None
        assert prior.means is not None
        text_mean, image_mean = prior.means
        return mean_shift(text_mean, image_mean if bank is None else bank.images.mean(dim=0))
    if name == "neighbours":
        assert bank is not None
        return neighbours(bank.images)
    return zero_shot


def automatic(has_prior: bool, has_bank: bool) -> str:
    """The closer that `auto` stands for: on the soundstage prior and neighbours are about equal, and far ahead."""
    return "prior" if has_prior else "neighbours" if has_bank else "zero-shot"


def why_not(name: str, prior: TextPrior | None, bank: EmbedBank | None) -> str | None:
    """Why this closer cannot be had with these parts, as a sentence, or None."""
    if name == "prior" and prior is None:
        return "closer 'prior' needs a prior of the model's CLIP space: give --prior FOLDER or --closer zero-shot"
    if name == "mean-shift" and (prior is None or prior.means is None):
        return "closer 'mean-shift' needs a prior that keeps the means of its pairs: clipsonic train --config prior"
    if name == "neighbours" and bank is None:
        return "closer 'neighbours' needs the bank that clipsonic train writes: train again, or take another closer"
    return None


def zero_shot(text_embeds: torch.Tensor, generators: Generators) -> torch.Tensor:
    """The text's own embedding stands for the image's."""
    return normalize(torch.as_tensor(text_embeds, dtype=torch.float32), dim=-1)


def mean_shift(text_mean: torch.Tensor, image_mean: torch.Tensor) -> Closer:
    """The step from the mean text to the mean picture added to every text (Liang et al. 2022, arXiv 2203.02053)."""

    def shift(text_embeds: torch.Tensor, generators: Generators) -> torch.Tensor:
        return normalize(zero_shot(text_embeds, generators).cpu() - text_mean + image_mean, dim=-1)

    return shift


def neighbours(images_NE: torch.Tensor, count: int = NUM_NEIGHBOURS, temperature: float = TEMPERATURE) -> Closer:
    """A weighted mean of the bank's nearest pictures (after the projection of DeCap, Li et al. 2023, arXiv 2303.03032).

    Weights are the softmax of cosines over `temperature`, among the `count` nearest only.
    """

    def project(text_embeds: torch.Tensor, generators: Generators) -> torch.Tensor:
        cosines = zero_shot(text_embeds, generators).cpu() @ images_NE.T
        nearest, places = cosines.topk(min(count, len(images_NE)), dim=1)
        weights = (nearest / temperature).softmax(dim=1)
        return normalize(torch.einsum("nk,nke->ne", weights, images_NE[places]), dim=-1)

    return project
