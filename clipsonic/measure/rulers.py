"""Rulers: what a kind sounds like at every pitch and every rate, to read both off any sound. No network is involved.

A sound is held against renders of the law at known sizes (for its pitch) or known speeds (for its rate): the reading
is the place of the render it is most like. Bells, barks and croaks have no pitch that a general tracker would agree on,
and three frogs no simple rate; this needs neither. Guarantee: a pure function of sound and scene; readings of true
sound are 0.1 to 0.2 semitones and (median) 2 % off the law (held by a test). Price: a ruler is rendered once per kind,
material and count, in about 0.4 s of one core; a reading takes 2 to 5 ms.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import Scene, plain_scene
from clipsonic.soundstage.synth import synthesize

PITCH_RANGE_SEMITONES = 24.0
RATE_RANGE = 4.0
_SECONDS = 4.096
_SIZES = np.linspace(0.0, 1.0, 33)
_SPEEDS = np.linspace(0.0, 1.0, 13)
_TAKES = 2  # of things whose onsets are jittered
_SILENT_RMS = 1e-4

_PITCH_FFT, _PITCH_HOP = 2048, 512
_PITCH_CENTRES_HZ = 100.0 * 2.0 ** (np.arange(0.0, 6.3, 1 / 24))
_ONSET_FFT, _ONSET_HOP_S = 512, 0.005
_MODULATIONS_HZ = 0.3 * 2.0 ** (np.arange(0.0, 7.6, 1 / 12))
_MODULATION_POINTS = 8192


def has_pitch(scene: Scene) -> bool:
    """Whether the size of this thing is heard as pitch."""
    return scene.law.pitched


def has_rate(scene: Scene) -> bool:
    """Whether this thing's speed is heard as a rate."""
    return scene.law.slow_hz is not None and scene.law.periodic


def pitch_error_semitones(wave: np.ndarray, scene: Scene, sample_rate_hz: int) -> float:
    """How far the pitch of wave (T,) is from the scene's law, >= 0; silence is as wrong as the range is wide."""
    if _rms(wave) < _SILENT_RMS:
        return PITCH_RANGE_SEMITONES
    seen = _pitch_features(wave, sample_rate_hz)
    readings = [_reading(_pitch_ruler(scene.kind, made_of, sample_rate_hz) @ seen) for made_of in scene.law.materials]
    size = _SIZES[0] + max(readings)[1] * (_SIZES[1] - _SIZES[0])
    return float(PITCH_RANGE_SEMITONES * abs(size - scene.size))


def rate_error(wave: np.ndarray, scene: Scene, speed: float, sample_rate_hz: int) -> float:
    """|rate of wave (T,) / rate of the law at this speed - 1|; silence is as wrong as the range is wide."""
    if _rms(wave) < _SILENT_RMS:
        return RATE_RANGE - 1.0
    ruler = _rate_ruler(scene.kind, scene.material, scene.count, sample_rate_hz)
    made = _SPEEDS[0] + _reading(ruler @ _rate_features(wave, sample_rate_hz))[1] * (_SPEEDS[1] - _SPEEDS[0])
    return float(abs(RATE_RANGE ** (made - speed) - 1.0))


def _reading(likeness: np.ndarray) -> tuple[float, float]:
    """The highest likeness, and where on the ruler it lies, between its marks by a parabola through three of them."""
    top = int(likeness.argmax())
    if not 0 < top < len(likeness) - 1:
        return float(likeness[top]), float(top)
    before, at, after = likeness[top - 1 : top + 2]
    bend = before - 2.0 * at + after
    return float(at), top + (0.5 * float((before - after) / bend) if bend < 0.0 else 0.0)


@cache
def _pitch_ruler(kind: str, material: str, rate_hz: int) -> np.ndarray:
    """(sizes, features) of one such thing at middle speed."""
    scenes = [plain_scene(kind, material, size, 0.5, 1, duration_s=_SECONDS) for size in _SIZES]
    return np.stack([_pitch_features(synthesize(scene, rate_hz), rate_hz) for scene in scenes])


@cache
def _rate_ruler(kind: str, material: str, count: int, rate_hz: int) -> np.ndarray:
    """(speeds, features) of so many things of middle size, mean of a few takes."""
    return np.stack([_mean_take(kind, material, count, float(speed), rate_hz) for speed in _SPEEDS])


def _mean_take(kind: str, material: str, count: int, speed: float, rate_hz: int) -> np.ndarray:
    num_takes = _TAKES if KINDS[kind].mode == "events" else 1
    takes = [
        plain_scene(kind, material, 0.5, speed, count, duration_s=_SECONDS, seed=seed) for seed in range(num_takes)
    ]
    return np.asarray(np.mean([_rate_features(synthesize(scene, rate_hz), rate_hz) for scene in takes], axis=0))


def _pitch_features(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """The compressed long-term spectrum over log-frequency, 24 bins an octave, without its mean, of length 1."""
    spectrum = _magnitudes(wave, _PITCH_FFT, _PITCH_HOP).square().mean(dim=1).numpy()
    places = _PITCH_CENTRES_HZ / (rate_hz / _PITCH_FFT)
    widths = np.maximum(places * (2.0 ** (1 / 48) - 2.0 ** (-1 / 48)), 1.0)
    power = np.interp(places, np.arange(len(spectrum)), spectrum) * widths
    return _unit(np.maximum(power, 1e-12) ** 0.25)


def _rate_features(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """The compressed spectrum of the onset strength over log-frequency, without its mean, of length 1."""
    strength = onset_strength(wave, rate_hz)
    window = np.hanning(len(strength))
    spectrum = np.abs(np.fft.rfft((strength - strength.mean()) * window, _MODULATION_POINTS))
    places = _MODULATIONS_HZ * _ONSET_HOP_S * _MODULATION_POINTS
    return _unit(np.interp(places, np.arange(len(spectrum)), spectrum) ** 0.5)


def onset_strength(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Rise of the log-magnitudes over all frequencies from frame to frame, every 5 ms: spectral flux."""
    level = wave / max(_rms(wave), _SILENT_RMS)
    magnitudes = _magnitudes(level.astype(np.float32), _ONSET_FFT, round(_ONSET_HOP_S * rate_hz))
    return np.asarray(torch.log1p(30.0 * magnitudes).diff(dim=1).clamp_min(0.0).sum(dim=0).numpy())


def _magnitudes(wave: np.ndarray, n_fft: int, hop: int) -> torch.Tensor:
    spectrum = torch.stft(torch.from_numpy(wave), n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
    return spectrum.abs()


def _unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-12))


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
