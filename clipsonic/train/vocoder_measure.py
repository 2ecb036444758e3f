"""How good a vocoder is on sounds that it never learned from, beside Griffin-Lim and beside what a mel can know at all.

Log-spectral distance punishes realism (independent noise through the same mel is 8 dB away), so it is printed with its
floor: the mel's own magnitudes with the true phases.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from clipsonic.audio.frames import analyse
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
    spec = vocoder.spec
    waves = _cut(sounds, spec, max_seconds)
    makers: dict[str, Callable[[Tensor], Tensor]] = {"": vocoder, "_griffin_lim": GriffinLim(spec)}
    log_mel, figures, seconds = LogMel(spec), {}, {}
    mels = [log_mel(wave) for wave in waves]
    for name, make in makers.items():
        started = time.perf_counter()
        with torch.inference_mode():
            made = [make(mel) for mel in mels]
        seconds[name] = time.perf_counter() - started
        figures[f"mel_db{name}"] = _mean(
            spec.db(float((log_mel(wave) - mel).abs().mean())) for wave, mel in zip(made, mels, strict=True)
        )
        figures[f"lsd_db{name}"] = _mean(
            log_spectral_distance_db(one, true, spec) for one, true in zip(made, waves, strict=True)
        )
    figures["lsd_db_floor"] = _mean(_floor_db(vocoder, wave, mel) for wave, mel in zip(waves, mels, strict=True))
    length_s = sum(wave.shape[1] for wave in waves) / spec.sample_rate_hz
    return {
        **figures,
        "times_faster_than_griffin_lim": seconds["_griffin_lim"] / seconds[""],
        "times_faster_than_real_time": length_s / seconds[""],
        "seconds_judged": length_s,
    }


def log_spectral_distance_db(made_1T: Tensor, true_1T: Tensor, spec: MelSpec) -> float:
    """Root mean square difference of log magnitudes over bins, averaged over columns; 80 dB below the peak is floor."""
    made_db, true_db = (_magnitudes_db(wave, spec) for wave in (made_1T, true_1T))
    floor_db = float(true_db.max()) - _RANGE_DB
    difference_db = made_db.clamp_min(floor_db) - true_db.clamp_min(floor_db)
    return float(difference_db.square().mean(dim=-1).sqrt().mean())


def _floor_db(vocoder: Vocos, wave_1T: Tensor, mel: Tensor) -> float:
    magnitude = GriffinLim(vocoder.spec).linear_magnitude(mel).transpose(1, 2)
    phase = _columns(wave_1T, vocoder.spec).angle()
    return log_spectral_distance_db(vocoder.inverse_stft(torch.polar(magnitude, phase)), wave_1T, vocoder.spec)


def _columns(wave_1T: Tensor, spec: MelSpec) -> Tensor:
    return analyse(wave_1T, spec, torch.hann_window(spec.n_fft))


def _magnitudes_db(wave_1T: Tensor, spec: MelSpec) -> Tensor:
    return 20.0 * _columns(wave_1T, spec).abs().clamp_min(1e-7).log10()


def _cut(sounds: list[np.ndarray], spec: MelSpec, max_seconds: float) -> list[Tensor]:
    left, waves = round(max_seconds * spec.sample_rate_hz), []
    for sound in sounds:
        length = spec.num_samples(spec.num_mel_frames(min(len(sound), left)))
        if length <= 2 * spec.n_fft:
            break
        waves.append(torch.from_numpy(sound[:length].astype(np.float32) / 32768.0)[None])
        left -= length
    return waves


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]
