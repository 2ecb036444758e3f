"""What a denoiser sees of its prompt: CLIP embeddings with times and a mask, and the encoder that makes tokens of them.

Guarantee: a masked token has exactly no influence, whatever it holds (NaN included), and all masked means
unconditional: then one learned null token stands alone. Price: that null token is one more token in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.diffusion.schedulers import PREDICTION_TYPES
from clipsonic.errors import SpecError
from clipsonic.specs import GLOBAL_TIME_S


@dataclass(frozen=True, eq=False)
class Condition:
    """Condition tokens of a batch.

    Args:
        tokens: (B, S, E) unit vectors of one CLIP space, float32.
        times_s: (B, S) float32, seconds from the start of the segment, or GLOBAL_TIME_S for the whole of it.
        mask: (B, S) bool, True where a token counts.
        is_full: whether it is known, without asking the device, that all of them count.

    Raises:
        SpecError: the three shapes do not agree.
    """

    tokens: Tensor
    times_s: Tensor
    mask: Tensor
    is_full: bool = False

    def __post_init__(self) -> None:
        expected = self.tokens.shape[:2]
        if self.tokens.ndim != 3 or self.times_s.shape != expected or self.mask.shape != expected:
            raise SpecError(
                f"condition tokens {tuple(self.tokens.shape)}, times {tuple(self.times_s.shape)} and mask "
                f"{tuple(self.mask.shape)} must be (B, S, E), (B, S) and (B, S)"
            )
        if self.mask.dtype != torch.bool:
            raise SpecError(f"condition mask is {self.mask.dtype}: it must be bool, True where a token counts")

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Condition:
        """Some items of the batch: a slice, or indices or a bool mask as a tensor."""
        return Condition(self.tokens[index], self.times_s[index], self.mask[index], self.is_full)

    def null_like(self) -> Condition:
        """The unconditional condition of the same shape: everything masked."""
        return Condition(
            torch.zeros_like(self.tokens),
            torch.full_like(self.times_s, GLOBAL_TIME_S),
            torch.zeros_like(self.mask),
        )

    def keep_where(self, keep_B: Tensor) -> Condition:
        """Mask all tokens of the items where `keep_B` (bool) is False: condition dropout."""
        return Condition(self.tokens, self.times_s, self.mask & keep_B[:, None])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Condition:
        """On another device; `dtype` is for the tokens only (times in bfloat16 would be off by 30 ms at 8 s)."""
        return Condition(self.tokens.to(device, dtype), self.times_s.to(device), self.mask.to(device), self.is_full)

    def repeat(self, count: int) -> Condition:
        """Each item `count` times in a row: item 0, item 0, ..., item 1, item 1, ..."""
        tokens, times_s, mask = (
            part.repeat_interleave(count, dim=0) for part in (self.tokens, self.times_s, self.mask)
        )
        return Condition(tokens, times_s, mask, self.is_full)

    def pad_to(self, num_tokens: int) -> Condition:
        """Masked tokens appended up to S = `num_tokens`.

        Raises:
            SpecError: there are more tokens than that.
        """
        missing = num_tokens - self.tokens.shape[1]
        if missing < 0:
            raise SpecError(
                f"a condition of {self.tokens.shape[1]} tokens cannot be padded to {num_tokens}: pad to more"
            )
        return Condition(
            functional.pad(self.tokens, (0, 0, 0, missing)),
            functional.pad(self.times_s, (0, missing), value=GLOBAL_TIME_S),
            functional.pad(self.mask, (0, missing), value=False),
            self.is_full and not missing,
        )

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """Batches one after another, padded to the longest."""
        num_tokens = max(condition.tokens.shape[1] for condition in conditions)
        padded = [condition.pad_to(num_tokens) for condition in conditions]
        return Condition(
            torch.cat([condition.tokens for condition in padded]),
            torch.cat([condition.times_s for condition in padded]),
            torch.cat([condition.mask for condition in padded]),
            all(condition.is_full for condition in padded),
        )


def global_condition(embeds_BE: Tensor) -> Condition:
    """One picture, text or other embedding per item, valid for the whole segment."""
    batch, device = embeds_BE.shape[0], embeds_BE.device
    return Condition(
        embeds_BE[:, None].float(),
        torch.full((batch, 1), GLOBAL_TIME_S, device=device),
        torch.ones(batch, 1, dtype=torch.bool, device=device),
        is_full=True,
    )


def timed_condition(embeds_BSE: Tensor, times_s_BS: Tensor, mask_BS: Tensor | None = None) -> Condition:
    """Frames at their times; without a mask all of them count."""
    is_full = mask_BS is None
    if mask_BS is None:
        mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool, device=embeds_BSE.device)
    return Condition(embeds_BSE.float(), times_s_BS.float(), mask_BS, is_full)


def pooled_condition(embeds_BSE: Tensor, mask_BS: Tensor | None = None) -> Condition:
    """Frames averaged into one global unit vector per item; an item without a counting frame is masked."""
    is_full = mask_BS is None
    if mask_BS is None:
        mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool, device=embeds_BSE.device)
    total_BE = embeds_BSE.float().masked_fill(~mask_BS[..., None], 0.0).sum(dim=1)
    pooled = global_condition(functional.normalize(total_BE, dim=-1))
    return Condition(pooled.tokens, pooled.times_s, mask_BS.any(dim=1, keepdim=True), is_full)


class ConditionEncoder(nn.Module):
    """Condition to tokens of the model's width, the learned null token first.

    Embeddings are scaled by sqrt(E), so that a unit vector has unit variance per channel; times enter as Fourier
    features of periods from 16 s down to 16 s / 2 ** (num_freqs - 1), global tokens by a learned vector instead.

    Args:
        embed_width: E.
        model_width: D.
        num_freqs: octaves of the Fourier features.
    """

    frequencies_hz: Tensor

    def __init__(self, embed_width: int, model_width: int, num_freqs: int = 8) -> None:
        super().__init__()
        self.embed_width = embed_width
        self.project = nn.Linear(embed_width, model_width)
        self.time = nn.Linear(2 * num_freqs, model_width)
        self.global_token = nn.Parameter(torch.zeros(model_width))
        self.null_token = nn.Parameter(torch.randn(model_width) * 0.02)
        self.register_buffer("frequencies_hz", 2.0 ** torch.arange(num_freqs) / 16.0, persistent=False)

    def forward(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Tokens (B, S + 1, D) and their mask (B, S + 1), the null token at index 0, always unmasked.

        Raises:
            SpecError: the embeddings are of another width.
        """
        if condition.tokens.shape[-1] != self.embed_width:
            raise SpecError(
                f"condition embeddings have width {condition.tokens.shape[-1]}, this model takes {self.embed_width}: "
                "use the CLIP it was trained with"
            )
        mask_BS1 = condition.mask[..., None]
        embeds_BSE = condition.tokens.masked_fill(~mask_BS1, 0.0) * math.sqrt(self.embed_width)
        times_s_BS = condition.times_s.masked_fill(~condition.mask, GLOBAL_TIME_S)
        tokens_BSD = self.project(embeds_BSE.to(self.project.weight.dtype)) + self._place(times_s_BS)
        null_B1D = self.null_token.to(tokens_BSD.dtype).expand(len(condition), 1, -1)
        mask = torch.cat([torch.ones_like(condition.mask[:, :1]), condition.mask], dim=1)
        return torch.cat([null_B1D, tokens_BSD], dim=1), mask

    def _place(self, times_s_BS: Tensor) -> Tensor:
        """Where in the segment: (B, S, D)."""
        phase = 2.0 * math.pi * times_s_BS.float()[..., None] * self.frequencies_hz
        features = torch.cat([phase.sin(), phase.cos()], dim=-1).to(self.time.weight.dtype)
        timed = self.time(features)
        return torch.where((times_s_BS == GLOBAL_TIME_S)[..., None], self.global_token.to(timed.dtype), timed)


