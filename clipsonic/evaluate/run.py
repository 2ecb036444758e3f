"""One evaluation, from a pipeline and a corpus to the numbers and examples of a report.

Guarantee: with equal seed, model and corpus all figures but the times are equal; nothing is written here. Price: one
sound per item and kind of prompt, and three batches of spectrograms per row.

The numbers are plain JSON values:
    title, corpus_kind (soundstage or videos), manifests, num_items, left_out {reason: count},
    skipped [{label, reason}], model, corpus, command, seed, steps, guidance, fingerprint, segment_s, versions,
    sentences (what came out, in words), confused [[was, called, share]],
    examples [{title, source, file, start_s, caption, verdicts {row: kind}}],
    rows [{name, label, about, figures {num_sounds,
    accuracy, frechet, kernel, posterior_kl, pitch_semitones, rate_error, onset_ms, level_db, envelope_correlation
    | recall_at_1, mean_rank, nearest_to_own, frechet, kernel (with an embedder),
    mel_difference_db, silent_share, clipped_share, seconds_per_sound}}]
Shares and means are {value, low, high} with 95 % intervals.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipsonic.errors import CorpusError, FingerprintError, UsageError
from clipsonic.evaluate.embedders import AudioEmbedder
from clipsonic.evaluate.examples import Judged, describe_example, make_example, pick_places
from clipsonic.evaluate.laws import find_laws
from clipsonic.evaluate.material import Material, load_material
from clipsonic.evaluate.obedience import Heard
from clipsonic.evaluate.plan import Item, Law, Plan, plan_scenes, plan_videos
from clipsonic.evaluate.report import Evaluation
from clipsonic.evaluate.rows import PROMPTS, Making, blind_rows, made_rows, reference_rows
from clipsonic.evaluate.score import Scored, Scorer
from clipsonic.measure.judge import load_judge
from clipsonic.measure.metrics import confusion, most_confused
from clipsonic.pipeline.folder import check_fingerprint
from clipsonic.prior.closer_names import CLOSERS
from clipsonic.shards.writer import CorpusIndex, corpus_facts

_PACKAGES = ("clipsonic", "torch", "diffusers", "numpy", "open-clip-torch")


@dataclass(frozen=True)
class Options:
    """What to judge.

    Args:
        corpus: a corpus folder.
        videos: folder with the manifest of the corpus's videos; None looks beside the videos.
        num_scenes: at most so many items.
        making: steps, guidance, seed, batch size.
        prompts, closers: which rows.
        laws: whether pitch, rate, onsets, level and change are measured on the waveform, where laws are known.
        embedder: what compares sounds where no law is known; None compares log-mels.
        num_players: examples to hear.
        model_name, command: what the report says was judged, and how.
    """

    corpus: Path
    videos: Path | None = None
    num_scenes: int = 200
    making: Making = field(default_factory=Making)
    prompts: tuple[str, ...] = PROMPTS
    closers: tuple[str, ...] = tuple(CLOSERS)
    laws: bool = True
    embedder: AudioEmbedder | None = None
    num_players: int = 12
    model_name: str = ""
    command: str = ""


class Prepared(NamedTuple):
    """What is judged, read once, and the scorer for it; `judged` and laws only where the corpus's laws are known."""

    plan: Plan
    laws: dict[str, Law]
    manifests: list[Path]
    material: Material
    judged: Judged | None
    making: Making
    scorer: Scorer


def prepare(pipeline: Any, options: Options) -> Prepared:
    """Choose the items, read them, and hear the true sounds.

    Raises:
        FingerprintError, CorpusError, UsageError: as `evaluate`.
    """
    segment, making = pipeline.segment, options.making
    for name, prior in making.priors.items():
        check_fingerprint(f"prior {name}", prior.fingerprint, segment)
    facts = _facts_in_space(options.corpus, segment.fingerprint)
    laws, manifests = find_laws(facts, options.corpus, options.videos)
    if laws and options.embedder is not None:
        raise UsageError("--audio-embedder has no effect on a corpus whose laws are known: leave it out")
    plan = _plan(facts, laws, segment.seconds, options)
    making = making if laws else replace(making, num_others=None)
    material = load_material(options.corpus, facts, plan.items, segment)
    judged = _judge_and_kinds(plan.items) if laws else None
    heard = [
        Heard(laws[item.source].scene, item.video_start_s, segment.seconds)
        for item in plan.items
        if laws and options.laws
    ]
    scorer = Scorer(material.waves, segment.mel, judged, _firsts(plan.items), making.seed, heard, options.embedder)
    return Prepared(plan, laws, manifests, material, judged, making, scorer)


