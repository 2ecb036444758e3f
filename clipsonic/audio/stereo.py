"""Two decorrelated channels of one: a pseudo-stereo that a mono player adds up to the sound itself.

Guarantee: left + right = 2 * mono, exactly but for rounding, and both have the length of the mono; bass stays in the
middle. Price: no place of anything is known, so this is width and not direction; short sounds are smeared by some
20 ms in the difference of the channels.

The difference is that of two chains of all-pass filters (M. R. Schroeder, "Natural sounding artificial reverberation",
1962), which have the same phase at 0 Hz and drift apart above.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DELAYS_S = ((0.0031, 0.0113), (0.0047, 0.0089))
_FEEDBACK = 0.5
_WIDTH = 0.35  # the difference is then 6 dB below the sum, and the channels' correlation about 0.6


def pseudo_stereo(wave: npt.ArrayLike, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """(T,) to (2, T), left and right."""
    mono_T = np.asarray(wave, np.float64)
    first_T, second_T = (_all_passed(mono_T, [round(s * sample_rate_hz) for s in chain]) for chain in _DELAYS_S)
    side_T = _WIDTH * (first_T - second_T)
    return np.stack([mono_T + side_T, mono_T - side_T]).astype(np.float32)


def _all_passed(wave_T: npt.NDArray[np.float64], delays: list[int]) -> npt.NDArray[np.float64]:
    from scipy.signal import lfilter

    for delay in delays:
        numerator = np.zeros(delay + 1)
        numerator[0], numerator[-1] = _FEEDBACK, 1.0
        wave_T = lfilter(numerator, numerator[::-1], wave_T)
    return wave_T
