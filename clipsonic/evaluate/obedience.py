"""How far a sound obeys the law of the scene it was made for: pitch, rate, onsets, level, and how it follows change.

Guarantee: measured on the waveform by signal processing, the same for every row, so the true sound's row shows the
measure's own error; a figure is made only of the scenes in which its law can be heard in the segment. Price: rulers
(`rulers.py`), rendered once, and about 10 ms per sound.

    pitch_semitones      median distance from the law's pitch, of kinds that have one
    rate_error           median |made / law - 1|, of kinds that recur regularly, in scenes that keep their speed
    onset_ms             median distance from each of the law's onsets to the nearest one heard and from each one heard
                         to the nearest of the law, of kinds with onsets
    level_db             median difference of the level (RMS) to the true sound's
    envelope_correlation mean correlation of the loudness curve with the true one's, of scenes that start, stop or
                         change inside the segment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from clipsonic.measure.metrics import bootstrap_interval
from clipsonic.measure.rulers import has_pitch, has_rate, onset_strength, pitch_error_semitones, rate_error
from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.scene import Scene

_TINY = 1e-5
_WHOLE_SHARE = 0.9
_INSIDE_S = 0.6  # a change nearer to the segment's border can hardly be heard in it
_BLOCK_S, _SMOOTH_S = 0.05, 0.2
_FLOOR_DB = 40.0
_ONSET_GAP_S, _ONSET_STEP_S, _ONSET_SHARE = 0.08, 0.005, 0.3


@dataclass(frozen=True)
class Heard:
    """A scene and the stretch of it that a sound was made for."""

    scene: Scene
    start_s: float
    seconds: float

    @property
    def speed(self) -> float | None:
        """The speed, if the thing sounds (nearly) throughout the stretch and keeps it, else None."""
        end_s = self.start_s + self.seconds
        for phase in self.scene.phases:
            if min(end_s, phase.end_s) - max(self.start_s, phase.start_s) >= _WHOLE_SHARE * self.seconds:
                return phase.speed
        return None

    @property
    def changes(self) -> bool:
        """Whether it starts, stops or changes well inside the stretch."""
        borders = [at for phase in self.scene.phases for at in (phase.start_s, phase.end_s)]
        return any(_INSIDE_S <= at - self.start_s <= self.seconds - _INSIDE_S for at in borders)

    @property
    def onsets_s(self) -> np.ndarray:
        """The law's onsets inside the stretch, from its start, in seconds."""
        times_s = np.array([event.time_s for event in self.scene.events]) - self.start_s
        return times_s[(times_s >= 0.0) & (times_s < self.seconds)]


class LawEars:
    """Hears a row of sounds against the laws.

    Args:
        heard: of every item.
        true: the true sounds (N, T).
        sample_rate_hz: of all sounds.
        seed: of the resampled intervals.
    """

    def __init__(self, heard: Sequence[Heard], true: np.ndarray, sample_rate_hz: int, seed: int) -> None:
        self._heard, self._rate_hz, self._seed = list(heard), sample_rate_hz, seed
        self._levels_db = [_level_db(wave) for wave in true]
        self._envelopes = [
            loudness_curve(wave, sample_rate_hz) if one.changes else None for one, wave in zip(heard, true, strict=True)
        ]

    def figures(self, waves: np.ndarray) -> dict[str, Any]:
        """The figures of a row of waves (n, T), n at most N; one that no scene allows is left out."""
        count = len(waves)
        pairs = list(zip(self._heard[:count], waves, strict=True))
        measured = {
            "pitch_semitones": [
                pitch_error_semitones(wave, one.scene, self._rate_hz) for one, wave in pairs if has_pitch(one.scene)
            ],
            "rate_error": [
                rate_error(wave, one.scene, one.speed, self._rate_hz)
                for one, wave in pairs
                if has_rate(one.scene) and one.speed is not None
            ],
            "onset_ms": [
                offset for one, wave in pairs for offset in onset_offsets_ms(wave, one.onsets_s, self._rate_hz)
            ],
            "level_db": [
                abs(_level_db(wave) - level) for level, wave in zip(self._levels_db[:count], waves, strict=True)
            ],
            "envelope_correlation": [
                correlation(curve, loudness_curve(wave, self._rate_hz))
                for curve, wave in zip(self._envelopes[:count], waves, strict=True)
                if curve is not None
            ],
        }
        return {name: self._interval(name, values) for name, values in measured.items() if values}

    def _interval(self, name: str, values: Sequence[float]) -> dict[str, float]:
        statistic = np.mean if name == "envelope_correlation" else np.median
        rng = numpy_rng(self._seed, "evaluate.bootstrap", name)
        interval = bootstrap_interval(np.array(values), rng, num_resamples=1000, statistic=statistic)
        return {**interval._asdict(), "count": len(values)}


def loudness_curve(wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Level of wave (T,) in dB every 50 ms, smoothed over 0.2 s, at most 40 dB below its own highest."""
    block = round(_BLOCK_S * sample_rate_hz)
    power = np.square(wave[: len(wave) // block * block].astype(np.float64)).reshape(-1, block).mean(axis=1)
    smooth = gaussian_filter1d(power, _SMOOTH_S / _BLOCK_S)
    level_db = 10.0 * np.log10(np.maximum(smooth, _TINY**2))
    return np.asarray(np.maximum(level_db, level_db.max() - _FLOOR_DB))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two curves; 0 where one of them does not move."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > _TINY else 0.0


def onset_offsets_ms(wave: np.ndarray, onsets_s: np.ndarray, sample_rate_hz: int) -> list[float]:
    """Distance of each of these onsets to the nearest one heard in wave (T,), and of each one heard to the nearest.

    Both ways, since a sound with onsets everywhere would otherwise miss none. The whole segment where none is heard.
    """
    if not len(onsets_s):
        return []
    heard_s = heard_onsets_s(wave, sample_rate_hz)
    if not len(heard_s):
        return [1000.0 * len(wave) / sample_rate_hz] * len(onsets_s)
    distances_ms = 1000.0 * np.abs(heard_s[:, None] - onsets_s[None])
    return [*distances_ms.min(axis=0).tolist(), *distances_ms.min(axis=1).tolist()]


def heard_onsets_s(wave: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Moments at which something begins in wave (T,): peaks of the spectral flux above a share of its highest."""
    strength = onset_strength(wave, sample_rate_hz)
    highest = float(strength.max(initial=0.0))
    if highest <= 0.0:
        return np.zeros(0)
    gap = round(_ONSET_GAP_S / _ONSET_STEP_S)
    peaks, _ = find_peaks(strength, prominence=_ONSET_SHARE * highest, distance=gap)
    return np.asarray(peaks * _ONSET_STEP_S)


def _level_db(wave: np.ndarray) -> float:
    return 20.0 * float(np.log10(max(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))), _TINY)))
