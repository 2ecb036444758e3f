"""The facts that fix every shape: corpus geometry, mel geometry, model segment.

Guarantee: a spec that constructs is possible, and every length of every modality is derived here, once.
Shape letters of the project: **B** batch, **T** audio samples, **M** mel bins, **F** mel frames, **S** condition
tokens (frames kept), **E** CLIP width, **D** model width, **N** items in a list.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from clipsonic.errors import SpecError

GLOBAL_TIME_S = -1.0
"""The time of a condition token that belongs to the whole segment (a picture, a text, pooled frames)."""


@dataclass(frozen=True)
class _Spec:
    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            SpecError: an unknown or a missing key.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise SpecError(
                f"{cls.__name__} has no field {', '.join(unknown)}: known fields are {', '.join(sorted(known))}"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"{cls.__name__} cannot be built from {sorted(values)}: {error}") from None


@dataclass(frozen=True)
class CorpusSpec(_Spec):
    """What a corpus fixes for all its records.

    Args:
        sample_rate_hz: rate of the stored mono sound.
        seconds: length of a full segment.
        min_seconds: shortest tail or short video that still becomes a record.
    """

    sample_rate_hz: int = 16000
    seconds: float = 10.24
    min_seconds: float = 2.56

    def __post_init__(self) -> None:
        if self.sample_rate_hz < 1000:
            raise SpecError(f"sample_rate_hz {self.sample_rate_hz} is below 1000: give a rate such as 16000")
        if not 0.0 < self.min_seconds <= self.seconds:
            raise SpecError(f"min_seconds {self.min_seconds} must be above 0 and at most seconds {self.seconds}")

    def num_samples(self, seconds: float | None = None) -> int:
        """Samples T of a record of `seconds` (default: a full one)."""
        return round((self.seconds if seconds is None else seconds) * self.sample_rate_hz)

    @staticmethod
    def num_frames(seconds: float) -> int:
        """Frames kept for a record of this length: one per second, at least four."""
        return max(4, round(seconds))

    @staticmethod
    def frame_times_s(seconds: float, num_frames: int | None = None) -> tuple[float, ...]:
        """Bin centres, in seconds from the segment's start."""
        count = CorpusSpec.num_frames(seconds) if num_frames is None else num_frames
        return tuple((index + 0.5) * seconds / count for index in range(count))


_MEL_WORDS = {
    "mel_scale": ("slaney", "htk"),
    "mel_norm": ("slaney", "none"),
    "padding": ("same", "center"),
    "logarithm": ("ln", "log10"),
}


class _Arithmetic(Protocol):
    """A number, an array or a tensor."""

    def __mul__(self, factor: float, /) -> Any: ...

    def __add__(self, number: float, /) -> Any: ...


_Values = TypeVar("_Values", bound=_Arithmetic)

_LOG_PER_DECADE = {"ln": math.log(10.0), "log10": 1.0}
"""What ten times the amplitude, 20 dB, adds to a log-mel."""


@dataclass(frozen=True)
class MelFields(_Spec):
    """The words that name a mel space, unchecked: those of `MelSpec`, and of every config that sets one.

    The defaults are what HiFi-GAN, BigVGAN and AudioLDM share; a spec saved without the later fields has the defaults.

    Args:
        sample_rate_hz: rate of the sound; must be the corpus's.
        n_fft: FFT length in samples; the Hann window is as long.
        hop_length: samples per mel column.
        num_mels: mel bins M.
        f_min_hz: lower end of the mel range.
        f_max_hz: upper end of the mel range.
        log_floor: mel magnitude below which the logarithm is clamped.
        mel_scale: slaney (Auditory Toolbox) or htk.
        mel_norm: slaney (each band has area 1) or none (each band has peak 1).
        padding: same reflects (n_fft - hop_length) / 2 samples at each end, so that T samples give T // hop_length
            columns; center reflects n_fft / 2, so that they give one more.
        logarithm: ln or log10.
        power_offset: added to the squared magnitude of a bin before the root.
        dependent_bands: lets a bank through whose bands say the same as others, as one published space has.
    """

    sample_rate_hz: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    num_mels: int = 64
    f_min_hz: float = 0.0
    f_max_hz: float = 8000.0
    log_floor: float = 1e-5
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    padding: str = "same"
    logarithm: str = "ln"
    power_offset: float = 0.0
    dependent_bands: bool = False


