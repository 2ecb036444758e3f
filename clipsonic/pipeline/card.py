"""The card of a pipeline: what it makes, where it comes from and how it measures, filled in from what is known.

Guarantee: nothing is made up; what nobody said (the licence of one's own weights, a measured table) stands there as not
said. The tables are those of `clipsonic evaluate`. Price: none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clipsonic.audio.spaces import describe

TABLES = re.compile(r"\| prompt \|.*\n(?:\|.*\n|\n(?=\| prompt \|))*")
"""The tables that `clipsonic evaluate` writes: what is heard, and the laws."""

NOT_MEASURED = "Not measured yet: `clipsonic evaluate --model FOLDER --corpus HELD_OUT --out report --into-card`."
NOT_TOLD = "Not told."
_FRONT = """\
---
library_name: clipsonic
pipeline_tag: text-to-audio
tags: [audio, text-to-audio, image-to-audio, video-to-audio, diffusion, CLIP]
---
"""


def default_card(pipeline: Any, training: Mapping[str, Any] | None = None) -> str:
    """The facts of a pipeline, as Markdown with the front matter that model hubs read.

    Args:
        pipeline: a ClipSonicPipeline.
        training: what `training.json` says of the run that made it.
    """
    parts = [_FRONT, "# A clipsonic pipeline\n\n", *_facts(pipeline)]
    parts.append(f"\n## Training\n\n{_training(training) if training else NOT_TOLD}\n")
    parts.append(f"\n## Measured\n\n{NOT_MEASURED}\n")
    parts.append("\n## Licence\n\nNot said yet: the weights' maker decides, and the corpus may have a word in it.\n")
    parts.append(
        '\n## Use\n\n```bash\nclipsonic generate --model FOLDER --text "a bell ringing" --out sound.wav\n```\n'
    )
    return "".join(parts)


def with_training(card: str, training: Mapping[str, Any]) -> str:
    """The card with what `training.json` says in the place of the word that nothing is told; another card stays."""
    nothing = f"## Training\n\n{NOT_TOLD}\n"
    return card.replace(nothing, f"## Training\n\n{_training(training)}\n", 1) if nothing in card else card


def with_tables(card: str, tables: str) -> str:
    """The card with these tables in the place of older ones, or of the word that there are none, or at the end."""
    tables = tables.rstrip("\n") + "\n"
    if TABLES.search(card):
        return TABLES.sub(lambda _: tables, card, count=1)
    if NOT_MEASURED in card:
        return card.replace(NOT_MEASURED + "\n", tables, 1)
    return f"{card.rstrip()}\n\n## Measured\n\n{tables}"


def _facts(pipeline: Any) -> list[str]:
    spec, config = pipeline.segment, pipeline.config
    parameters = sum(value.numel() for value in pipeline.denoiser.parameters())
    return [
        f"- makes: {spec.seconds:g} s of mono sound at {spec.mel.sample_rate_hz} Hz\n",
        f"- mel space: {describe(spec.mel)}; {spec.num_mel_frames} columns\n",
        f"- denoiser: {type(pipeline.denoiser).__name__}, {parameters / 1e6:.1f} M parameters, "
        f"predicts {pipeline.denoiser.config.prediction_type}\n",
        f"- CLIP space (fingerprint): {spec.fingerprint}\n",
        f"- default: {config.num_inference_steps} steps, guidance {config.guidance_scale:g}\n",
    ]


def _training(training: Mapping[str, Any]) -> str:
    corpus = training.get("corpus", {})
    lines = [
        f"- {training['steps']} steps in {training['minutes']:.1f} minutes, {training['samples_per_s']:g} samples/s"
    ]
    for name, word in (("train_loss", "loss"), ("val_loss", "validation loss")):
        if training.get(name) is not None:
            lines.append(f"- {word}: {training[name]:.4f}")
    if "used" in corpus:
        used, validated = corpus["used"], corpus.get("validation", 0)
        lines.append(f"- corpus: {used} records trained on, {validated} validated on; no caption read")
    if training.get("init"):
        lines.append(f"- begun from the weights of {training['init']}")
    return "\n".join(lines)
