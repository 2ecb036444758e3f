"""The best of several sounds: those that the soundstage's judge names as what was asked for, most surely first.

Guarantee: deterministic; what is wanted is the one kind of thing that a text names, or else the kind whose captions lie
nearest to the prompt's picture embedding; a pipeline of another CLIP, for whose sounds there is no judge, is refused.
Price: about 5 ms per sound of 4 s, and a second for the captions. Not exact: of 382 held-out pictures 88 % are taken
for the right kind, and a sound that is sure to be a bell need not be a good one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipsonic.audio.wave import resample
from clipsonic.errors import UsageError
from clipsonic.generate.known import kinds_named_in, known_kinds
from clipsonic.measure.judge import load_judge

if TYPE_CHECKING:
    from clipsonic.clip.embedder import ClipEmbedder
    from clipsonic.pipeline import ClipSonicPipeline


_FRAMES = (
    "{noun}",
    "{a}",
    "{a} {do}",
    "three {many} {do}",
    "a picture of {a}",
    "a photo of {a}",
    "the sound of {a} {do}",
)


@dataclass(frozen=True)
class Choice:
    """Which of N sounds are kept.

    Args:
        wanted: the kind of thing that was asked for.
        places: of the kept sounds among all, best first.
        agreement: the judge's probability that each of them is `wanted`.
    """

    wanted: str
    places: tuple[int, ...]
    agreement: tuple[float, ...]


def check_has_judge(pipeline: ClipSonicPipeline, duration_s: float | None) -> None:
    """Raises UsageError where the pipeline's sounds, or sounds of this length, cannot be judged."""
    if not getattr(pipeline.clip, "is_bundled", False):
        raise UsageError(
            "--best-of needs a judge, and there is one for pipelines of the bundled CLIP only: "
            "leave it out, or make several with --num-sounds and choose by ear"
        )
    seconds = pipeline.segment.seconds if duration_s is None else duration_s
    if seconds < load_judge().config.min_seconds:
        raise UsageError(
            f"--best-of cannot judge a sound of {seconds:g} s, the judge hears from "
            f"{load_judge().config.min_seconds:g} s on: give a longer --duration-s, or leave --best-of out"
        )


def choose_best(
    pipeline: ClipSonicPipeline, kind: str, prompt: Any, embeds_SE: Tensor, waves: list[np.ndarray], keep: int
) -> Choice:
    """The `keep` best of these waves (T,).

    Args:
        kind: of the prompt: text, image, video or embeds.
        embeds_SE: what the sounds were made for, as the pipeline's output says.
    """
    judge = load_judge()
    rate_hz = judge.config.mel.sample_rate_hz
    heard = np.stack([resample(wave, pipeline.segment.mel.sample_rate_hz, rate_hz) for wave in waves])
    wanted = wanted_kind(pipeline, kind, prompt, embeds_SE)
    agreement = judge.verdicts(heard).probabilities[:, judge.config.kinds.index(wanted)]
    agreement = np.where([np.abs(wave).max() > 0.0 for wave in waves], agreement, -math.inf)  # silence is never best
    places = [int(place) for place in np.argsort(-agreement, kind="stable")[:keep]]
    return Choice(wanted, tuple(places), tuple(round(max(0.0, float(agreement[place])), 4) for place in places))


def wanted_kind(pipeline: ClipSonicPipeline, kind: str, prompt: Any, embeds_SE: Tensor) -> str:
    """The kind of thing that the prompt asks for."""
    named = kinds_named_in(prompt) if kind == "text" else []
    return named[0] if len(named) == 1 else nearest_kind(pipeline, embeds_SE)


def nearest_kind(pipeline: ClipSonicPipeline, embeds_SE: Tensor) -> str:
    """The kind whose captions' mean lies nearest to these pictures' mean, each side seen from its own centre.

    Texts and pictures lie apart in CLIP's space; that is taken away with the centres (382 held-out pictures: 88.2 %
    right, 85.3 % without).
    """
    captions_KE = mean_captions(pipeline.clip)
    picture_E = embeds_SE.float().mean(dim=0)
    if pipeline.bank is not None:
        picture_E = picture_E - pipeline.bank.images.mean(dim=0)
    away_KE = normalize(captions_KE - captions_KE.mean(dim=0), dim=-1)
    return list(known_kinds())[int((away_KE @ picture_E).argmax())]


@lru_cache(maxsize=1)
def mean_captions(clip: ClipEmbedder) -> Tensor:
    """For every kind the mean embedding of what is said of it in a few frames, (K, E)."""
    texts = {
        name: [
            frame.format(noun=noun, a=a, many=many, do=kind["verb"])
            for noun, a, many in zip(kind["one"], kind["a"], kind["many"], strict=True)
            for frame in _FRAMES
        ]
        for name, kind in known_kinds().items()
    }
    embeds = torch.from_numpy(clip.embed_texts([text for said in texts.values() for text in said])).float()
    parts = torch.split(embeds, [len(said) for said in texts.values()])
    return torch.stack([part.mean(dim=0) for part in parts])