@dataclass(frozen=True)
class MelSpec(MelFields):
    """A mel space: how a wave becomes log-mels, to the last detail, so that equal specs mean equal mels.

    It owns what depends on those details: decibels (a log-mel is the logarithm of an amplitude; of which base only this
    class knows) and lengths (whether columns are centred, likewise). The arguments are those of `MelFields`. Values are
    numbers, arrays or tensors of any shape; the natural logarithm of an amplitude is counted in nepers.
    """

    def __post_init__(self) -> None:
        nyquist_hz = self.sample_rate_hz / 2
        if not 0.0 <= self.f_min_hz < self.f_max_hz <= nyquist_hz:
            raise SpecError(
                f"mel range {self.f_min_hz} to {self.f_max_hz} Hz must rise "
                f"and end at most at the Nyquist rate {nyquist_hz} Hz"
            )
        even = "n_fft even with centred columns" if self._num_centred else "their difference even"
        if self.hop_length < 1 or self.n_fft < 2 * self.hop_length or self._num_reflected % 2:
            raise SpecError(f"hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}, {even}")
        if self.num_mels < 1 or not 0.0 < self.log_floor < 1.0:
            raise SpecError(f"num_mels {self.num_mels} must be positive and log_floor {self.log_floor} between 0 and 1")
        self._check_words()
        rank = self.num_mels if self.dependent_bands else _mel_rank(self)
        if rank < self.num_mels:
            raise SpecError(
                f"a bank of {self.num_mels} mel filters over n_fft {self.n_fft} has rank {rank}: "
                "use fewer mels or a longer n_fft"
            )

    @classmethod
    def of(cls, fields: MelFields) -> Self:
        """The mel space that a config's fields name.

        Raises:
            SpecError: an impossible geometry.
        """
        return cls(**{field.name: getattr(fields, field.name) for field in dataclasses.fields(MelFields)})

    def _check_words(self) -> None:
        for name, choices in _MEL_WORDS.items():
            if (value := getattr(self, name)) not in choices:
                raise SpecError(f"{name} {value!r} is unknown: choose one of {', '.join(choices)}")
        if not 0.0 <= self.power_offset < 1.0:
            raise SpecError(f"power_offset {self.power_offset} must be from 0 to below 1")

    def nepers(self, log_mel: _Values) -> _Values:
        """Log-mels of this space as natural logarithms, whose `exp` is the amplitude; those that are stay the same."""
        return log_mel if self.logarithm == "ln" else log_mel * (math.log(10.0) / _LOG_PER_DECADE[self.logarithm])

    def from_nepers(self, nepers: _Values) -> _Values:
        """The inverse of `nepers`."""
        return nepers if self.logarithm == "ln" else nepers * (_LOG_PER_DECADE[self.logarithm] / math.log(10.0))

    def db(self, log_mel: _Values) -> _Values:
        """Log-mels, or their differences, in decibels: 20 log10(amplitude)."""
        return log_mel * (20.0 / _LOG_PER_DECADE[self.logarithm])

    def from_db(self, db: _Values) -> _Values:
        """The inverse of `db`: decibels in the units of this space's log-mels."""
        return db * _LOG_PER_DECADE[self.logarithm] / 20.0

    def shift_db(self, log_mel: _Values, db: float) -> _Values:
        """Log-mels of the same sound made louder by `db`, below 0 quieter; nothing is clamped."""
        return log_mel + self.from_db(db)

    @property
    def _num_centred(self) -> int:
        """Columns beyond one per hop: those of a sound with centred columns stand at its first and its last sample."""
        return int(self.padding == "center")

    @property
    def _num_reflected(self) -> int:
        """Samples reflected at both ends together."""
        return self.n_fft - (0 if self._num_centred else self.hop_length)

    @property
    def edge_padding(self) -> int:
        """Samples reflected at each end of a sound."""
        return self._num_reflected // 2

    def num_mel_frames(self, num_samples: int) -> int:
        """Columns F of a sound of T samples; the last partial hop is dropped."""
        return num_samples // self.hop_length + self._num_centred

    def num_samples(self, num_mel_frames: int) -> int:
        """The fewest samples T that have F columns, which is what a vocoder makes of them."""
        return (num_mel_frames - self._num_centred) * self.hop_length

    def enough_mel_frames(self, num_samples: int) -> int:
        """The fewest columns F of which a vocoder makes T samples or more; its sound is less than a hop longer."""
        return -(-num_samples // self.hop_length) + self._num_centred

    def start_s(self, column: int) -> float:
        """Where the sound starts that a vocoder makes of the columns from this one on, in seconds of the whole."""
        return column * self.hop_length / self.sample_rate_hz

    def span_s(self, num_mel_frames: int) -> tuple[float, float]:
        """From where to where F columns, each a hop wide, reach in seconds: centred ones stand out by half a hop."""
        left_s = -0.5 * self._num_centred * self.start_s(1)
        return left_s, left_s + self.start_s(num_mel_frames)

    def difference(self, other: MelSpec) -> tuple[str, str]:
        """What this spec and another have unlike, as each has it: ("hop_length=160", "hop_length=256")."""
        mine, theirs = self.to_dict(), other.to_dict()
        unlike = [name for name in mine if mine[name] != theirs[name]]
        own, others = (", ".join(f"{name}={values[name]}" for name in unlike) for values in (mine, theirs))
        return own, others


@dataclass(frozen=True)
class SegmentSpec(_Spec):
    """What a model makes: `num_mel_frames` columns of a mel space, from embeddings of one CLIP space.

    Args:
        mel: the mel space.
        num_mel_frames: columns F of one segment.
        embed_width: CLIP width E.
        fingerprint: name of the CLIP space the condition lives in.
    """

    mel: MelSpec
    num_mel_frames: int
    embed_width: int
    fingerprint: str

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.embed_width < 1:
            raise SpecError(
                f"num_mel_frames {self.num_mel_frames} and embed_width {self.embed_width} must both be positive"
                f"{', and above 1 with centred columns' if self.mel.padding == 'center' else ''}"
            )

    @property
    def num_samples(self) -> int:
        """Audio samples T of one segment."""
        return self.mel.num_samples(self.num_mel_frames)

    @property
    def seconds(self) -> float:
        """Length of one segment."""
        return self.num_samples / self.mel.sample_rate_hz

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; the mel space may be a plain dict."""
        mel = values.get("mel")
        return super().from_dict({**values, "mel": MelSpec.from_dict(mel)} if isinstance(mel, dict) else values)


def _hz_to_mel(frequency_hz: float, scale: str) -> float:
    """Slaney's (Auditory Toolbox, 1998), linear below 1 kHz and logarithmic above; or HTK's 2595 log10(1 + f / 700)."""
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)
    linear = frequency_hz * 3.0 / 200.0
    return linear if frequency_hz < 1000.0 else 15.0 + 27.0 * math.log(frequency_hz / 1000.0) / math.log(6.4)


def _mel_to_hz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return mel * 200.0 / 3.0 if mel < 15.0 else 1000.0 * math.exp((mel - 15.0) * math.log(6.4) / 27.0)


def mel_band_edges_hz(spec: MelSpec) -> list[float]:
    """The num_mels + 2 edges of the triangular filters, in Hz."""
    low, high = (_hz_to_mel(hz, spec.mel_scale) for hz in (spec.f_min_hz, spec.f_max_hz))
    return [
        _mel_to_hz(low + (high - low) * index / (spec.num_mels + 1), spec.mel_scale)
        for index in range(spec.num_mels + 2)
    ]


def _mel_rank(spec: MelSpec) -> int:
    """Rank of the filterbank: consecutive triangles, so the sorted supports must admit distinct pivots."""
    import numpy as np

    edges_hz = np.array(mel_band_edges_hz(spec))
    bins_hz = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate_hz / spec.n_fft
    rise = (bins_hz[None] - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    fall = (edges_hz[2:, None] - bins_hz[None]) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    return int(np.linalg.matrix_rank(np.maximum(0.0, np.minimum(rise, fall))))
