"""How loud a sound of the demo is, and what is written with it: the one place where both are decided.

Guarantee: the wished loudness where the peak allows it, the peak never above the limit; silence stays silence. Price:
no limiter, so what has high peaks stays quieter than wished; the figure that is returned says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipsonic import __version__
from clipsonic.audio.wave import QUIETEST_LUFS, Wave, loudness_lufs, peak, write_audio

MAX_PEAK_DB = -1.0


def write_levelled(
    path: Path, wave: Wave, sample_rate_hz: int, target_lufs: float | None, prompt: str, seed: int
) -> float:
    """Write (T,) samples at this loudness, or as they are (None), with how they were made; returns LUFS as written."""
    levelled, lufs = _levelled(wave, sample_rate_hz, target_lufs)
    about = {"software": f"clipsonic {__version__}", "prompt": prompt, "seed": str(seed)}
    write_audio(path, levelled, sample_rate_hz, metadata=about)
    return lufs


def _levelled(wave: Wave, sample_rate_hz: int, target_lufs: float | None) -> tuple[Wave, float]:
    found, highest = loudness_lufs(wave, sample_rate_hz), peak(wave)
    if target_lufs is None or found <= QUIETEST_LUFS or highest == 0.0:
        return wave, found
    gain = min(10.0 ** ((target_lufs - found) / 20.0), 10.0 ** (MAX_PEAK_DB / 20.0) / highest)
    return (wave * np.float32(gain)).astype(np.float32), found + 20.0 * float(np.log10(gain))
