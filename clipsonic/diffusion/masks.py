"""Which cells of a mel are made anew: masks, bool, True where it is.

Guarantee: pure functions of a geometry, or of a generator too, so the same generator gives the same mask. What a mask
leaves is known beyond doubt: a column whose analysis window reaches into what is not given counts as made, and so do
the bands that a cut-off leaks into. Price: known cells next to the border are made too, about n_fft / 2 at each side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.errors import SpecError, UsageError
from clipsonic.specs import MelSpec, mel_band_edges_hz

MOST_AREA = 0.5
"""Irregular masks that cover more are drawn again."""
_CANVAS = 256  # pixels, both ways, that the sizes of strokes are given for
_WHITE = 0.5
_TRIES = 100


def times(spec: MelSpec, num_columns: int, made: Sequence[tuple[int, int]]) -> Tensor:
    """(F,): columns of whose analysis window any sample lies in one of the stretches [from, to), in samples."""
    made_F = torch.zeros(num_columns, dtype=torch.bool)
    for start, end in made:
        if start < end:
            first = (start + spec.edge_padding - spec.n_fft) // spec.hop_length + 1
            last = -(-(end + spec.edge_padding) // spec.hop_length)
            made_F[max(0, first) : max(0, last)] = True
    return made_F


def bands(spec: MelSpec, above_hz: float | None = None, below_hz: float | None = None) -> Tensor:
    """(M,): bands that reach above `above_hz` or below `below_hz`, and the next one, which a filter leaks into.

    Raises:
        UsageError: no band or every band would be made.
    """
    edges_hz = torch.tensor(mel_band_edges_hz(spec))
    made_M = torch.zeros(spec.num_mels, dtype=torch.bool)
    if above_hz is not None and bool((high_M := edges_hz[2:] > above_hz).any()):
        made_M |= high_M | high_M.roll(-1)
        made_M[-1] = True
    if below_hz is not None and bool((low_M := edges_hz[:-2] < below_hz).any()):
        made_M |= low_M | low_M.roll(1)
        made_M[0] = True
    if not bool(made_M.any()) or bool(made_M.all()):
        sides = {"above": above_hz, "below": below_hz}
        asked = " and ".join(f"{side} {hz:g} Hz" for side, hz in sides.items() if hz is not None) or "no band"
        raise UsageError(
            f"{asked} is {'all' if made_M.any() else 'nothing'} of the model's bands, "
            f"{spec.f_min_hz:g} to {spec.f_max_hz:g} Hz: give a frequency inside"
        )
    return made_M


def drawn(picture: Tensor, num_mels: int, num_columns: int) -> Tensor:
    """(M, F) of a picture (H, W) over the whole spectrogram, its top the highest band: made where any of it is white.

    Args:
        picture: bool, or grey values of which the upper half of their range (0 to 1, or 0 to 255) is white.

    Raises:
        UsageError: not (H, W).
    """
    if picture.ndim != 2 or not picture.numel():
        raise UsageError(f"a mask of shape {tuple(picture.shape)} must be (H, W), white where it is made anew")
    grey_HW = picture.float() / (255.0 if picture.dtype == torch.uint8 else 1.0)
    white_11HW = (grey_HW > _WHITE).float().flip(0)[None, None]
    return functional.adaptive_max_pool2d(white_11HW, (num_mels, num_columns))[0, 0].bool()


def frames(num_columns: int, share: float, run_columns: int, generator: torch.Generator) -> Tensor:
    """(F,): runs of `run_columns` at random places of a grid, so many that about `share` of the columns are made.

    Raises:
        SpecError: a share that is not between 0 and 1, or a run that is not between 1 and F.
    """
    if not 0.0 < share < 1.0 or not 1 <= run_columns <= num_columns:
        raise SpecError(f"frame mask of share {share:g} and runs of {run_columns}: give 0 to 1, and 1 to {num_columns}")
    num_runs = -(-num_columns // run_columns)
    chosen = torch.randperm(num_runs, generator=generator)[: max(1, round(share * num_runs))]
    made_R = torch.zeros(num_runs, dtype=torch.bool)
    made_R[chosen] = True
    return made_R.repeat_interleave(run_columns)[:num_columns]


@dataclass(frozen=True)
class Brush:
    """How irregular masks are drawn, sizes in pixels of a canvas of 256 x 256.

    Args:
        strokes: fewest and most polylines.
        width, length: the most of a stroke, and of each of its parts.
        boxes: fewest and most, where boxes are drawn instead of strokes.
        box_sides: shortest and longest side.
    """

    strokes: tuple[int, int]
    width: int
    length: int
    boxes: tuple[int, int] = (0, 0)
    box_sides: tuple[int, int] = (0, 0)


BRUSHES = {
    "thick": Brush((1, 5), 100, 200, (1, 3), (30, 150)),
    "medium": Brush((4, 5), 50, 100, (1, 5), (10, 50)),
    "thin": Brush((4, 50), 10, 40),
}
"""Of LaMa's training at 256 pixels (Suvorov et al. 2022, arXiv 2109.07161, section 3.4; numbers of its configs)."""
_BOX_SHARE = 0.3
_MOST_PARTS, _MOST_ANGLE, _LEAST_WIDTH, _LEAST_LENGTH = 5, 4.0, 5.0, 10.0  # the same in all of them
_BOX_MARGIN = 10


