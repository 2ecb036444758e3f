"""The best of several sounds: those in which an ear hears best what was asked for.

Guarantee: deterministic; a prompt of any kind is one direction in CLIP's picture space, and every sound is heard alone;
what is silent comes after all that is not. The judge of `evaluate` has no say in it, so it may judge what was chosen.
Price: about 3 ms of a core per sound of 4 s. Not exact: of a long sound the mean over its windows counts, not what is
heard when; a sound that is near need not be a good one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipsonic.audio.wave import resample, rms_db
from clipsonic.ear.tower import LEAST_S, Ear
from clipsonic.errors import UsageError
from clipsonic.shards.selection import SILENT_RMS_DB

if TYPE_CHECKING:
    from clipsonic.pipeline import ClipSonicPipeline

SILENT_COSINE = -1.0
"""Of a silent sound: an ear hears no level, so it would hear something in the noise of rounding."""


@dataclass(frozen=True)
class Choice:
    """Which of N sounds are kept.

    Args:
        places: of the kept sounds among all, best first.
        cosines: of what is heard in each of them to what was asked for, -1 to 1.
        ear: fingerprint of the ear that chose.
    """

    places: tuple[int, ...]
    cosines: tuple[float, ...]
    ear: str

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {"ear": self.ear, "chosen": list(self.places), "cosines": list(self.cosines)}


def ear_for(pipeline: ClipSonicPipeline, count: int, duration_s: float | None) -> Ear:
    """The ear that is to choose among `count` sounds of this length (default: a segment).

    Raises:
        UsageError: the pipeline has none, or it hears nothing that short.
    """
    ear: Ear | None = pipeline.ear
    refused = f"the best of {count} cannot be chosen"
    if ear is None:
        raise UsageError(
            f"{refused}, the pipeline has no ear for the CLIP space {pipeline.segment.fingerprint}: train one by "
            "clipsonic train --config ear and put it into the pipeline's folder as ear/, or keep all that is made"
        )
    seconds = pipeline.segment.seconds if duration_s is None else duration_s
    if seconds < LEAST_S:
        raise UsageError(
            f"{refused}, an ear hears nothing in {seconds:g} s: make sounds of at least {LEAST_S:g} s, or as many as "
            "are to be kept"
        )
    return ear


def choose_best(ear: Ear, embeds: Sequence[Tensor], waves: Sequence[np.ndarray], rate_hz: int, keep: int) -> Choice:
    """The `keep` best of these sounds, (T,) each.

    Args:
        embeds: what each of them was made for, (S, E), as the pipeline's output says.
    """
    wanted_E = direction_of(embeds)
    cosines = np.array([_cosine(ear, wave, rate_hz, wanted_E) for wave in waves])
    silent = np.array([rms_db(wave) < SILENT_RMS_DB for wave in waves])
    cosines[silent] = SILENT_COSINE
    places = [int(place) for place in np.lexsort((-cosines, silent))[:keep]]
    return Choice(tuple(places), tuple(round(float(cosines[place]), 4) for place in places), ear.fingerprint)


def direction_of(embeds: Sequence[Tensor]) -> Tensor:
    """What a prompt asks for, as one unit vector (E,).

    Args:
        embeds: what each sound was made for, (S, E); of a text each has its own draw from the prior, and their mean
            says what the text asks for better than any of them.
    """
    return normalize(torch.stack([embeds_SE.float().mean(dim=0) for embeds_SE in embeds]).mean(dim=0), dim=0)


def _cosine(ear: Ear, wave: np.ndarray, rate_hz: int, wanted_E: Tensor) -> float:
    own_hz = ear.spec.sample_rate_hz
    heard_E = ear.embed_sounds(resample(wave, rate_hz, own_hz)[None], own_hz).whole[0]
    return float(heard_E @ wanted_E.numpy())
