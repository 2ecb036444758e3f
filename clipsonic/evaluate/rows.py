"""The rows of the table: the true sound, what the model made of each kind of prompt, and what knows nothing.

Guarantee: item n of a row is heard against item n of the plan; every item has its own generator, the same for every
kind of prompt, so rows differ by their prompts and not by their noise. Price: one call of the pipeline per batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clipsonic.audio.mel import LogMel
from clipsonic.evaluate.material import Material
from clipsonic.evaluate.plan import Item
from clipsonic.measure.metrics import derangement
from clipsonic.pipeline.vocoding import vocode
from clipsonic.prior.closer_names import CLOSERS
from clipsonic.seeding import numpy_rng, torch_generator

PROMPTS = ("image", "video", "text")
_SAME_TIME_S = 0.05


@dataclass(frozen=True)
class Row:
    """Sounds to be heard against the true ones of the plan's first n items.

    Args:
        name: its word in report.json.
        label, about: what people read.
        waves: (n, T) float32, n at most N, or None for a row that has only a known score (chance).
        seconds_per_sound: time it took to make one, None if nothing was made.
        heard: whether examples let it be heard.
    """

    name: str
    label: str
    about: str
    waves: np.ndarray | None
    seconds_per_sound: float | None = None
    heard: bool = False


@dataclass(frozen=True)
class Skipped:
    """A row that could not be made, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Making:
    """How sounds are made.

    Args:
        steps, guidance: None means the pipeline's own.
        seed: of every generator.
        batch_size: sounds per call.
        num_others: items in the rows other than pictures; None means all.
        priors: diffusion priors that get a row each, beside the pipeline's own, by the name that the row has.
    """

    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    batch_size: int = 32
    num_others: int | None = None
    priors: Mapping[str, Any] = field(default_factory=dict)


def reference_rows(material: Material, pipeline: Any, making: Making) -> list[Row]:
    """The true sounds, and what the vocoder alone makes of their mels."""
    started_s = time.perf_counter()
    vocoded = _through_vocoder(material.waves[: making.num_others], pipeline)
    seconds = (time.perf_counter() - started_s) / len(vocoded)
    about = "the true log-mel through the vocoder: the best that a perfect model could do"
    return [
        Row("true", "true sound", "the soundtrack itself", material.waves, heard=True),
        Row("vocoder", "true mel, vocoder", about, vocoded, seconds),
    ]


def made_rows(
    material: Material, pipeline: Any, making: Making, prompts: Sequence[str], closers: Sequence[str]
) -> tuple[list[Row], list[Skipped]]:
    """What the model makes of each kind of prompt that was asked for; `video-timed` and `video-pooled` are one each."""
    everything, others = range(len(material.items)), range(len(material.items))[: making.num_others]
    rows, skipped = [], []
    if "image" in prompts:
        waves, seconds = _make(
            pipeline, material, making, "pictures", _picture_prompt(material), _batches(everything, making)
        )
        rows.append(Row("image", "picture", "one frame of the segment", waves, seconds, heard=True))
    for name, about in (("timed", "its four frames, each at its time"), ("pooled", "its four frames, their mean")):
        if "video" in prompts or f"video-{name}" in prompts:
            batches = _batches(others, making, material.times_s)
            waves, seconds = _make(pipeline, material, making, f"video {name}", _video_prompt(material, name), batches)
            rows.append(Row(f"video-{name}", f"video ({name})", about, waves, seconds, heard=name == "timed"))
    for closer in closers if "text" in prompts else ():
        if reason := _why_no_text(material, pipeline, closer):
            skipped.append(Skipped(f"text ({closer})", reason))
            continue
        assert pipeline.clip is not None  # loaded here, before the clock starts
        rows.append(_text_row(material, pipeline, making, closer, others))
    own = pipeline.prior if making.priors else None
    for name, prior in making.priors.items() if "text" in prompts else ():
        if reason := _why_no_text(material, pipeline, "zero-shot"):
            skipped.append(Skipped(f"text (prior {name})", reason))
            continue
        pipeline.set_prior(prior)
        row = _text_row(material, pipeline, making, "prior", others)
        about = f"a caption, through the diffusion prior in {name}"
        rows.append(replace(row, name=f"text-prior-{name}", label=f"text (prior {name})", about=about))
    if own is not None:
        pipeline.set_prior(own)
    return rows, skipped


def _text_row(material: Material, pipeline: Any, making: Making, closer: str, places: range) -> Row:
    batches = _batches(places, making)
    waves, seconds = _make(pipeline, material, making, f"text {closer}", _text_prompt(material, closer), batches)
    return Row(f"text-{closer}", f"text ({closer})", CLOSERS[closer], waves, seconds, heard=True)


