"""What codecs, rooms and gaps do to a sound and to its spectrogram, for whoever must name it all the same.

Guarantee: pure functions; all that is random is an argument. Price: two Fourier transforms of the sound.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW_PASS_HZ, _LOW_PASS_WIDTH_HZ = (4500.0, 12000.0), 150.0
_TILT_DB_PER_OCTAVE = (-2.0, 2.0)
_NOISE_DB = (-60.0, -15.0)
_WIDEST_BAND = 8
_TIMES_WIDEST_TIME = 6


def worsen(
    wave_BT: Tensor, noise_BT: Tensor, low_pass_B: Tensor, tilt_B: Tensor, level_B: Tensor, rate_hz: int
) -> Tensor:
    """A low-pass, a tilt of up to 2 dB per octave, noise 15 to 60 dB below: what codecs and rooms do.

    Args:
        wave_BT: (B, T) at `rate_hz`.
        noise_BT: standard normal.
        low_pass_B, tilt_B, level_B: of filter, tilt and noise, in [0, 1).
    """
    frequency_F = torch.fft.rfftfreq(wave_BT.shape[1], 1 / rate_hz, device=wave_BT.device)
    pass_BF = torch.sigmoid((_between(_LOW_PASS_HZ, low_pass_B) - frequency_F) / _LOW_PASS_WIDTH_HZ)
    octaves_F = torch.log2(frequency_F.clamp_min(60.0) / 1000.0)
    tilt_BF = 10.0 ** (_between(_TILT_DB_PER_OCTAVE, tilt_B) * octaves_F / 20.0)
    shaped_BT = torch.fft.irfft(torch.fft.rfft(wave_BT) * pass_BF * tilt_BF, n=wave_BT.shape[1])
    level_B1 = shaped_BT.square().mean(dim=1, keepdim=True).sqrt() * 10.0 ** (_between(_NOISE_DB, level_B) / 20.0)
    worse_BT: Tensor = shaped_BT + level_B1 * noise_BT
    return worse_BT


def _between(ends: tuple[float, float], share_B: Tensor) -> Tensor:
    return (ends[0] + (ends[1] - ends[0]) * share_B)[:, None]


def hide(picture_B1MF: Tensor, band_width_B: Tensor, band_B: Tensor, time_width_B: Tensor, time_B: Tensor) -> Tensor:
    """Blank a stretch of frequency and one of time (Park et al. 2019, arXiv 1904.08779).

    Args:
        picture_B1MF: (B, 1, M, F).
        band_width_B, band_B, time_width_B, time_B: width and place of each stretch, in [0, 1).
    """
    bands, columns = picture_B1MF.shape[2:]
    kept_BM = ~_stretch(bands, _WIDEST_BAND, band_width_B, band_B)
    kept_BF = ~_stretch(columns, columns // _TIMES_WIDEST_TIME, time_width_B, time_B)
    return picture_B1MF * (kept_BM[:, None, :, None] & kept_BF[:, None, None, :])


def _stretch(length: int, widest: int, width_B: Tensor, place_B: Tensor) -> Tensor:
    """(B, length), true in a stretch of fewer than `widest` places."""
    width_B1 = (width_B * widest).floor()[:, None]
    start_B1 = (place_B[:, None] * (length - width_B1)).floor()
    places = torch.arange(length, device=width_B.device)
    return (places >= start_B1) & (places < start_B1 + width_B1)
