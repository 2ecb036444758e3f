"""How much attention at the fine level looks at what lies a time apart, as the prompt and the timestep decide.

Guarantee: batch items never see each other; a new one changes nothing. Price: of the bundled model's pair, 64 distances
each, a twentieth of a training step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsonic.models.blocks import zeroed


class Beat(nn.Module):
    """What is added to attention between two positions by their distance in time.

    A relative position bias (Shaw et al. 2018, arXiv 1803.02155; Raffel et al. 2020, arXiv 1910.10683) whose values are
    no learned constants but a small network's answer. Trained on the soundstage it shuts out what is near and opens
    what lies 0.3 and 0.8 s away: there the next strike may be.

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
