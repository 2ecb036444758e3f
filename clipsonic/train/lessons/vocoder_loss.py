"""How far a wave is from the true one, to a vocoder in training: magnitudes at several resolutions, and the mel.

Guarantee: zero for equal waves, finite for silent ones; a pure function. Price: three short-time transforms of each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm as norm

from clipsonic.audio.mel import LogMel

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""FFT length and hop of each transform, in samples."""
_FLOOR = 1e-5
_HEARD_RANGE_DB = 60.0


def spectral_loss(made_BT: Tensor, true_BT: Tensor, resolutions: tuple[tuple[int, int], ...] = RESOLUTIONS) -> Tensor:
    """Multi-resolution STFT loss (Yamamoto et al. 2020, arXiv 1910.11480, eq. 4 to 7) of each item, (B,).

    Per resolution: the distance of magnitudes relative to the true ones, plus the mean distance of their logs.
    """
    total_B = made_BT.new_zeros(len(made_BT))
    for n_fft, hop in resolutions:
        made, true = magnitudes(made_BT, n_fft, hop), magnitudes(true_BT, n_fft, hop)
        convergence_B = norm(true - made, dim=(1, 2)) / norm(true, dim=(1, 2)).clamp_min(1.0)
        distance_B = (true.clamp_min(_FLOOR).log() - made.clamp_min(_FLOOR).log()).abs().mean(dim=(1, 2))
        total_B = total_B + convergence_B + distance_B
    return total_B / len(resolutions)


def mel_loss(log_mel: LogMel, made_BT: Tensor, true_BMF: Tensor) -> Tensor:
    """Mean distance of log-mels, plus that of what stands out of 60 dB below each sound's loudest cell, of each item
    (B,), in nepers.

    The second part is what is heard at any playback level, and what the soundstage's judge looks at; cells that both
    sides have below it cost nothing.
    """
    made_BMF = log_mel(made_BT)
    least_B11 = log_mel.spec.shift_db(true_BMF.amax(dim=(1, 2), keepdim=True), -_HEARD_RANGE_DB)
    heard_BMF = (made_BMF.maximum(least_B11) - true_BMF.maximum(least_B11)).abs()
    total_B: Tensor = ((made_BMF - true_BMF).abs() + heard_BMF).mean(dim=(1, 2))
    return log_mel.spec.nepers(total_B)


def magnitudes(wave_BT: Tensor, n_fft: int, hop: int) -> Tensor:
    """Short-time magnitudes (B, K, F) with a Hann window; the gradient stays finite where there is silence.

    Only whole windows: the spectrum of one that is reflected about its middle is real, so its bins cross zero, where
    the slope of a logarithm has no bound; weights moved by 1e-6 turned the gradient by 3.6 % so, and by 0.4 % without.
    """
    window = torch.hann_window(n_fft, device=wave_BT.device)
    spectrum = torch.stft(wave_BT, n_fft, hop, window=window, center=False, return_complex=True)
    real, imaginary = torch.view_as_real(spectrum).unbind(-1)
    return (real * real + imaginary * imaginary + _FLOOR**2).sqrt()
