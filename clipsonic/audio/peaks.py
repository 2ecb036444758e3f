"""True peaks: what a sound's samples reach between them, and a limiter that holds them below a ceiling.

Guarantee: a limited sound stays under the ceiling at eight times its rate (ITU-R BS.1770-4 asks for four); its gain
moves smoothly, over 50 ms, and is 1 wherever nothing within 50 ms is too loud; all channels share it. A stream gives
what the whole gives, however it is cut. Price: 50 ms of look-ahead; about 15 ms per second of sound at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

OVERSAMPLING = 8
QUIETEST_DB = -120.0
_MARGIN_DB = 0.05  # for the gain's own movement between samples, and for 16 bits
_SMOOTHING_S = 0.025  # half of the window
_FILTER_REACH = 12  # samples that the interpolating filter looks to each side, and the neighbours taken
_BLOCK_S = 10.0


def true_peak_db(wave: npt.ArrayLike) -> float:
    """The largest magnitude of (T,) or (C, T), eight times oversampled, in dB of full scale (dBTP), at least -120."""
    samples = np.atleast_2d(np.asarray(wave, np.float32))
    block = round(_BLOCK_S * 48000)
    pieces = (
        samples[:, max(0, at - _FILTER_REACH) : at + block + _FILTER_REACH] for at in range(0, samples.shape[1], block)
    )
    highest = max((float(np.abs(_oversampled(piece)).max()) for piece in pieces), default=0.0)
    return max(QUIETEST_DB, 20.0 * float(np.log10(highest))) if highest > 0.0 else QUIETEST_DB


def limit(wave: Samples, sample_rate_hz: int, ceiling_db: float) -> Samples:
    """(C, T) with its true peaks at or below `ceiling_db`."""
    if not wave.shape[1]:
        return wave
    block = round(_BLOCK_S * sample_rate_hz)
    blocks = (wave[:, at : at + block] for at in range(0, wave.shape[1], block))
    return np.concatenate(list(limited(blocks, sample_rate_hz, ceiling_db)), axis=1)


def limited(chunks: Iterable[Samples], sample_rate_hz: int, ceiling_db: float) -> Iterator[Samples]:
    """The chunks (C, n) of a stream, limited; they come out cut otherwise, with the same sum of lengths."""
    half = round(_SMOOTHING_S * sample_rate_hz)
    reach = 2 * half + _FILTER_REACH
    ceiling = 10.0 ** ((ceiling_db - _MARGIN_DB) / 20.0)
    held: Samples | None = None
    for chunk in chunks:
        held = np.concatenate([np.zeros((len(chunk), reach), np.float32) if held is None else held, chunk], axis=1)
        if held.shape[1] > 2 * reach:
            yield _turned_down(held, ceiling, half)[:, reach:-reach]
            held = held[:, -2 * reach :]
    if held is not None:
        held = np.concatenate([held, np.zeros((len(held), reach), np.float32)], axis=1)
        yield _turned_down(held, ceiling, half)[:, reach:-reach]


def _turned_down(wave_CT: Samples, ceiling: float, half: int) -> Samples:
    """Every sample times the smoothed gain that its surroundings need; what lies within `reach` of an end is not exact.

    The least gain of a window, averaged over the same window, is nowhere above the gain that is needed.
    """
    needed_T = ceiling / np.maximum(_highest_near(wave_CT), ceiling)
    if needed_T.min() >= 1.0:
        return wave_CT
    from scipy.ndimage import minimum_filter1d
    from scipy.signal import oaconvolve

    window = np.hanning(2 * half + 3)[1:-1]
    least_T = np.pad(minimum_filter1d(needed_T, 2 * half + 1, mode="nearest"), half, mode="edge")
    gain_T = np.minimum(oaconvolve(least_T, window / window.sum(), mode="valid"), 1.0)
    return np.asarray(wave_CT * gain_T, np.float32)


def _highest_near(wave_CT: Samples) -> npt.NDArray[np.float64]:
    """For every sample the largest magnitude between its two neighbours, over all channels: (T,)."""
    highest = np.abs(_oversampled(wave_CT)).max(axis=0).reshape(-1, OVERSAMPLING)
    after_T = highest.max(axis=1).astype(np.float64)  # from each sample to just before the next one
    return np.maximum(after_T, np.concatenate([[0.0], after_T[:-1]]))


def _oversampled(wave_CT: Samples) -> npt.NDArray[np.float32]:
    """(C, 8 T): the band-limited sound between its samples."""
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(wave_CT, OVERSAMPLING, 1, axis=1), np.float32)