def blind_rows(material: Material, made: Sequence[Row], seed: int) -> list[Row]:
    """What knows nothing of its item: silence, chance, and the first made row with its items exchanged.

    They are exchanged among all, and (where kinds are known) among those of one kind.
    """
    rows = []
    if made and made[0].waves is not None and len(made[0].waves) > 1:
        sources = [item.source for item in material.items[: len(made[0].waves)]]
        order = derangement(sources, numpy_rng(seed, "evaluate.shuffle"))
        about = f"the {made[0].label} row, each sound made for another video"
        rows.append(Row("shuffled", "shuffled prompts", about, made[0].waves[order]))
        if all(item.kind for item in material.items):
            about = f"the {made[0].label} row, each sound made for another video of the same kind"
            within = within_kinds(material.items[: len(made[0].waves)], numpy_rng(seed, "evaluate.shuffle"))
            rows.append(Row("shuffled-within", "shuffled within the kind", about, made[0].waves[within]))
    return [
        *rows,
        Row("silence", "silence", "zeros", np.zeros_like(material.waves)),
        Row("chance", "chance", "guessing", None),
    ]


def within_kinds(items: Sequence[Item], rng: np.random.Generator) -> np.ndarray:
    """A permutation (N,) that gives every item another one of its kind; the only one of a kind stays."""
    result = np.arange(len(items))
    for kind in sorted({str(item.kind) for item in items}):
        places = np.array([place for place, item in enumerate(items) if item.kind == kind])
        result[places] = places[derangement([str(place) for place in places], rng)]
    return result


def _make(
    pipeline: Any,
    material: Material,
    making: Making,
    what: str,
    prompt_of: Callable[[np.ndarray], dict[str, Any]],
    batches: Sequence[np.ndarray],
) -> tuple[np.ndarray, float]:
    """Sounds (n, T) for the items of all batches, in the items' order, and the seconds that one took."""
    count, started_s = sum(len(at) for at in batches), time.perf_counter()
    waves = np.zeros_like(material.waves[:count])
    with tqdm(total=count, desc=what, unit="sound", file=sys.stderr, mininterval=0.5) as bar:
        for at in batches:
            made = pipeline(
                **prompt_of(at),
                num_inference_steps=making.steps,
                guidance_scale=making.guidance,
                generator=[torch_generator(making.seed, "evaluate.sound", material.items[place].key) for place in at],
                output_type="np",
            )
            waves[at] = made.audios
            bar.update(len(at))
    return waves, (time.perf_counter() - started_s) / count


def _batches(places: range, making: Making, times_s: np.ndarray | None = None) -> list[np.ndarray]:
    """The places in batches; with times (N, S), a batch holds items whose frames lie at the same times, to 25 ms.

    That is because the pipeline takes one list of times per call.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in places:
        group = () if times_s is None else tuple(np.rint(times_s[place] / _SAME_TIME_S).astype(int).tolist())
        groups.setdefault(group, []).append(place)
    size = making.batch_size
    return [np.array(inside[at : at + size]) for inside in groups.values() for at in range(0, len(inside), size)]


def _picture_prompt(material: Material) -> Callable[[np.ndarray], dict[str, Any]]:
    return lambda at: {"embeds": material.images[at]}


def _video_prompt(material: Material, tokens: str) -> Callable[[np.ndarray], dict[str, Any]]:
    return lambda at: {
        "embeds": material.videos[at],
        "frame_times_s": material.times_s[at].mean(axis=0).tolist(),
        "video_tokens": tokens,
    }


def _text_prompt(material: Material, closer: str) -> Callable[[np.ndarray], dict[str, Any]]:
    return lambda at: {"text": [str(material.captions[place]) for place in at], "closer": closer}


def _why_no_text(material: Material, pipeline: Any, closer: str) -> str | None:
    """The reason why there is no row for this closer, or None."""
    missing = sum(caption is None for caption in material.captions)
    if missing:
        return f"{missing} of {len(material.captions)} records have no caption"
    if closer == "prior" and pipeline.prior is None:
        return "the pipeline has no text prior"
    reason: str | None = pipeline.why_no_closer(closer)
    return reason


def _through_vocoder(waves: np.ndarray, pipeline: Any, batch_size: int = 32) -> np.ndarray:
    """Waves (N, T) of a segment to log-mel and back, as the pipeline would sound with a perfect denoiser."""
    log_mel = LogMel(pipeline.segment.mel)
    parts = []
    with tqdm(total=len(waves), desc="vocoder", unit="sound", file=sys.stderr, mininterval=0.5) as bar:
        for start in range(0, len(waves), batch_size):
            wave = torch.from_numpy(waves[start : start + batch_size])
            parts.append(vocode(pipeline.vocoder, log_mel(wave), pipeline.device).numpy())
            bar.update(len(wave))
    return np.concatenate(parts)
