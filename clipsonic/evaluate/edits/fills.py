"""What fills a hole without a network: the mean of what is given, a line across it, a repeat of what came before.

Guarantee: pure functions of what is given, in the model's space (each band standardised over the corpus, so 0 is the
corpus's mean); given cells come back as they were. Price: milliseconds; a repeat tries every lag, about 20 ms a sound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipsonic.specs import MelSpec

LEAST_LAG_S = 0.25
"""A shorter lag would win nearly always, by holding the last column."""


def mean(x0_MF: Tensor, made_MF: Tensor) -> Tensor:
    """The mean of each band over its given cells; of a band without any, that of all given cells."""
    known_MF = ~made_MF
    count_M = known_MF.sum(dim=1)
    everywhere = (x0_MF * known_MF).sum() / count_M.sum().clamp_min(1)
    mean_M = torch.where(count_M > 0, (x0_MF * known_MF).sum(dim=1) / count_M.clamp_min(1), everywhere)
    return torch.where(made_MF, mean_M[:, None], x0_MF)


def linear(x0_MF: Tensor, made_MF: Tensor) -> Tensor:
    """Each band by a straight line in time between its nearest given cells, held beyond the first and the last.

    Raises:
        ValueError: a band of which nothing is given.
    """
    known_MF, num_columns = ~made_MF, x0_MF.shape[1]
    if not bool(known_MF.any(dim=1).all()):
        raise ValueError("a line in time needs a given cell in every band")
    at_F = torch.arange(num_columns, device=x0_MF.device)
    before_MF = torch.where(known_MF, at_F, -1).cummax(dim=1).values
    after_MF = torch.where(known_MF, at_F, num_columns).flip(1).cummin(dim=1).values.flip(1)
    left_MF = torch.where(before_MF < 0, after_MF, before_MF)
    right_MF = torch.where(after_MF >= num_columns, before_MF, after_MF)
    share_MF = (at_F - left_MF) / (right_MF - left_MF).clamp_min(1)
    return torch.where(made_MF, torch.lerp(x0_MF.gather(1, left_MF), x0_MF.gather(1, right_MF), share_MF), x0_MF)


def repeat(x0_MF: Tensor, made_MF: Tensor, mel: MelSpec) -> Tensor:
    """Made columns by the given ones a whole number of lags away, the nearest, the lag being the one that fits best.

    A lag fits by the mean absolute difference of given columns that are so far apart.

    Args:
        made_MF: of whole columns.
        mel: for the least lag.

    Raises:
        ValueError: no lag reaches every made column.
    """
    known_F = ~made_MF.any(dim=0)
    least = max(1, round(LEAST_LAG_S * mel.sample_rate_hz / mel.hop_length))
    lags = range(least, len(known_F) // 2 + 1)
    for lag in sorted(lags, key=lambda lag: _misfit(x0_MF, known_F, lag)):
        if (source_F := _sources(known_F, lag)) is not None:
            return torch.where(made_MF, x0_MF[:, source_F], x0_MF)
    raise ValueError("no lag reaches every made column from given ones")


def _misfit(x0_MF: Tensor, known_F: Tensor, lag: int) -> float:
    """Mean absolute difference of given columns `lag` apart; infinite where there are none."""
    both_F = known_F[lag:] & known_F[:-lag]
    return float((x0_MF[:, lag:] - x0_MF[:, :-lag])[:, both_F].abs().mean()) if bool(both_F.any()) else math.inf


def _sources(known_F: Tensor, lag: int) -> Tensor | None:
    """For every column the nearest given one a whole number of lags away, earlier ones first; None if one has none."""
    num_columns = len(known_F)
    at_F = torch.arange(num_columns)
    source_F, is_found_F = at_F.clone(), known_F.clone()
    for times in range(1, num_columns // lag + 1):
        for shifted_F in (at_F - times * lag, at_F + times * lag):
            inside_F = (shifted_F >= 0) & (shifted_F < num_columns)
            hit_F = ~is_found_F & inside_F & known_F[shifted_F.clamp(0, num_columns - 1)]
            source_F = torch.where(hit_F, shifted_F, source_F)
            is_found_F |= hit_F
    return source_F if bool(is_found_F.all()) else None
