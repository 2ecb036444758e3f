"""A neural vocoder: ConvNeXt blocks over mel columns, then one inverse STFT (Vocos, Siuzdak 2023, arXiv 2306.00814).

Beyond Vocos, the wave is led back to the mel it was asked for: its spectrum is taken again, each bin scaled by what its
bands lack, and inverted, a round as in Griffin-Lim that starts from learned phases and is trained through. Columns that
overlap undo a part of what each asks for, so all rounds but the last go further than that (over-relaxation).
Guarantee: deterministic, exactly `spec.num_samples(F)` samples in [-1, 1] (scaled down where louder, not clipped), a
batch gives what its items give alone; the mel space is part of the config, so weights never meet mels of another.
Price: it knows the kind of sound it was trained on; about 3 ms of one core per second of sound at the bundled size, of
which each round takes 0.4 ms.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.audio.frames import analyse, frame_weight, inverse_stft
from clipsonic.audio.mel import mel_filterbank, with_mel_fields
from clipsonic.errors import SpecError
from clipsonic.specs import MelSpec

_KERNEL = 7
_LOG_CENTRE, _LOG_SPREAD = -5.0, 3.0
"""Nepers: log-mels of sounds at everyday levels lie here; fixed, so that no statistics travel with the weights."""
_LOUDEST = math.exp(8.0)
"""No magnitude of a sound within [-1, 1] is above n_fft / 2, 512 for 1,024 points."""
_LARGEST_GAIN = 20.0
"""Nepers that the network may add to a bin: from the floor of a mel, 1e-5, to beyond the loudest."""
_LARGEST_CORRECTION = 3.0
"""Nepers that one round may scale a bin by, so that a band of silence is not divided by nothing."""
_LEAST_POWER = 1e-14
_LARGEST_RELAXATION = 2.0
"""Beyond, and in a last round from 1.5 on, the loudest bins swing instead of coming nearer."""


class Vocos(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own two bases differ in config_name
    """Log-mels of one mel space to waves.

    The network says a phase and a correction of the magnitude for every bin of every column; the magnitude it corrects
    is the mel spread over the bins of its bands, so that it begins near the truth.

    Args:
        width: channels of the blocks.
        hidden: channels inside a block.
        depth: number of blocks; a column sees 3 * (depth + 1) columns to each side.
        rounds: how often the wave is led back to its mel; each sees n_fft / hop columns further.
        relaxation: what the nepers that bands lack are multiplied with in all rounds but the last.
        mel: the mel space: the fields of `MelSpec`, each a key of the config.

    Raises:
        SpecError: an impossible mel space, fewer rounds than none, or a relaxation beyond what converges.
    """

    filterbank: Tensor
    shares: Tensor
    spread: Tensor
    window: Tensor
    least_power: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    @with_mel_fields
    def __init__(
        self,
        *,
        width: int = 192,
        hidden: int = 576,
        depth: int = 6,
        rounds: int = 0,
        relaxation: float = 1.0,
        **mel: Any,
    ) -> None:
        super().__init__()
        self.spec = MelSpec(**mel)
        if rounds < 0:
            raise SpecError(f"rounds {rounds} must be 0 or more: change it")
        if not 0.0 < relaxation <= _LARGEST_RELAXATION:
            raise SpecError(f"relaxation {relaxation} must be above 0 and at most {_LARGEST_RELAXATION:g}: change it")
        self.rounds, self.relaxation, bins = rounds, relaxation, self.spec.n_fft // 2 + 1
        self.columns_in = nn.Conv1d(self.spec.num_mels, width, _KERNEL, padding=_KERNEL // 2)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, hidden, 1.0 / depth) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.bins_out = nn.Linear(width, 2 * bins)
        bank_MK, shares_MK = mel_filterbank(self.spec), _shares_of(self.spec)
        spread_MK = shares_MK / bank_MK.sum(dim=1, keepdim=True)  # a flat spectrum of magnitude a has mel a * sum(band)
        for name, matrix_MK in (("filterbank", bank_MK), ("shares", shares_MK), ("spread", spread_MK)):
            self.register_buffer(name, matrix_MK, persistent=False)
        self.register_buffer("window", torch.hann_window(self.spec.n_fft), persistent=False)
        self.register_buffer("least_power", torch.tensor(_LEAST_POWER), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, M, F) to waves (B, T) float32 in [-1, 1].

        Raises:
            SpecError: not (B, M, F), or no column.
        """
        spec = self.spec
        if log_mel.ndim != 3 or log_mel.shape[1] != spec.num_mels or log_mel.shape[2] < 1:
            raise SpecError(f"log-mel of shape {tuple(log_mel.shape)} must be (B, {spec.num_mels}, F), F at least 1")
        wave_BT = self.wave(log_mel)
        return wave_BT / wave_BT.abs().amax(dim=1, keepdim=True).clamp_min(1.0)

    def wave(self, log_mel_BMF: Tensor) -> Tensor:
        """log_mel (B, M, F) to waves (B, T) that may leave [-1, 1], as training needs them."""
        nepers_BMF = self.spec.nepers(log_mel_BMF)
        weight_1T = frame_weight(nepers_BMF.shape[2], self.spec, self.window)
        wave_BT = inverse_stft(self.spectrum(nepers_BMF), self.spec, self.window, weight_1T)
        if wave_BT.shape[1] > self.spec.edge_padding:
            nepers_BFM = nepers_BMF.float().transpose(1, 2)
            far_MK = self.relaxation * self.shares
            for left in reversed(range(self.rounds)):
                led_BFK = self._led(nepers_BFM, wave_BT, far_MK if left else self.shares)
                wave_BT = inverse_stft(led_BFK, self.spec, self.window, weight_1T)
        return wave_BT

    def spectrum(self, nepers_BMF: Tensor) -> Tensor:
        """The complex spectrum (B, F, n_fft // 2 + 1) of each column of log-mels in nepers, complex64."""
        dtype = self.columns_in.weight.dtype
        h_BWF = self.columns_in(((nepers_BMF - _LOG_CENTRE) / _LOG_SPREAD).to(dtype))
        h_BFW = self.norm_in(h_BWF.transpose(1, 2))
        for block in self.blocks:
            h_BFW = block(h_BFW)
        correction_BFK, phase_BFK = self.bins_out(self.norm_out(h_BFW)).float().chunk(2, dim=-1)
        guess_BFK = (nepers_BMF.float().exp().transpose(1, 2) @ self.spread).clamp_min(self.spec.log_floor)
        magnitude_BFK = (guess_BFK * correction_BFK.clamp_max(_LARGEST_GAIN).exp()).clamp_max(_LOUDEST)
        parts = magnitude_BFK * phase_BFK.cos(), magnitude_BFK * phase_BFK.sin()
        return torch.complex(*parts)  # three times as fast as polar

    def _led(self, nepers_BFM: Tensor, wave_BT: Tensor, shares_MK: Tensor) -> Tensor:
        """The wave's spectrum (B, F, K), its bins scaled so that each column has the mel that was asked for."""
        spectrum_BFK = analyse(wave_BT, self.spec, self.window)
        real_BFK, imaginary_BFK = torch.view_as_real(spectrum_BFK).unbind(dim=-1)
        power_BFK = torch.addcmul(self.least_power, real_BFK, real_BFK).addcmul_(imaginary_BFK, imaginary_BFK)
        made_BFM = power_BFK.sqrt_() @ self.filterbank.T
        lacking_BFM = nepers_BFM - made_BFM.clamp_min(self.spec.log_floor).log()
        gain_BFK = (lacking_BFM.clamp(-_LARGEST_CORRECTION, _LARGEST_CORRECTION) @ shares_MK).exp_()
        return spectrum_BFK * gain_BFK


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution in time, then an MLP over channels (Liu et al. 2022, arXiv 2201.03545).

    Args:
        width: channels.
        hidden: channels of the MLP.
        first_scale: what the block's answer is multiplied with before training.
        epsilon: of the normalisation.
    """

    def __init__(self, width: int, hidden: int, first_scale: float, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.mlp_in = nn.Linear(width, hidden)
        self.mlp_out = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), first_scale))

    def forward(self, h_BFW: Tensor) -> Tensor:
        """h (B, F, W) to the same shape."""
        told_BFW = self.mlp_out(functional.gelu(self.mlp_in(self.norm(self._near(h_BFW)))))
        return torch.addcmul(h_BFW, self.scale, told_BFW)

    def _near(self, h_BFW: Tensor) -> Tensor:
        """`near` as a sum of shifted columns, channels last: half of the time of the convolution on a CPU."""
        around_BFW = functional.pad(h_BFW, (0, 0, _KERNEL // 2, _KERNEL // 2))
        taps_WK, bias_W = self.near.weight[:, 0], self.near.bias
        assert bias_W is not None
        near_BFW = torch.addcmul(bias_W, around_BFW[:, : h_BFW.shape[1]], taps_WK[:, 0])
        for place in range(1, _KERNEL):
            near_BFW.addcmul_(around_BFW[:, place : place + h_BFW.shape[1]], taps_WK[:, place])
        return near_BFW


def _shares_of(spec: MelSpec) -> Tensor:
    """(M, K): the say of each band in a bin, as it sees the bin; a bin that no band sees is left to the network."""
    bank_MK = mel_filterbank(spec)
    return bank_MK / bank_MK.sum(dim=0).clamp_min(1e-12)
