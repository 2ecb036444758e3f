"""From a sound that is there, and what is to become of it, to what the sampler needs: its mel, a mask, a plan.

Guarantee: what cannot be is refused in one sentence before a model runs; the mel is framed as in training, column for
column, in however many pieces it is made; a column or a band counts as known only where nothing made reaches into it;
one gain brings the sound to the levels that the model knows, and it is told, so that it can be undone. Price: two
passes over the sound; only windows of the model that hold something to make are asked, so a second made anew in an hour
costs what it costs in a short sound.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsonic.audio.mel import LogMel
from clipsonic.audio.splice import mixed, span_of
from clipsonic.audio.wave import resample, rms_db
from clipsonic.diffusion import masks
from clipsonic.diffusion.editing import start_of
from clipsonic.errors import UsageError
from clipsonic.pipeline.denoising import MAX_DURATION_S, Timeline, window_starts
from clipsonic.specs import MelSpec, SegmentSpec

Samples = npt.NDArray[np.float64]
Region = tuple[float, float]
Span = tuple[int, int]

QUIETEST_DB = -90.0
"""A sound below it is silence: less than a step of 16 bits."""
_LOUD_SHARE = 0.99
_LOUD_Z = (1.5, 2.8)
"""Where the cell louder than all but 1 % of a sound's lies, in the deviations of the model's bands: from the 5th to the
95th of 400 held-out sounds of the bundled pipeline's corpus, 1.9 to 2.5 for half of them (a normal band: 2.3). Other
quantiles say less: a bark in silence has a median of -1.3, rain one of 1.1."""
_PIECE = 4096  # columns that are made of a wave at once


@dataclass(frozen=True)
class Edit:
    """What is to become of a sound.

    Args:
        remake: regions (from, to) in seconds of the given sound that are made anew.
        mask: cells that are: bool (M, F), band 0 the lowest, or a picture (H, W), RGB or RGBA, white where they are,
            that covers the sound from its begin to its end and from the highest band down to the lowest.
        above_hz, below_hz: the bands above and below these are made anew.
        extend_s, before_s: seconds that are made after and before it.
        strength: how far what is made may leave the given sound, above 0 and at most 1; None makes the masked cells
            without looking at what is there. Alone, all of the sound is made so.

    Raises:
        UsageError: nothing is asked for, contradictory things are, or a number is out of its range.
    """

    remake: Sequence[Region] = ()
    mask: Any = None
    above_hz: float | None = None
    below_hz: float | None = None
    extend_s: float = 0.0
    before_s: float = 0.0
    strength: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("extend_s", self.extend_s), ("before_s", self.before_s)):
            if not (math.isfinite(value) and value >= 0.0):
                raise UsageError(f"{name} {value:g} must be 0 or more, in seconds")
        asked = {
            "a region, or seconds before or after": bool(self.remake) or self.grows,
            "a mask": self.mask is not None,
            "a band": self.above_hz is not None or self.below_hz is not None,
        }
        given = [name for name, is_asked in asked.items() if is_asked]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are asked for together: ask for one, or draw both as one mask")
        if not given and self.strength is None:
            raise UsageError(
                "nothing is to be made anew: give regions (remake), cells (mask), a band (above_hz, below_hz), seconds "
                "more (extend_s, before_s), or how far all of it may change (strength)"
            )
        if self.strength is not None:
            start_of(self.strength)
            if self.grows:
                raise UsageError(
                    f"strength {self.strength:g} is about a sound that is there, and before it and after it there is "
                    "none: leave it out"
                )

    @property
    def grows(self) -> bool:
        """Whether the sound becomes longer."""
        return self.extend_s > 0.0 or self.before_s > 0.0

    @property
    def is_by_time(self) -> bool:
        """Whether whole stretches of time are made, in all bands."""
        return bool(self.remake) or self.grows

    @property
    def is_whole(self) -> bool:
        """Whether all of the sound is made anew, near to what it was."""
        return not self.is_by_time and self.mask is None and self.above_hz is None and self.below_hz is None

    @property
    def start(self) -> float:
        """The share of noise that made cells begin at."""
        return 1.0 if self.strength is None else start_of(self.strength)

    def made(self, spec: MelSpec, num_columns: int, num_samples: int) -> Tensor:
        """Cells (M, F) that are made anew, of the columns of what comes out; `num_samples` is the given sound's.

        Raises:
            UsageError: a region outside of the sound, no band, or a mask of another shape.
        """
        whole = torch.zeros(spec.num_mels, num_columns, dtype=torch.bool)
        if self.is_by_time:
            before, after = (round(s * spec.sample_rate_hz) for s in (self.before_s, self.extend_s))
            spans = [(before + start, before + end) for start, end in self.spans(spec.sample_rate_hz, num_samples)]
            spans += [(0, before), (before + num_samples, before + num_samples + after)]
            return whole | masks.times(spec, num_columns, spans)
        used = spec.enough_mel_frames(num_samples)
        if self.mask is not None:
            whole[:, :used] = _mask(self.mask, spec.num_mels, used)
        else:
            whole[:, :used] = True if self.is_whole else masks.bands(spec, self.above_hz, self.below_hz)[:, None]
        return whole

    def spans(self, rate_hz: int, num_samples: int) -> list[Span]:
        """The regions, in samples of the given sound at this rate.

        Raises:
            UsageError: a region outside of the sound.
        """
        return [span_of(region, rate_hz, num_samples) for region in self.remake]


@dataclass(frozen=True, eq=False)
class Sound:
    """A given sound as the model hears it.

    Args:
        samples_CT: as given, float64.
        rate_hz: of these.
        wave_T: mono at the model's rate, float32, at the levels that the model knows.
        gain: what it was multiplied by for that.
    """

    samples_CT: Samples
    rate_hz: int
    wave_T: npt.NDArray[np.float32]
    gain: float

    @classmethod
    def of(cls, sound: npt.ArrayLike, rate_hz: int, edit: Edit, log_mel: LogMel, mean_M: Tensor, std_M: Tensor) -> Self:
        """Of (T,) or (C, T) in [-1, 1]; what is kept of it says how loud it is.

        Raises:
            UsageError: not such a sound, silence, or one that is shorter than one window of the mel.
        """
        samples_CT = np.atleast_2d(np.asarray(sound, np.float64))
        if samples_CT.ndim != 2 or not len(samples_CT) or not np.isfinite(samples_CT).all():
            raise UsageError(f"a sound of shape {samples_CT.shape} must be (T,) or (C, T) of finite samples")
        spec = log_mel.spec
        wave_T = resample(mixed(samples_CT), rate_hz, spec.sample_rate_hz)
        if len(wave_T) < spec.n_fft:
            raise UsageError(
                f"the sound lasts {len(wave_T) / spec.sample_rate_hz:.3f} s and must last at least "
                f"{spec.n_fft / spec.sample_rate_hz:.3f} s, one window of the model's spectrogram: give a longer one"
            )
        if rms_db(wave_T) < QUIETEST_DB:
            raise UsageError(f"the sound is silent, below {QUIETEST_DB:g} dB: there is nothing to go by, use generate")
        columns = spec.num_mel_frames(len(wave_T))
        remade = edit.spans(spec.sample_rate_hz, len(wave_T))
        kept_F = ~masks.times(spec, columns, remade)
        is_heard = bool(kept_F.any()) and rms_db(_without(wave_T, remade)) >= QUIETEST_DB
        mel_MF = log_mel_of(log_mel, wave_T, columns)
        gain = 10.0 ** (_gain_db(mel_MF[:, kept_F] if is_heard else mel_MF, spec, mean_M, std_M) / 20.0)
        return cls(samples_CT, rate_hz, np.asarray(wave_T * gain, np.float32), gain)


@dataclass(frozen=True, eq=False)
class Work:
    """The part of an edit that a model must see.

    Args:
        timeline: the windows, their columns counted from `first`, their seconds from the begin of what comes out.
        first: the part's first column in what comes out.
        log_mel_MF: of the part.
        made_MF: its cells that are made, with those that no sound is given for.
        asked_MF: cells that are asked for, of all that comes out.
    """

    timeline: Timeline
    first: int
    log_mel_MF: Tensor
    made_MF: Tensor
    asked_MF: Tensor

    @property
    def has_blind_window(self) -> bool:
        """Whether a window of the model holds nothing that is known."""
        known_F = ~self.made_MF.all(0)
        length = self.timeline.num_columns - self.timeline.starts[-1]
        return not all(bool(known_F[start : start + length].any()) for start in self.timeline.starts)


def work_of(edit: Edit, sound: Sound, log_mel: LogMel, segment: SegmentSpec) -> Work | None:
    """What the model must see for this edit; None where nothing is to be made.

    Raises:
        UsageError: longer than a call can make, or as `Edit.made`.
    """
    spec, num_given = segment.mel, len(sound.wave_T)
    before, after = (round(s * spec.sample_rate_hz) for s in (edit.before_s, edit.extend_s))
    seconds = (before + num_given + after) / spec.sample_rate_hz
    if seconds > MAX_DURATION_S:
        raise UsageError(
            f"what comes out would last {seconds:.2f} s, and at most {MAX_DURATION_S:g} s can be: edit a part of the "
            "sound, or add less to it"
        )
    whole = Timeline.of(seconds, segment)
    asked_MF = edit.made(spec, whole.num_columns, num_given)
    used = min(whole.num_columns, spec.enough_mel_frames(whole.num_samples))
    if not bool(asked_MF.any()):
        return None
    first, starts = _windows(asked_MF.any(0), segment.num_mel_frames)
    last = first + starts[-1] + segment.num_mel_frames
    end = spec.num_samples(whole.num_columns)
    unknown_F = masks.times(spec, whole.num_columns, [(0, before), (before + num_given, end)])
    wave_T = np.pad(sound.wave_T, (before, end - before - num_given))
    timeline = dataclasses.replace(
        whole,
        num_columns=last - first,
        starts=starts,
        starts_s=tuple(spec.start_s(first + start) for start in starts),
    )
    return Work(
        timeline,
        first,
        log_mel_of(log_mel, wave_T, whole.num_columns)[:, first:last],
        (asked_MF | unknown_F)[:, first:last],
        asked_MF[:, :used],
    )


def log_mel_of(log_mel: LogMel, wave_T: npt.NDArray[np.float32], num_columns: int) -> Tensor:
    """Log-mel (M, F) of a wave of any length; columns beyond its own are not there."""
    spec = log_mel.spec
    around = -(-spec.n_fft // spec.hop_length)
    pieces = []
    for start in range(0, num_columns, _PIECE):
        seen = max(0, start - around)
        piece_T = wave_T[seen * spec.hop_length : (start + _PIECE + around) * spec.hop_length]
        piece_MF = log_mel(torch.from_numpy(piece_T)[None])[0]
        pieces.append(piece_MF[:, start - seen : start - seen + min(_PIECE, num_columns - start)])
    return torch.cat(pieces, dim=1)


def _windows(asked_F: Tensor, length: int) -> tuple[int, tuple[int, ...]]:
    """The first column of the part that is worked on, and its windows' first columns in it.

    A short stretch stands in the middle of one window; a longer one has half a window around it. Windows that hold
    nothing to make are left out.
    """
    places = asked_F.nonzero().flatten().tolist()
    low, high, total = places[0], places[-1] + 1, len(asked_F)
    around = (length - (high - low)) // 2 if high - low <= length // 2 else length // 2
    first = max(0, min(low - around, total - length))
    last = min(total, max(high + around, first + length))
    starts = [first + start for start in window_starts(last - first, length)]
    starts = [start for start in starts if bool(asked_F[start : start + length].any())]
    return starts[0], tuple(start - starts[0] for start in starts)


def _without(wave_T: npt.NDArray[np.float32], spans: Sequence[Span]) -> npt.NDArray[np.float32]:
    kept_T = np.ones(len(wave_T), bool)
    for start, end in spans:
        kept_T[start:end] = False
    return wave_T[kept_T]


def _mask(mask: Any, num_mels: int, num_columns: int) -> Tensor:
    """(M, F) of cells as they are, or of a picture."""
    values = torch.as_tensor(np.array(mask))
    if values.dtype == torch.bool and values.shape == (num_mels, num_columns):
        return values
    if values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == torch.uint8:
        opaque = values[..., 3] / 255.0 if values.shape[2] == 4 else 1.0
        values = values[..., :3].float().mean(2) / 255.0 * opaque
    return masks.drawn(values, num_mels, num_columns)


def _gain_db(log_mel_MF: Tensor, spec: MelSpec, mean_M: Tensor, std_M: Tensor) -> float:
    """What brings a sound to the nearest level that the model knows."""
    z = ((log_mel_MF - mean_M[:, None]) / std_M[:, None]).flatten().numpy()
    loud = float(np.quantile(z, _LOUD_SHARE))
    missing = min(max(loud, _LOUD_Z[0]), _LOUD_Z[1]) - loud
    return float(spec.db(missing * float(std_M.mean())))
