"""Between mel columns and the transformer's tokens: one linear layer, or a finer level with memory of its columns.

`PatchLevel` is DiT's own: a token is a patch of columns. `FineLevel` is the outer level of an hourglass (Crowson et al.
2024, "Scalable high-resolution pixel-space image synthesis with hourglass diffusion transformers", arXiv 2401.11605):
convolutions over short patches see onsets and steady tones wherever in a token they fall, and carry them past the
transformer, which is left with what needs the whole segment. Attention at this level sets an onset against those one
period before and after it, closer in time than a token is long. Guarantee: batch items never see each other, and new
attention blocks are the identity. Price of the fine level: about as much as one and a half blocks of the transformer, a
quarter of the step more for a pair of attention blocks; without these and the transformer a position sees at most
2 * depth * (kernel // 2) * fine_patch columns around it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.models.blocks import Block, modulated, rotation_at, zeroed

Transform = Callable[[Tensor], Tensor]
"""The transformer between a level's way in and its way out: tokens (B, F / patch, D) to normalised ones alike."""

_KERNEL = 7
_MLP_RATIO = 2
_FIRST_GATE = 0.5
"""Of a new convolution block: with gates of zero the level would begin as a linear layer and learn to see late."""


class PatchLevel(nn.Module):
    """One linear layer in, one out.

    Args:
        num_mels: M.
        patch: mel columns per token.
        width: D.
    """

    def __init__(self, num_mels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.patch_in = nn.Linear(num_mels * patch, width)
        self.patch_out = zeroed(nn.Linear(width, num_mels * patch))

    def forward(self, x_BMF: Tensor, drive_BD: Tensor, transform: Transform) -> Tensor:
        """Columns (B, M, F) of the transformer's answer."""
        h_BPD = transform(self.patch_in(to_patches(x_BMF, self.patch).to(self.patch_in.weight.dtype)))
        return to_columns(self.patch_out(h_BPD.to(self.patch_out.weight.dtype)), self.patch)


class FineLevel(nn.Module):
    """Convolution blocks over short patches before and after the transformer.

    Args:
        num_mels: M.
        patch: mel columns per token; a multiple of fine_patch.
        width: D.
        fine_patch: mel columns per position of this level.
        fine_width: channels C of this level.
        fine_depth: blocks on the way in, and on the way out.
        fine_attention: attention blocks that end the way in, and as many that begin the way out.
        heads: their attention heads; 4 * heads must divide C.
        fine_beat: distances that `Beat` knows in these; 0 for none.
    """

    def __init__(
        self,
        num_mels: int,
        patch: int,
        width: int,
        fine_patch: int,
        fine_width: int,
        fine_depth: int,
        fine_attention: int = 0,
        heads: int = 4,
        fine_beat: int = 0,
    ) -> None:
        super().__init__()
        self.fine_patch, self.group = fine_patch, patch // fine_patch
        self.patch_in = nn.Linear(num_mels * fine_patch, fine_width)
        self.before = nn.ModuleList(FineBlock(fine_width) for _ in range(fine_depth))
        self.merge = nn.Linear(self.group * fine_width, width)
        self.split = nn.Linear(width, self.group * fine_width, bias=False)  # no place in a token is special
        self.after = nn.ModuleList(FineBlock(fine_width) for _ in range(fine_depth))
        self.modulation = zeroed(nn.Linear(width, 3 * fine_width))
        self.modulation_out = zeroed(nn.Linear(width, 2 * fine_width))
        self.patch_out = zeroed(nn.Linear(fine_width, num_mels * fine_patch))
        self.across = AcrossTime(width, fine_width, fine_attention, heads, fine_beat) if fine_attention else None

    def forward(self, x_BMF: Tensor, drive_BD: Tensor, transform: Transform) -> Tensor:
        """Columns (B, M, F) of what this level saw and of the transformer's answer."""
        modulation_B3C = self.modulation(drive_BD).unflatten(1, (3, -1))
        fine_BQC = self.patch_in(to_patches(x_BMF, self.fine_patch).to(self.patch_in.weight.dtype))
        for block in self.before:
            fine_BQC = block(fine_BQC, modulation_B3C)
        if self.across is not None:
            fine_BQC = self.across(fine_BQC, drive_BD, 0)
        h_BPD = transform(self.merge(fine_BQC.unflatten(1, (-1, self.group)).flatten(2)))
        fine_BQC = fine_BQC + self.split(h_BPD.to(self.split.weight.dtype)).view(fine_BQC.shape)
        if self.across is not None:
            fine_BQC = self.across(fine_BQC, drive_BD, 1)
        for block in self.after:
            fine_BQC = block(fine_BQC, modulation_B3C)
        shift_B1C, scale_B1C = self.modulation_out(drive_BD)[:, None].chunk(2, dim=-1)
        out_BQC = modulated(fine_BQC, shift_B1C, scale_B1C).to(self.patch_out.weight.dtype)
        return to_columns(self.patch_out(out_BQC), self.fine_patch)


class AcrossTime(nn.Module):
    """Attention between all positions of the fine level, modulated as in the transformer.

    Args:
        width: D, of what drives the modulation.
        fine_width: C.
        count: blocks on each side of the transformer.
        heads: attention heads.
        reach: distances that `Beat` knows; 0 leaves it out.
    """

    def __init__(self, width: int, fine_width: int, count: int, heads: int, reach: int = 0) -> None:
        super().__init__()
        self.modulation = zeroed(nn.Linear(width, 6 * fine_width))
        self.before = nn.ModuleList(Block(fine_width, heads, _MLP_RATIO) for _ in range(count))
        self.after = nn.ModuleList(Block(fine_width, heads, _MLP_RATIO) for _ in range(count))
        self.beats = nn.ModuleList(Beat(width, heads, reach) for _ in range(2)) if reach else None
        self.rotated_channels = fine_width // heads // 2

    def forward(self, h_BQC: Tensor, drive_BD: Tensor, side: int) -> Tensor:
        """h (B, Q, C) through the blocks before (side 0) or after (1) the transformer, to the same shape."""
        bias_BHQQ = None if self.beats is None else self.beats[side](drive_BD, h_BQC.shape[1])
        modulation_B6C = self.modulation(drive_BD).unflatten(1, (6, -1))
        place_1Q = torch.arange(h_BQC.shape[1], device=h_BQC.device, dtype=torch.float32)[None]
        rotation = rotation_at(place_1Q, self.rotated_channels)
        for block in (self.before, self.after)[side]:
            h_BQC = block(h_BQC, modulation_B6C, rotation, bias_BHQQ)
        return h_BQC


class Beat(nn.Module):
    """What is added to attention between two positions by their distance in time, as prompt and timestep decide.

    A relative position bias (Shaw et al. 2018, arXiv 1803.02155; Raffel et al. 2020, arXiv 1910.10683) whose values are
    no learned constants but a small network's answer. Trained on the soundstage it shuts out what is near and opens
    what lies 0.3 and 0.8 s away: there the next strike may be. A new one changes nothing; of the bundled model's pair,
    64 distances each, it costs a twentieth of a training step.

    Args:
        width: D, of what drives it.
        heads: attention heads H.
        reach: distances from 0 on, in positions; a longer one counts as the longest.
    """

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.hidden = nn.Linear(width, width)
        self.by_distance = zeroed(nn.Linear(width, heads * reach))

    def forward(self, drive_BD: Tensor, count: int) -> Tensor:
        """(B, H, count, count), for attention's logits."""
        kernel_BHR = self.by_distance(functional.silu(self.hidden(drive_BD))).unflatten(1, (-1, self.reach))
        place_Q = torch.arange(count, device=drive_BD.device)
        distance_QQ = (place_Q[:, None] - place_Q).abs().clamp_max(self.reach - 1)
        bias_BHQQ: Tensor = kernel_BHR[:, :, distance_QQ]
        return bias_BHQQ


class FineBlock(nn.Module):
    """A ConvNeXt block (Liu et al. 2022, arXiv 2201.03545) whose norm is modulated as in the transformer.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.mlp_in = nn.Linear(width, _MLP_RATIO * width)
        self.mlp_out = nn.Linear(_MLP_RATIO * width, width)
        offsets = torch.zeros(3, width)
        offsets[2] = _FIRST_GATE
        self.offsets = nn.Parameter(offsets)

    def forward(self, h_BQC: Tensor, modulation_B3C: Tensor) -> Tensor:
        """h (B, Q, C) to the same shape and type; `modulation_B3C` is shared by all blocks."""
        modulation = (modulation_B3C + self.offsets).to(h_BQC.dtype)[:, :, None]
        shift_B1C, scale_B1C, gate_B1C = modulation.unbind(dim=1)
        near_BQC = self.near(h_BQC.transpose(1, 2)).transpose(1, 2)
        hidden = functional.gelu(self.mlp_in(modulated(near_BQC, shift_B1C, scale_B1C)), approximate="tanh")
        out_BQC: Tensor = h_BQC + gate_B1C * self.mlp_out(hidden)
        return out_BQC


def to_patches(x_BMF: Tensor, patch: int) -> Tensor:
    """(B, M, F) to (B, F / patch, M * patch)."""
    batch, num_mels, frames = x_BMF.shape
    return x_BMF.view(batch, num_mels, frames // patch, patch).transpose(1, 2).flatten(2)


def to_columns(patches_BPC: Tensor, patch: int) -> Tensor:
    """The inverse of `to_patches`."""
    batch, count, _ = patches_BPC.shape
    return patches_BPC.view(batch, count, -1, patch).transpose(1, 2).flatten(2)
