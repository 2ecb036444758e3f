"""Waves to log-mel pictures, in the mel space a `MelSpec` names.

Guarantee: the filterbank is librosa's (torchaudio's for HTK bands of peak 1), framing, offset and logarithm are the
spec's, so the mels are the publisher's within float32 rounding (`spaces.py` names the published ones). Price: one FFT
of `n_fft` points per hop; the last partial hop is dropped.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.errors import SpecError
from clipsonic.specs import MelSpec, mel_band_edges_hz

_LEAST_POWER = 1e-20


def mel_filterbank(spec: MelSpec) -> Tensor:
    """Triangular filters (M, n_fft // 2 + 1), float32, scaled by 2 / bandwidth in Hz for Slaney's area norm."""
    edges_hz = np.array(mel_band_edges_hz(spec))
    bins_hz = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate_hz / spec.n_fft
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.maximum(0.0, np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)))
    if spec.mel_norm == "none":
        return torch.from_numpy(triangles).to(torch.float32)
    return torch.from_numpy(triangles * 2.0 / (high - low)).to(torch.float32)


class LogMel(nn.Module):
    """Wave to log-mel magnitudes; parameter-free, its buffers are not saved (they follow from the spec).

    Args:
        spec: the mel space.
    """

    filterbank: Tensor
    window: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("filterbank", mel_filterbank(spec), persistent=False)
        self.register_buffer("window", torch.hann_window(spec.n_fft), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """wave (B, T) in [-1, 1] to (B, M, F) float32, F = spec.num_mel_frames(T), clamped at `log_floor`.

        Computed in float32 even under autocast: bfloat16 would move quiet bands by whole decibels.

        Raises:
            SpecError: the sound is too short to be reflected at its ends, or not (B, T).
        """
        spec, padding = self.spec, self.spec.edge_padding
        if wave.ndim != 2 or wave.shape[1] <= padding:
            raise SpecError(
                f"sound of shape {tuple(wave.shape)} must be (B, T) with T above {padding} samples, "
                f"the reflection of n_fft {spec.n_fft} and hop {spec.hop_length}: give a longer one"
            )
        with torch.autocast(wave.device.type, enabled=False):
            padded = functional.pad(wave.float(), (padding, padding), mode="reflect")
            spectrum = torch.stft(
                padded, spec.n_fft, spec.hop_length, window=self.window, center=False, return_complex=True
            )
            # on the CPU torch.abs of a complex tensor takes a third of the whole extraction, this a tenth
            real, imaginary = torch.view_as_real(spectrum).unbind(-1)
            power = torch.addcmul(real * real, imaginary, imaginary)
            if spec.power_offset:
                power = power + spec.power_offset
            elif power.requires_grad:  # the root's slope at 0 is infinite, and silence has bins of exactly 0
                power = power.clamp_min(_LEAST_POWER)
            return spec.from_nepers((self.filterbank @ power.sqrt()).clamp_min(spec.log_floor).log())


def with_mel_fields(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose `**mel` reads as the fields of a mel space, so that diffusers keeps and passes each."""
    own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
    fields = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for field in dataclasses.fields(MelSpec)
    ]
    init.__signature__ = inspect.Signature([*own, *fields])  # type: ignore[attr-defined]
    return init
