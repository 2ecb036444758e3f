"""A denoiser with its condition and guidance bound, for one segment or for the windows of a longer sound.

The one place where guidance meets a network: the pipeline, training's previews and the teacher of few steps go through
it. A mel longer than the network's segment is denoised as one by overlapping windows that agree at every step, after
MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113): there is one long state, and where windows overlap it moves by
the weighted mean of what they say. Guarantee: one segment is a call of the network on all sounds at once, windows come
`MAX_WINDOWS` at a time, so memory beside the state is theirs, however long the mel; where all windows say the same, so
does the whole; scale 1, and times outside of guidance's interval, cost one prediction, guided times two in one call;
nothing waits for the device. Price: time grows with length / (segment - overlap).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from clipsonic.diffusion.sampling import Guidance, StepFn
from clipsonic.diffusion.schedulers import NUM_TRAIN_TIMESTEPS
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition
from clipsonic.specs import SegmentSpec

MAX_DURATION_S = 3600.0
"""Longest sound of one call: the whole wave is kept in memory, 230 MB per hour at 16 kHz."""
MAX_WINDOWS = 8
"""Windows that the network sees at once."""
OVERLAP = 0.5
"""Least share of a window that it has in common with the next: a five-minute film of 44 scenes was named 33, 36 and 37
times rightly with 0.25, 0.5 and 0.75 (35 of 43 scenes alone), and three quarters cost twice as much as one half."""

Places = list[tuple[int, int]]
"""Windows as (item of the batch, first column), item by item."""


@dataclass(frozen=True)
class Timeline:
    """The plan of one length of sound.

    Args:
        num_samples: T.
        num_columns: F of the mel that is denoised: the segment's, or as many as T needs.
        starts: first column of each window.
        seconds: what is looked at of a video, and what the times of frames refer to: the segment, or the sound.
        starts_s: where each window starts, in seconds of the sound.
    """

    num_samples: int
    num_columns: int
    starts: tuple[int, ...]
    seconds: float
    starts_s: tuple[float, ...]

    @classmethod
    def of(cls, duration_s: float | None, spec: SegmentSpec) -> Self:
        """For a sound of `duration_s` (default: a segment).

        Raises:
            UsageError: longer than MAX_DURATION_S, or not a sample long.
        """
        rate_hz = spec.mel.sample_rate_hz
        if duration_s is None:
            num_samples = spec.num_samples
        else:
            num_samples = round(duration_s * rate_hz) if math.isfinite(duration_s) else -1
            if not 1 <= num_samples <= MAX_DURATION_S * rate_hz:
                raise UsageError(
                    f"duration_s {duration_s:g} must be above 0 and at most {MAX_DURATION_S:g}: "
                    "make a longer sound in parts"
                )
        num_columns = max(spec.num_mel_frames, spec.mel.enough_mel_frames(num_samples))
        starts = window_starts(num_columns, spec.num_mel_frames)
        seconds = spec.seconds if len(starts) == 1 else num_samples / rate_hz
        return cls(num_samples, num_columns, starts, seconds, tuple(map(spec.mel.start_s, starts)))


def bound_to(denoiser: Any, condition: Condition, away: Condition, guidance: Guidance, timeline: Timeline) -> StepFn:
    """(x (B, M, F), timestep (B,), t) to the guided prediction, F the timeline's columns.

    Args:
        condition, away: an item for each window, sound by sound, on the denoiser's device.
    """
    if len(timeline.starts) == 1:
        return guided_in_one_batch(denoiser, condition, away, guidance)
    return in_windows(
        lambda some: guided_in_one_batch(denoiser, condition[some], away[some], guidance),
        len(condition) // len(timeline.starts),
        timeline.starts,
        denoiser.config.num_mel_frames,
        timeline.num_columns,
    )


def guided_in_one_batch(denoiser: Any, condition: Condition, away: Condition, guidance: Guidance) -> StepFn:
    """Classifier-free guidance: away + scale (conditional - away), both in one call of the network.

    Scale 1, and times outside of the interval, are the conditional, and scale 0 the other one, each alone and bit for
    bit.
    """
    both = Condition.cat([away, condition])

    def denoise(x_BMF: Tensor, timestep_B: Tensor, t: float | None = None) -> Tensor:
        t = float(timestep_B[0]) / NUM_TRAIN_TIMESTEPS if t is None else t
        if not guidance.acts_at(t):
            return predicted(x_BMF, timestep_B, condition)
        if guidance.scale == 0.0:
            return predicted(x_BMF, timestep_B, away)
        twice_BMF, times_B = torch.cat([x_BMF, x_BMF]), torch.cat([timestep_B, timestep_B])
        return guidance.mixed(*predicted(twice_BMF, times_B, both).chunk(2))

    def predicted(x_BMF: Tensor, timestep_B: Tensor, condition: Condition) -> Tensor:
        prediction_BMF: Tensor = denoiser(x_BMF, timestep_B, condition)
        return prediction_BMF

    return denoise


def window_starts(num_columns: int, length: int) -> tuple[int, ...]:
    """First columns of windows of `length`, evenly spread over `num_columns`, the last one ending with them.

    Neighbours share at least OVERLAP of a window; a mel of one window's length or less has one, at 0.
    """
    if num_columns <= length:
        return (0,)
    spare = num_columns - length
    count = 1 + math.ceil(spare / (length * (1.0 - OVERLAP)))
    return tuple(round(spare * place / (count - 1)) for place in range(count))


def window_weight(length: int) -> Tensor:
    """How much each column of a window has to say, (F,): 1 in the middle, sin^2 ramps of OVERLAP at its ends, not 0."""
    ramp = max(1, round(OVERLAP * length))
    column_F = torch.arange(length, dtype=torch.float32) + 0.5
    nearest_F = torch.minimum(column_F, length - column_F)
    return torch.sin(0.5 * math.pi * (nearest_F / ramp).clamp_max(1.0)).square()


def in_windows(
    bind: Callable[[slice], StepFn], num_items: int, starts: Sequence[int], length: int, num_columns: int
) -> StepFn:
    """A denoiser of (B, M, num_columns) out of one of windows (K, M, length), K at most MAX_WINDOWS.

    Args:
        bind: from a slice of all windows, item by item, to the network with their conditions bound.
        num_items: B.
        starts: of the windows, as `window_starts` gives them, or some of these: other columns are predicted as 0.
    """
    places: Places = [(item, start) for item in range(num_items) for start in starts]
    groups = [slice(at, at + MAX_WINDOWS) for at in range(0, len(places), MAX_WINDOWS)]
    networks = [bind(group) for group in groups]
    weight_F = window_weight(length)
    total_F = torch.zeros(num_columns)
    for start in starts:
        total_F[start : start + length] += weight_F
    total_F[total_F == 0.0] = 1.0  # columns of no window: nothing is said of them
    there: dict[torch.device, tuple[Tensor, Tensor]] = {}  # brought to a device once, not at every step

    def denoise(x_BMF: Tensor, timestep_B: Tensor, t: float) -> Tensor:
        if x_BMF.device not in there:
            there[x_BMF.device] = weight_F.to(x_BMF.device), total_F.to(x_BMF.device)
        (weight, total), said_BMF = there[x_BMF.device], torch.zeros_like(x_BMF)
        for group, network in zip(groups, networks, strict=True):
            x_KMF = torch.stack([x_BMF[item, :, start : start + length] for item, start in places[group]])
            out_KMF = network(x_KMF, torch.stack([timestep_B[item] for item, _ in places[group]]), t)
            for (item, start), out_MF in zip(places[group], out_KMF, strict=True):
                said_BMF[item, :, start : start + length] += weight * out_MF
        return said_BMF / total

    return denoise
