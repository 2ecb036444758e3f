"""Waves cut into the frames that `LogMel` sees, and frames added up to a wave again.

Guarantee: `overlap_add` of windowed frames, divided by that of the squared windows, is the least-squares inverse of
`analyse`; lengths are exactly `spec.num_samples(F)`. Pure functions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.specs import MelSpec

_LEAST_WEIGHT = 1e-11


def analyse(wave_BT: Tensor, spec: MelSpec, window: Tensor) -> Tensor:
    """(B, T) to the complex spectra (B, F, n_fft // 2 + 1) of its windowed frames, its ends reflected."""
    padding = spec.edge_padding
    padded = functional.pad(wave_BT, (padding, padding), mode="reflect")
    spectrum: Tensor = torch.fft.rfft(padded.unfold(1, spec.n_fft, spec.hop_length) * window)
    return spectrum


def inverse_stft(spectrum_BFK: Tensor, spec: MelSpec, window: Tensor, weight_1T: Tensor | None = None) -> Tensor:
    """The wave (B, T) whose `analyse` is nearest, by least squares; `weight_1T` is `frame_weight` where it is known."""
    frames_BFN = torch.fft.irfft(spectrum_BFK, n=spec.n_fft).mul_(window)
    weight_1T = frame_weight(frames_BFN.shape[1], spec, window) if weight_1T is None else weight_1T
    return overlap_add(frames_BFN, spec.edge_padding, spec.hop_length) / weight_1T


def frame_weight(num_columns: int, spec: MelSpec, window: Tensor) -> Tensor:
    """(1, T): the squared windows of so many frames, added up; never 0."""
    squares_1FN = window.square().expand(1, num_columns, -1)
    return overlap_add(squares_1FN, spec.edge_padding, spec.hop_length).clamp_min(_LEAST_WEIGHT)


def overlap_add(frames_BFN: Tensor, padding: int, hop: int) -> Tensor:
    """Frames (B, F, n_fft) added up at their places, `padding` samples cut off at each end: (B, T)."""
    count, n_fft = frames_BFN.shape[1:]
    total = n_fft + (count - 1) * hop
    if n_fft % hop:
        added_B11T = functional.fold(frames_BFN.transpose(1, 2), (1, total), (1, n_fft), stride=(1, hop))
        return added_B11T[:, 0, 0, padding : total - padding]
    pieces = frames_BFN.unflatten(2, (-1, hop)).unbind(dim=2)  # a tenth of fold's time
    added_BPH = frames_BFN.new_zeros(len(frames_BFN), count + len(pieces) - 1, hop)
    for place, piece_BFH in enumerate(pieces):
        added_BPH[:, place : place + count] += piece_BFH
    return added_BPH.flatten(1)[:, padding : total - padding]
