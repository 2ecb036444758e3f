"""How well a sound belongs to its own frames: the share of other videos' frames that fit it worse.

Guarantee: pure functions of vectors; a record is never held against its own video; equal fits are not worse. A sound
laid at random over a film has any share from 0 to 1 alike. Price: one product of matrices for a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipsonic.errors import CorpusError

DIGITS = 4
"""Of a share; with a thousand others there is nothing behind the third."""
_COSINE_DIGITS = 6
"""Cosines are equal that differ by less: float32 and the order of sums say nothing there."""


class Others(NamedTuple):
    """What sounds are held against: mean frames (R, E), and the video of each (R,)."""

    frames_RE: np.ndarray
    sources_R: np.ndarray


def mean_frame(frames_SE: np.ndarray) -> np.ndarray:
    """(E,) float64: the mean of a record's frames, each of length 1; its product with a unit vector is the mean cosine
    to them."""
    exact_SE = frames_SE.astype(np.float64)
    mean_E = (exact_SE / np.linalg.norm(exact_SE, axis=1, keepdims=True).clip(1e-12)).mean(axis=0)
    return np.asarray(mean_E)


def belonging(sounds_NE: np.ndarray, own_NE: np.ndarray, sources: Sequence[str], others: Others) -> np.ndarray:
    """The share (N,), from 0 to 1, of the others of other videos that fit each sound worse than its own frames do.

    Args:
        sounds_NE: unit vectors of the sounds, in the space of the frames.
        own_NE: each record's `mean_frame`.
        sources: the video of each.

    Raises:
        CorpusError: all the others are of one record's own video.
    """
    own_N1 = (sounds_NE * own_NE).sum(axis=1, keepdims=True)
    worse_NR = np.round(sounds_NE @ others.frames_RE.T, _COSINE_DIGITS) < np.round(own_N1, _COSINE_DIGITS)
    foreign_NR = np.array(sources)[:, None] != others.sources_R[None]
    count_N = foreign_NR.sum(axis=1)
    if not count_N.all():
        raise CorpusError(
            f"there is no frame of another video than {sources[int(count_N.argmin())]} to hold its sound against: give "
            "a corpus of more videos"
        )
    return np.asarray(np.round((worse_NR & foreign_NR).sum(axis=1) / count_N, DIGITS))