def pooled_tokens(tokens_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """A `ConditionEncoder`'s result as one vector (B, D): the mean of what counts, else the null token."""
    others = mask_BS[:, 1:]
    weight_BS = torch.cat([~others.any(dim=1, keepdim=True), others], dim=1).to(tokens_BSD.dtype)
    return (tokens_BSD * weight_BS[..., None]).sum(dim=1) / weight_BS.sum(dim=1, keepdim=True)


def check_prediction_type(prediction_type: str) -> None:
    """Refuse an unknown prediction type.

    Raises:
        SpecError: it is none of flow, epsilon, v_prediction.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise SpecError(f"prediction type {prediction_type!r} is unknown: choose one of {', '.join(PREDICTION_TYPES)}")


def require_matching(x_BMF: Tensor, condition: Condition, config: Any, *, multiple: int) -> None:
    """Refuse a mel that is not (B, num_mels, F), F a multiple of `multiple` up to num_mel_frames, or B that differ.

    Raises:
        SpecError: with the shape found and the shape needed.
    """
    num_mels, longest, frames = config.num_mels, config.num_mel_frames, x_BMF.shape[-1]
    if x_BMF.ndim != 3 or x_BMF.shape[1] != num_mels or frames % multiple or not 0 < frames <= longest:
        raise SpecError(
            f"mel of shape {tuple(x_BMF.shape)} must be (B, {num_mels}, F) with F a multiple of {multiple} and at most "
            f"{longest}: crop it to that"
        )
    if len(condition) != len(x_BMF):
        raise SpecError(f"{len(condition)} conditions stand against {len(x_BMF)} mels: give one for each")
