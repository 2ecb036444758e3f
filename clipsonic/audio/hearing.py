"""What networks that name or embed sounds have in common: a picture free of level, and stages that look at it.

Guarantee: a picture depends on nothing but its own item, and not on how loud that is. Price: as `LogMel`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from clipsonic.audio.mel import LogMel

FREQUENCY_CELLS = 4
"""Parts of the spectrum that are kept apart when a picture is pooled."""


def level_free(log_mel: LogMel, wave_BT: Tensor, range_db: float) -> Tensor:
    """wave (B, T) to the picture (B, 1, M, F) in [0, 1]: 1 is the item's loudest cell, 0 is range_db below it."""
    power_B1 = wave_BT.double().pow(2).mean(dim=1, keepdim=True)
    equal_BT = wave_BT / power_B1.sqrt().clamp_min(1e-12).to(wave_BT.dtype)
    mel_BMF: Tensor = log_mel(equal_BT)
    span = log_mel.spec.from_db(range_db)
    return (1.0 + (mel_BMF - mel_BMF.amax(dim=(1, 2), keepdim=True)) / span).clamp_min(0.0)[:, None]


def halving(width_in: int, width_out: int, depth: int) -> nn.Sequential:
    """Halve time and frequency, then look again at the same scale `depth` - 1 times."""
    layers: list[nn.Module] = []
    for place in range(depth):
        first = place == 0
        conv = nn.Conv2d(width_in if first else width_out, width_out, 3, 2 if first else 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(width_out), nn.ReLU()]
    return nn.Sequential(*layers)


def columns_of(cells_BCMF: Tensor) -> Tensor:
    """What stages say, (B, C, M, F), by column: (B, C x FREQUENCY_CELLS, F)."""
    return functional.adaptive_avg_pool2d(cells_BCMF, (FREQUENCY_CELLS, None)).flatten(1, 2)
