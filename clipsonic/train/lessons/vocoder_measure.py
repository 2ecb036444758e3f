"""How good a vocoder is on sounds that it never learned from, beside Griffin-Lim and beside what a mel can know at all.

Log-spectral distance punishes realism (independent noise through the same mel is 8 dB away), so it is printed with its
floor: the mel's own magnitudes with the true phases.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from clipsonic.audio.frames import analyse, inverse_stft
from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.specs import MelSpec

_RANGE_DB = 80.0


def measure_vocoder(vocoder: Vocos, sounds: list[np.ndarray], max_seconds: float = 120.0) -> dict[str, float]:
    """Figures on int16 sounds, each cut to whole columns; of many only the first `max_seconds` in all.

    `mel_db`: mean absolute distance of log-mels; `lsd_db`: log-spectral distance; `*_floor`, `*_griffin_lim` for
    comparison; `times_faster` than Griffin-Lim and than `real_time`.
    """
    yardstick = Yardstick(vocoder.spec, sounds, max_seconds)
    figures, seconds = yardstick.figures(vocoder)
    length_s = sum(wave.shape[1] for wave in yardstick.waves) / vocoder.spec.sample_rate_hz
    return {
        **figures,
        **yardstick.others,
        "times_faster_than_griffin_lim": yardstick.griffin_lim_s / seconds,
        "times_faster_than_real_time": length_s / seconds,
        "seconds_judged": length_s,
    }


class Yardstick:
    """Sounds that vocoders of a mel space are measured on, and what Griffin-Lim and the mel itself come to on them.

    Args:
        spec: the mel space.
        sounds, max_seconds: see `measure_vocoder`.
    """

    def __init__(self, spec: MelSpec, sounds: list[np.ndarray], max_seconds: float = 120.0) -> None:
        self._spec, self._log_mel = spec, LogMel(spec)
        self.waves = _cut(sounds, spec, max_seconds)
        self._mels = [self._log_mel(wave) for wave in self.waves]

    def figures(self, make: Callable[[Tensor], Tensor]) -> tuple[dict[str, float], float]:
        """`mel_db` and `lsd_db` of a vocoder on the CPU, and the seconds that it took."""
        started = time.perf_counter()
        with torch.inference_mode():
            made = [make(mel) for mel in self._mels]
        seconds = time.perf_counter() - started
        mel_db = _mean(
            self._spec.db(float((self._log_mel(wave) - mel).abs().mean()))
            for wave, mel in zip(made, self._mels, strict=True)
        )
        pairs = zip(made, self.waves, strict=True)
        lsd_db = _mean(log_spectral_distance_db(one, true, self._spec) for one, true in pairs)
        return {"mel_db": mel_db, "lsd_db": lsd_db}, seconds

    @cached_property
    def others(self) -> dict[str, float]:
        """The same of Griffin-Lim, and the floor of the log-spectral distance."""
        figures, self.griffin_lim_s = self.figures(GriffinLim(self._spec))
        floor_db = _mean(self._floor_db(wave, mel) for wave, mel in zip(self.waves, self._mels, strict=True))
        return {**{f"{name}_griffin_lim": value for name, value in figures.items()}, "lsd_db_floor": floor_db}

    def _floor_db(self, wave_1T: Tensor, mel: Tensor) -> float:
        spec, window = self._spec, torch.hann_window(self._spec.n_fft)
        magnitude = GriffinLim(spec).linear_magnitude(mel).transpose(1, 2)
        phase = analyse(wave_1T, spec, window).angle()
        return log_spectral_distance_db(inverse_stft(torch.polar(magnitude, phase), spec, window), wave_1T, spec)


def log_spectral_distance_db(made_1T: Tensor, true_1T: Tensor, spec: MelSpec) -> float:
    """Root mean square difference of log magnitudes over bins, averaged over columns; 80 dB below the peak is floor."""
    made_db, true_db = (_magnitudes_db(wave, spec) for wave in (made_1T, true_1T))
    floor_db = float(true_db.max()) - _RANGE_DB
    difference_db = made_db.clamp_min(floor_db) - true_db.clamp_min(floor_db)
    return float(difference_db.square().mean(dim=-1).sqrt().mean())


def _magnitudes_db(wave_1T: Tensor, spec: MelSpec) -> Tensor:
    return 20.0 * analyse(wave_1T, spec, torch.hann_window(spec.n_fft)).abs().clamp_min(1e-7).log10()


def _cut(sounds: list[np.ndarray], spec: MelSpec, max_seconds: float) -> list[Tensor]:
    left, waves = round(max_seconds * spec.sample_rate_hz), []
    for sound in sounds:
        length = spec.num_samples(spec.num_mel_frames(min(len(sound), left)))
        if length <= 2 * spec.n_fft:
            continue
        waves.append(torch.from_numpy(sound[:length].astype(np.float32) / 32768.0)[None])
        left -= length
    return waves


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]
