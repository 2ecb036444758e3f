"""Many channels to one, so that what was heard is not lost: the only place where channels are mixed down.

Guarantee: two channels that both sound and do not cancel give exactly their mean. A channel that is silent beside the
loudest does not make it quieter, and where the channels cancel each other the loudest stands for all: the mix is never
more than 6 dB below the mean power of two channels. One decision holds for all samples given, so nothing is torn; equal
channels give equal bits. Price: about 2 ms per ten seconds of stereo at 48 kHz. Not exact: where channels cancel, what
the others alone have is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SILENT = 1e-3  # of the loudest channel's power (-30 dB): a channel below it is not there
_CANCELLED = 0.5  # of the power that unrelated channels would give: two of equal level then correlate below -0.5
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_SURROUND_WEIGHT = 0.5


@dataclass(frozen=True)
class Mix:
    """One channel made of several: (T,) float32, and the energy (sum of squares) before and after.

    `before` is the mean over the channels that were mixed.
    """

    wave: npt.NDArray[np.float32]
    before: float
    after: float


def mix(channels: Sequence[npt.NDArray[np.float32]], names: Sequence[str] = ()) -> Mix:
    """Channels (T,) float32 of finite samples to one.

    Args:
        names: of the channels, FFmpeg's (`FL`, `FC`, `LFE`, ...). Of more than two the front counts 0.71, the centre 1,
            others 0.5, the low-frequency channel 0; without names all count alike.
    """
    energies = [_energy(channel) for channel in channels]
    if len(channels) == 1:
        return Mix(channels[0], energies[0], energies[0])
    weights = _weights(len(channels), names)
    audible = [place for place, weight in enumerate(weights) if weight and energies[place]]
    loudest = max(audible or range(len(channels)), key=energies.__getitem__)
    mixed = [place for place in audible if energies[place] >= _SILENT * energies[loudest]] or [loudest]
    before = sum(energies[place] for place in mixed) / len(mixed)
    wave = _weighted([channels[place] for place in mixed], [weights[place] or 1.0 for place in mixed])
    after, total = _energy(wave), sum(weights[place] or 1.0 for place in mixed)
    unrelated = sum(((weights[place] or 1.0) / total) ** 2 * energies[place] for place in mixed)
    if after < _CANCELLED * unrelated:
        wave, after = channels[loudest], energies[loudest]
    return Mix(wave, before, after)


def loss_db(mixes: Iterable[Mix]) -> float:
    """By how many dB the mixes are quieter than the mean power of their channels; 0 where nothing was lost.

    Unrelated channels lose 3 dB in pairs, equal ones nothing.
    """
    parts = list(mixes)
    before, after = sum(part.before for part in parts), sum(part.after for part in parts)
    if not (math.isfinite(before) and 0.0 < after < before):
        return 0.0
    return 10.0 * math.log10(before / after)


def _weights(count: int, names: Sequence[str]) -> list[float]:
    if count <= 2 or len(names) != count:
        return [1.0] * count
    return [_WEIGHTS.get(name, _SURROUND_WEIGHT) for name in names]


def _weighted(channels: Sequence[npt.NDArray[np.float32]], weights: Sequence[float]) -> npt.NDArray[np.float32]:
    """Their mean by weight, summed in order: a product of matrices would round as the machine's library likes."""
    if len(channels) == 1:
        return channels[0]
    total = np.float32(weights[0]) * channels[0]
    for channel, weight in zip(channels[1:], weights[1:], strict=True):
        total += np.float32(weight) * channel
    total /= np.float32(sum(weights))
    return total


def _energy(samples: npt.NDArray[np.float32]) -> float:
    with np.errstate(over="ignore"):
        return float(np.square(samples).sum())
