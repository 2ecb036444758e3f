"""Refusals shared by the denoisers: a mel, a condition or a prediction type that cannot go with a network."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from clipsonic.diffusion.schedulers import PREDICTION_TYPES
from clipsonic.errors import SpecError
from clipsonic.models.conditioner import Condition


def check_prediction_type(prediction_type: str) -> None:
    """Refuse an unknown prediction type.

    Raises:
        SpecError: it is none of flow, epsilon, v_prediction.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise SpecError(f"prediction type {prediction_type!r} is unknown: choose one of {', '.join(PREDICTION_TYPES)}")


def require_matching(x_BMF: Tensor, condition: Condition, config: Any, *, multiple: int) -> None:
    """Refuse a mel that is not (B, num_mels, F), F a multiple of `multiple` up to num_mel_frames, or B that differ.

    Raises:
        SpecError: with the shape found and the shape needed.
    """
    num_mels, longest, frames = config.num_mels, config.num_mel_frames, x_BMF.shape[-1]
    if x_BMF.ndim != 3 or x_BMF.shape[1] != num_mels or frames % multiple or not 0 < frames <= longest:
        raise SpecError(
            f"mel of shape {tuple(x_BMF.shape)} must be (B, {num_mels}, F) with F a multiple of {multiple} and at most "
            f"{longest}: crop it to that"
        )
    if len(condition) != len(x_BMF):
        raise SpecError(f"{len(condition)} conditions stand against {len(x_BMF)} mels: give one for each")
