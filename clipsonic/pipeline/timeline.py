"""How long a sound is and in which windows it is made: one segment, or several that overlap.

Guarantee: exact to the sample; up to the segment's length there is one window, the segment itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from clipsonic.diffusion.windows import window_starts
from clipsonic.errors import UsageError
from clipsonic.specs import SegmentSpec

MAX_DURATION_S = 3600.0
"""Longest sound of one call: the whole wave is kept in memory, 230 MB per hour at 16 kHz."""


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