def evaluate(pipeline: Any, options: Options) -> Evaluation:
    """Judge a ClipSonicPipeline.

    Raises:
        FingerprintError: the corpus was embedded by another CLIP than the pipeline's.
        CorpusError: no usable record.
        UsageError: an audio embedder for a corpus with laws, or one whose features are unusable.
    """
    plan, laws, manifests, material, judged, making, scorer = prepare(pipeline, options)
    references = reference_rows(material, pipeline, making)
    made, skipped = made_rows(material, pipeline, making, options.prompts, options.closers)
    scored = [scorer.score(row) for row in [*references, *made, *blind_rows(material, made, making.seed)]]
    numbers = {
        **settings(pipeline, options),
        "title": "What the model makes of what it sees" if laws else "Real videos and the sounds made for them",
        "corpus_kind": "soundstage" if laws else "videos",
        "manifests": [str(path) for path in manifests],
        "num_items": len(plan.items),
        "left_out": plan.left_out,
        "sentences": _sentences(scored, len(plan.items)),
        "skipped": [asdict(one) for one in skipped],
        "confused": _confused(scored, judged),
        "rows": [_plain(one) for one in scored],
    }
    places = pick_places(plan.items[: making.num_others], options.num_players, making.seed)
    numbers["examples"] = [describe_example(material, scored, judged, place) for place in places]
    examples = tuple(make_example(material, scored, judged, place) for place in places)
    return Evaluation(numbers, examples, pipeline.segment.mel)


def _facts_in_space(corpus: Path, fingerprint: str) -> list[dict[str, Any]]:
    index = CorpusIndex.load(corpus)
    if index.fingerprint != fingerprint:
        raise FingerprintError(
            f"corpus {corpus} was embedded by {index.fingerprint}, the pipeline knows {fingerprint}: "
            "ingest the videos with the pipeline's CLIP"
        )
    return corpus_facts(corpus)


def _plan(facts: list[dict[str, Any]], laws: dict[str, Law], seconds: float, options: Options) -> Plan:
    count, seed = options.num_scenes, options.making.seed
    if laws:
        plan = plan_scenes(facts, laws, seconds, num_scenes=count, seed=seed)
    else:
        plan = plan_videos(facts, seconds, num_scenes=count, seed=seed)
    if not plan.items:
        reasons = ", ".join(f"{number} {reason}" for reason, number in plan.left_out.items()) or "no record"
        raise CorpusError(
            f"corpus {options.corpus} has nothing to judge a model of {seconds:.2f} s on ({reasons}): "
            "ingest videos at least that long"
        )
    return plan


def settings(pipeline: Any, options: Options) -> dict[str, Any]:
    """How it was run."""
    making = options.making
    return {
        "model": options.model_name,
        "corpus": str(options.corpus),
        "command": options.command,
        "seed": making.seed,
        "steps": pipeline.default_steps if making.steps is None else making.steps,
        "guidance": pipeline.default_guidance if making.guidance is None else making.guidance,
        "fingerprint": pipeline.segment.fingerprint,
        "segment_s": pipeline.segment.seconds,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _plain(one: Scored) -> dict[str, Any]:
    return {"name": one.row.name, "label": one.row.label, "about": one.row.about, "figures": one.figures}


def _judge_and_kinds(items: Sequence[Item]) -> Judged:
    judge = load_judge()
    return np.array([judge.config.kinds.index(str(item.kind)) for item in items]), judge


def _firsts(items: Sequence[Item]) -> list[int]:
    return [place for place, item in enumerate(items) if item.is_first]


def _confused(scored: Sequence[Scored], judged: Judged | None) -> list[tuple[str, str, float]]:
    """What the judge confuses in the first row that the model made."""
    made = next((one for one in scored if one.row.heard and one.row.name != "true" and one.verdicts), None)
    if judged is None or made is None or made.verdicts is None:
        return []
    names = list(judged[1].config.kinds)
    named = made.verdicts.named
    return most_confused(confusion(judged[0][: len(named)], named, len(names)), names)


def _sentences(scored: Sequence[Scored], count: int) -> list[str]:
    """What came out, in words."""
    figures = {one.row.name: one.figures for one in scored}
    made = [one for one in scored if one.row.heard and one.row.name != "true"]
    if "accuracy" in figures["true"]:
        said = [f"{one.figures['accuracy']['value']:.1%} from {one.row.label}" for one in made]
        return [
            f"Sounds that the judge names rightly, over {count} scenes: {'; '.join(said) or 'none were made'}.",
            f"Of the true sounds it names {figures['true']['accuracy']['value']:.1%} rightly; "
            f"chance is {figures['chance']['accuracy']['value']:.1%}.",
        ]
    return [
        f"Made from a {one.row.label} prompt, the sound is nearest to its own soundtrack for "
        f"{one.figures['nearest_to_own']['count']} of {one.figures['nearest_to_own']['of']} videos (first segments)."
        for one in sorted(scored, key=lambda one: one.row.name != "video-timed")
        if one.row.seconds_per_sound is not None and one.row.name != "vocoder" and "nearest_to_own" in one.figures
    ]
