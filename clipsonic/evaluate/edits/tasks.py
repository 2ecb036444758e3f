"""What is taken away of a sound and made anew: the tasks of `clipsonic evaluate --edits`.

Guarantee: masks are bool (M, F), True = made anew; a stretch of time takes with it every column whose analysis window
reaches into it, so that nothing of what is missing is given; drawn masks come from the generator that is passed.
Price: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clipsonic.diffusion import masks
from clipsonic.specs import SegmentSpec

Made = Callable[[SegmentSpec, torch.Generator], Tensor]
"""(a segment, the item's generator) to the mask (M, F)."""

RUN_S = 0.128
"""Length of the runs in which frames are taken away."""
MOST_SHARE = 0.5
"""Of a segment, that a stretch may be long: there must be as much left to go on from."""


@dataclass(frozen=True)
class Task:
    """One way of taking away.

    Args:
        name: its word in report.json.
        label: what people read.
        mask: what is made anew.
        made_s: length of the one stretch of time that is made, None where it is none.
        has_columns: whether whole columns are made, so that every band has something given.
    """

    name: str
    label: str
    mask: Made
    made_s: float | None = None
    has_columns: bool = True

    def fits(self, segment: SegmentSpec) -> bool:
        """Whether the segment leaves enough to go on from."""
        return self.made_s is None or self.made_s <= MOST_SHARE * segment.seconds

    def stretch(self, mask_MF: Tensor) -> slice | None:
        """The columns of the one stretch that is made."""
        if self.made_s is None:
            return None
        made = mask_MF.any(dim=0).nonzero().flatten()
        return slice(int(made[0]), int(made[-1]) + 1)


def gap(seconds: float) -> Task:
    """A stretch in the middle."""

    def mask(segment: SegmentSpec, _: torch.Generator) -> Tensor:
        from_s = 0.5 * (segment.seconds - seconds)
        return _times(segment, from_s, from_s + seconds)

    return Task(f"gap-{seconds:.2f}", f"gap of {seconds:.2f} s", mask, seconds)


def continuation(seconds: float) -> Task:
    """The end."""

    def mask(segment: SegmentSpec, _: torch.Generator) -> Tensor:
        return _times(segment, segment.seconds - seconds, segment.seconds)

    return Task(f"continue-{seconds:.2f}", f"continue {seconds:.2f} s", mask, seconds)


def frames(share: float) -> Task:
    """Runs of columns, so many of all."""

    def mask(segment: SegmentSpec, generator: torch.Generator) -> Tensor:
        mel = segment.mel
        run = max(1, round(RUN_S * mel.sample_rate_hz / mel.hop_length))
        return _everywhere(masks.frames(segment.num_mel_frames, share, run, generator)[None], segment)

    return Task(f"frames-{share:.0%}".rstrip("%"), f"frames, {share:.0%}", mask)


def irregular(kind: str) -> Task:
    """Strokes across the spectrogram: thin, medium or thick."""

    def mask(segment: SegmentSpec, generator: torch.Generator) -> Tensor:
        return masks.strokes(segment.mel.num_mels, segment.num_mel_frames, kind, generator)

    return Task(f"irregular-{kind}", f"irregular, {kind}", mask, has_columns=False)


def given_below(hz: float) -> Task:
    """Every band that reaches above this frequency."""

    def mask(segment: SegmentSpec, _: torch.Generator) -> Tensor:
        return _everywhere(masks.bands(segment.mel, above_hz=hz)[:, None], segment)

    return Task(f"below-{hz:.0f}", f"given below {hz / 1000:.1f} kHz", mask, has_columns=False)


TASKS = (
    gap(1.024),
    gap(0.256),
    continuation(2.048),
    *(frames(share) for share in (0.3, 0.5, 0.7)),
    *(irregular(kind) for kind in ("thin", "medium", "thick")),
    *(given_below(hz) for hz in (2400.0, 1100.0)),
)


def _times(segment: SegmentSpec, from_s: float, to_s: float) -> Tensor:
    """Every column whose analysis window reaches into this stretch."""
    rate_hz = segment.mel.sample_rate_hz
    stretch = round(from_s * rate_hz), round(to_s * rate_hz)
    return _everywhere(masks.times(segment.mel, segment.num_mel_frames, [stretch])[None], segment)


def _everywhere(mask: Tensor, segment: SegmentSpec) -> Tensor:
    """(1, F) or (M, 1) as (M, F)."""
    return mask.expand(segment.mel.num_mels, segment.num_mel_frames)
