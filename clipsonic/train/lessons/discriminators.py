"""Judges of waves: each tells recorded from made by its own view, folded by a period or as a spectrogram.

Guarantee: one item's scores do not depend on the others; any length of at least one window is taken. They are a
small part of the published widths, so that one CPU core can train them. Price at width 16: for 8 windows of half a
second about 0.2 s of one core per training step, half of it in each kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from clipsonic.train.lessons.vocoder_loss import RESOLUTIONS, magnitudes

PERIODS = (2, 3, 5, 7, 11)
_SLOPE = 0.1
_KERNEL, _STRIDE = 5, 3
_BINS = 8
_COMPRESSION = 0.3
"""Magnitudes are seen to this power: a sound's heard range is 60 dB, of which a linear picture shows 20."""

Heard = tuple[Tensor, list[Tensor]]


class PeriodDiscriminator(nn.Module):
    """Every p-th sample beside each other, then convolutions in time that never mix the p phases (HiFi-GAN, Kong et al.
    2020, arXiv 2010.05646, section 2.3).

    As 1-D convolutions over (B * p, 1, T / p): the published (k, 1) kernels at a third of their time on a CPU.

    Args:
        period: p.
        width: channels; the first layer has half of them, the last eight times as many.
    """

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, max(1, width // 2), width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(a, b, _KERNEL, _STRIDE if n < 4 else 1, padding=_KERNEL // 2))
            for n, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.score = weight_norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, wave_BT: Tensor) -> Heard:
        """Scores (B, N) and the features of each layer (B, ...)."""
        batch, length = wave_BT.shape
        padded_BT = functional.pad(wave_BT[:, None], (0, -length % self.period), mode="reflect")[:, 0]
        h = padded_BT.view(batch, -1, self.period).transpose(1, 2).reshape(batch * self.period, 1, -1)
        scores, features = _through(self.layers, self.score, h)
        return scores.reshape(batch, -1), [feature.view(batch, -1) for feature in features]


class ResolutionDiscriminator(nn.Module):
    """Convolutions over a magnitude spectrogram (UnivNet, Jang et al. 2021, arXiv 2106.07889, section 2.2, as Vocos has
    it), with eight neighbouring bins as channels of one place, which halves their time on a CPU.

    Args:
        n_fft, hop: of its spectrogram, in samples.
        width: channels of the first layer; the others have twice as many.
    """

    def __init__(self, n_fft: int, hop: int, width: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        widths, strides = [_BINS, width, 2 * width, 2 * width, 2 * width], (1, 2, 2, 1)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, 3, stride, padding=1))
            for (a, b), stride in zip(itertools.pairwise(widths), strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, wave_BT: Tensor) -> Heard:
        """Scores (B, N) and the features of each layer (B, ...)."""
        picture_BKF = magnitudes(wave_BT, self.n_fft, self.hop)[:, :-1].pow(_COMPRESSION)
        batch, bins, columns = picture_BKF.shape
        places = picture_BKF.view(batch, bins // _BINS, _BINS, columns).permute(0, 2, 3, 1)  # (B, _BINS, F, bands)
        scores, features = _through(self.layers, self.score, places.contiguous(memory_format=torch.channels_last))
        return scores.flatten(1), features


def _through(layers: nn.ModuleList, score: nn.Module, h: Tensor) -> Heard:
    features = []
    for layer in layers:
        h = functional.leaky_relu(layer(h), _SLOPE)
        features.append(h)
    return score(h), features


def wave_judges(width: int, resolutions: Sequence[tuple[int, int]] = RESOLUTIONS) -> list[nn.Module]:
    """One judge for each period and each resolution."""
    folded: list[nn.Module] = [PeriodDiscriminator(period, width) for period in PERIODS]
    return folded + [ResolutionDiscriminator(n_fft, hop, width) for n_fft, hop in resolutions]
