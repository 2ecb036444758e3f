"""The transformer block of `DiT1D` and the position and time features it stands on.

Guarantee: a new block is the identity (its gates are zero), and keys that are masked get a weight of exactly zero.
Price: none beyond a plain transformer's; the modulation is shared between blocks, each adds 6 D offsets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Rotation = tuple[Tensor, Tensor]
"""cos and sin, (B, 1, L, rotated channels / 2), of the angles of each place in the sequence."""

_SLOWEST_PERIOD = 1000.0


class Block(nn.Module):
    """Attention, then MLP, each normalised, modulated and gated (adaLN-single).

    Args:
        width: D.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over D.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.query_scale = nn.Parameter(torch.ones(width // heads))
        self.key_scale = nn.Parameter(torch.ones(width // heads))
        self.attention_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, round(width * mlp_ratio))
        self.mlp_out = nn.Linear(round(width * mlp_ratio), width)
        self.offsets = nn.Parameter(torch.zeros(6, width))

    def forward(self, h_BLD: Tensor, modulation_B6D: Tensor, rotation: Rotation, mask_B11L: Tensor | None) -> Tensor:
        """h (B, L, D) to the same shape and type; `modulation_B6D` is shared by all blocks."""
        modulation = (modulation_B6D + self.offsets).to(h_BLD.dtype)[:, :, None]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation.unbind(dim=1)
        h_BLD = h_BLD + gate_a * self._attend(modulated(h_BLD, shift_a, scale_a), rotation, mask_B11L)
        hidden = functional.gelu(self.mlp_in(modulated(h_BLD, shift_m, scale_m)), approximate="tanh")
        out_BLD: Tensor = h_BLD + gate_m * self.mlp_out(hidden)
        return out_BLD

    def _attend(self, h_BLD: Tensor, rotation: Rotation, mask_B11L: Tensor | None) -> Tensor:
        """Attention with normalised queries and keys (Dehghani et al. 2023, arXiv 2302.05442), for stability."""
        batch, length, width = h_BLD.shape
        stacked = self.query_key_value(h_BLD).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = stacked.permute(2, 0, 3, 1, 4)
        query = rotated(rms_normed(query, self.query_scale), rotation)
        key = rotated(rms_normed(key, self.key_scale), rotation)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_B11L)
        out_BLD: Tensor = self.attention_out(out.transpose(1, 2).reshape(batch, length, width))
        return out_BLD


def modulated(h_BLD: Tensor, shift_B1D: Tensor, scale_B1D: Tensor) -> Tensor:
    """Layer norm, then scale and shift."""
    return functional.layer_norm(h_BLD, h_BLD.shape[-1:]) * (1.0 + scale_B1D) + shift_B1D


def rms_normed(x: Tensor, scale: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis."""
    return functional.rms_norm(x, x.shape[-1:], scale.to(x.dtype))


def rotation_at(place_BL: Tensor, channels: int) -> Rotation:
    """Rotary angles (Su et al. 2021, arXiv 2104.09864) for real-valued places, float32; `channels` is even."""
    half = channels // 2
    exponent = torch.arange(half, device=place_BL.device, dtype=torch.float32) / half
    angle = place_BL.float()[:, None, :, None] * _SLOWEST_PERIOD**-exponent
    return angle.cos(), angle.sin()


def rotated(x_BHLC: Tensor, rotation: Rotation) -> Tensor:
    """The first channels of each head turned by their place; the rest compare contents whatever the place."""
    cos, sin = (part.to(x_BHLC.dtype) for part in rotation)
    half = cos.shape[-1]
    left, right, rest = torch.split(x_BHLC, [half, half, x_BHLC.shape[-1] - 2 * half], dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos, rest], dim=-1)


def timestep_features(timestep_B: Tensor, count: int) -> Tensor:
    """Sinusoids of the timestep in [0, 1000] (Ho et al. 2020, arXiv 2006.11239), (B, count) float32."""
    half = count // 2
    exponent = torch.arange(half, device=timestep_B.device, dtype=torch.float32) / half
    angle = timestep_B.float()[:, None] * torch.exp(-math.log(10000.0) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The same layer, answering zero until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