def strokes(num_mels: int, num_columns: int, kind: str, generator: torch.Generator) -> Tensor:
    """(M, F): irregular, `thin`, `medium` or `thick`, covering something and at most `MOST_AREA`.

    Raises:
        SpecError: an unknown kind.
    """
    if kind not in BRUSHES:
        raise SpecError(f"irregular mask {kind!r} is unknown: choose one of {', '.join(BRUSHES)}")
    brush = BRUSHES[kind]
    y_M1 = ((torch.arange(num_mels) + 0.5) * _CANVAS / num_mels)[:, None]
    x_1F = ((torch.arange(num_columns) + 0.5) * _CANVAS / num_columns)[None]
    for _ in range(_TRIES):
        is_boxes = brush.boxes[1] > 0 and _uniform(generator) < _BOX_SHARE
        made_MF = (_boxes if is_boxes else _lines)(brush, y_M1, x_1F, generator)
        if 0.0 < float(made_MF.float().mean()) <= MOST_AREA:
            return made_MF
    raise SpecError(f"no {kind} mask of at most {MOST_AREA:.0%} was found for {num_mels} x {num_columns} cells")


def _lines(brush: Brush, y_M1: Tensor, x_1F: Tensor, generator: torch.Generator) -> Tensor:
    """Polylines whose parts turn to and fro, each part of a width and length of its own."""
    made_MF = torch.zeros(len(y_M1), x_1F.shape[1], dtype=torch.bool)
    for _ in range(_integer(*brush.strokes, generator)):
        at = (_uniform(generator) * _CANVAS, _uniform(generator) * _CANVAS)
        for part in range(_integer(1, _MOST_PARTS, generator)):
            angle = _uniform(generator) * _MOST_ANGLE * (1 if part % 2 else -1)
            length = _LEAST_LENGTH + _uniform(generator) * brush.length
            width = _LEAST_WIDTH + _uniform(generator) * brush.width
            to = tuple(
                min(max(place + length * turned(angle), 0.0), float(_CANVAS))
                for place, turned in zip(at, (math.sin, math.cos), strict=True)
            )
            made_MF |= _distance(y_M1, x_1F, at, to) <= width / 2
            at = (to[0], to[1])
    return made_MF


def _boxes(brush: Brush, y_M1: Tensor, x_1F: Tensor, generator: torch.Generator) -> Tensor:
    made_MF = torch.zeros(len(y_M1), x_1F.shape[1], dtype=torch.bool)
    for _ in range(_integer(*brush.boxes, generator)):
        height, width = (_integer(*brush.box_sides, generator) for _ in range(2))
        top, left = (_BOX_MARGIN + _uniform(generator) * (_CANVAS - 2 * _BOX_MARGIN - side) for side in (height, width))
        made_MF |= (y_M1 >= top) & (y_M1 < top + height) & (x_1F >= left) & (x_1F < left + width)
    return made_MF


def _distance(y_M1: Tensor, x_1F: Tensor, start: Sequence[float], end: Sequence[float]) -> Tensor:
    """From each cell's middle to the straight part from `start` to `end`, (y, x) in pixels."""
    dy, dx = end[0] - start[0], end[1] - start[1]
    along_MF = ((y_M1 - start[0]) * dy + (x_1F - start[1]) * dx) / max(dy * dy + dx * dx, 1e-12)
    along_MF = along_MF.clamp(0.0, 1.0)
    return torch.hypot(y_M1 - start[0] - along_MF * dy, x_1F - start[1] - along_MF * dx)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand(1, generator=generator, device=generator.device))


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    """From `low` to `high`, both possible."""
    return int(torch.randint(low, high + 1, (1,), generator=generator, device=generator.device))
