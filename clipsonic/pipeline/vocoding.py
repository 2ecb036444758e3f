"""From log-mels of any length to waves: short ones at once, long ones in pieces.

Guarantee: up to `PIECE` columns the vocoder's own wave; beyond, pieces that see `CONTEXT` columns more on both sides
than they give, which is further than a convolutional vocoder sees, so that they equal the whole to within rounding
(1e-3 promised), and one gain for the whole sound where it would leave [-1, 1]. Not exact: Griffin-Lim guesses phases
anew in each piece, so its pieces are faded into each other over `FADE` columns. Price: (PIECE + 2 CONTEXT) / PIECE of
the time; memory is that of one piece beside the wave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipsonic.audio.vocoder import GriffinLim
from clipsonic.errors import SpecError
from clipsonic.specs import MelSpec

PIECE, CONTEXT, FADE = 1024, 48, 8
"""Mel columns: given by one piece, seen beyond it on each side, and in which two pieces overlap."""
_HEADROOM_DB = 18.0


def vocode(vocoder: Any, log_mel_BMF: Tensor) -> Tensor:
    """Waves (B, T) float32 on the CPU, within [-1, 1], T = vocoder.spec.num_samples(F), made where the vocoder is.

    Raises:
        SpecError: the vocoder gives another number of samples.
    """
    if isinstance(vocoder, torch.nn.Module):
        log_mel_BMF = log_mel_BMF.to(next(vocoder.parameters()).device)
    if log_mel_BMF.shape[2] <= PIECE:
        return _exact(vocoder, log_mel_BMF, vocoder.spec).clamp(-1.0, 1.0).cpu()
    wave_BT = in_pieces(unscaled(vocoder), log_mel_BMF, vocoder.spec)
    for wave_T in wave_BT:  # in place, item by item: an hour of sound is 230 MB
        wave_T.div_(wave_T.abs().amax().clamp_min(1.0)).clamp_(-1.0, 1.0)
    return wave_BT


def unscaled(vocoder: Any) -> Callable[[Tensor], Tensor]:
    """The vocoder without its scaling into [-1, 1], which would give each piece a gain of its own."""
    wave: Callable[[Tensor], Tensor] | None = getattr(vocoder, "wave", None)
    if wave is not None:
        return wave
    if not isinstance(vocoder, GriffinLim):
        call: Callable[[Tensor], Tensor] = vocoder
        return call
    gain = 10.0 ** (_HEADROOM_DB / 20.0)
    return lambda log_mel_BMF: gain * vocoder(vocoder.spec.shift_db(log_mel_BMF, -_HEADROOM_DB))


def in_pieces(vocode_piece: Callable[[Tensor], Tensor], log_mel_BMF: Tensor, spec: MelSpec) -> Tensor:
    """Waves (B, T) float32 on the CPU, T = spec.num_samples(F); so many `vocode_piece` makes of any (B, M, F), too.

    Raises:
        SpecError: it makes another number of samples.
    """
    batch, _, total = log_mel_BMF.shape
    hop = spec.hop_length
    wave_BT = torch.zeros(batch, spec.num_samples(total))
    first, last = 0, 0
    while last < total:
        last = min(first + PIECE + FADE, total)
        seen_from, seen_to = max(0, first - CONTEXT), min(total, last + CONTEXT)
        piece_BT = _exact(vocode_piece, log_mel_BMF[:, :, seen_from:seen_to], spec).cpu()
        piece_BT = piece_BT[:, (first - seen_from) * hop : (last - seen_from) * hop]
        _add(wave_BT, piece_BT, first * hop, fade_in=first > 0, fade_out=last < total, length=FADE * hop)
        first += PIECE
    return wave_BT


def _exact(vocode: Callable[[Tensor], Tensor], log_mel_BMF: Tensor, spec: MelSpec) -> Tensor:
    wave_BT = vocode(log_mel_BMF).float()
    if wave_BT.shape[1] != (wanted := spec.num_samples(log_mel_BMF.shape[2])):
        raise SpecError(
            f"the vocoder made {wave_BT.shape[1]} samples of {log_mel_BMF.shape[2]} columns, its mel space has "
            f"{wanted}: take a vocoder of this space"
        )
    return wave_BT


def _add(wave_BT: Tensor, piece_BT: Tensor, start: int, *, fade_in: bool, fade_out: bool, length: int) -> None:
    """Add a piece at its place, its ends weighted so that with its neighbours' they make 1."""
    weight_T = torch.ones(piece_BT.shape[1])
    rise_T = (torch.arange(length) + 0.5) / length
    if fade_in:
        ramp_T = rise_T[: len(weight_T)]
        weight_T[: len(ramp_T)] *= ramp_T
    if fade_out:
        weight_T[-length:] *= rise_T.flip(0)
    wave_BT[:, start : start + len(weight_T)] += weight_T * piece_BT
