"""What a CLIP is worth on pairs that it has not seen, and the card that says so.

Guarantee: captions and pictures come from the judging pairs alone; figures are functions of weights and pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.measure import kind_naming, own_caption_accuracy, probe_r2
from clipsonic.clip.pairs import PairTable
from clipsonic.train.lessons.cards import command_line

_MEAN_SCALE = 1e-2  # exp(0.01 x) = 1 + 0.01 x to 5e-5: the vote is then one of mean likeness


def figures_of(embedder: ClipEmbedder, val: PairTable) -> dict[str, Any]:
    """How well pictures are named by captions."""
    pictures = embed_pictures(embedder, val)
    captions = embedder.embed_texts([text for texts in val.captions for text in texts])
    owners = np.repeat(np.arange(len(val)), [len(texts) for texts in val.captions])
    first = captions[np.searchsorted(owners, np.arange(len(val)))]
    rows = np.flatnonzero([kind is not None for kind in val.kinds])
    rows = rows if len(rows) else np.arange(len(val))
    figures: dict[str, Any] = {
        "own_caption_accuracy": own_caption_accuracy(pictures[rows], first[rows], [val.kinds[row] for row in rows]),
        "mean_cosine_own_caption": float(np.mean(np.sum(pictures * first, axis=1))),
    }
    scale = float(embedder.model.logit_scale.detach().exp())
    if naming := kind_naming(pictures, captions, owners, val.kinds, scale):
        figures |= {"kind_accuracy": naming.accuracy, "confusions": naming.confusions[:8], "per_kind": naming.per_kind}
    if naming := kind_naming(pictures, captions, owners, val.kinds, _MEAN_SCALE):
        figures["kind_accuracy_by_mean_caption"] = naming.accuracy
    return figures


def probes_of(embedder: ClipEmbedder, known: PairTable, val: PairTable) -> dict[str, float]:
    """R2 of every number that at least half of the pairs of both tables carry, fitted on `known`, judged on `val`."""
    known_pictures, pictures, figures = embed_pictures(embedder, known), embed_pictures(embedder, val), {}
    for name in sorted(set(_frequent(known)) & set(_frequent(val))):
        known_rows, known_values = _column(known, name)
        rows, values = _column(val, name)
        if len(np.unique(values)) > 2:
            figures[f"probe_r2_{name}"] = probe_r2(known_pictures[known_rows], known_values, pictures[rows], values)
    return figures


def nearest_captions(embedder: ClipEmbedder, val: PairTable, rows: np.ndarray) -> Iterator[tuple[str, str, float]]:
    """Of each of these pictures: its first caption, the nearest of all first captions, and the cosine to that."""
    texts = [captions[0] for captions in val.captions]
    cosines = embed_pictures(embedder, val.take(rows)) @ embedder.embed_texts(texts).T
    for row, cosine in zip(rows, cosines, strict=True):
        yield texts[row], texts[int(cosine.argmax())], float(cosine.max())


def embed_pictures(embedder: ClipEmbedder, table: PairTable) -> np.ndarray:
    """(N, E) unit vectors of pictures that are already at the model's size."""
    parts = [
        embedder.embed_tensor(embedder.normalized(table.pictures[start : start + 256])).cpu().numpy()
        for start in range(0, len(table), 256)
    ]
    return np.concatenate(parts)


def _frequent(table: PairTable) -> list[str]:
    names = {name for numbers in table.numbers for name in numbers}
    return [name for name in names if 2 * len(_column(table, name)[0]) >= len(table)]


def _column(table: PairTable, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows that carry this number, and its values there."""
    rows = [row for row, numbers in enumerate(table.numbers) if name in numbers]
    return np.array(rows, int), np.array([table.numbers[row][name] for row in rows])


def card_text(fingerprint: str, figures: dict[str, Any], num_pairs: int, num_val: int, start: str, effort: str) -> str:
    """card.md of a trained CLIP; `start` says what it was trained from, `effort` how long."""
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items() if isinstance(value, float))
    confused = ", ".join(f"{true} as {other} ({share:.0%})" for true, other, share in figures.get("confusions", [])[:5])
    return f"""# A small CLIP

Space: `{fingerprint}`. Trained from {start} on {num_pairs} pairs of pictures and captions
with open_clip's contrastive loss, {effort}. It knows what those pairs show and nothing else. Licence: Apache-2.0.

Measured on {num_val} pairs that training never saw:

| figure | value |
|---|---|
{rows}

`own_caption_accuracy`: a picture is nearer to its own caption than to those of 24 pictures of other kinds.
`kind_accuracy`: the captions of all other pictures, weighed by likeness, vote for the right kind (more pairs, better
votes);
`kind_accuracy_by_mean_caption`: the same with the mean likeness of each kind's captions, which count and size blur.
`probe_r2_*`: what a linear probe on picture embeddings explains of that number.
Most frequent confusions: {confused or "none"}.

    {command_line()}
"""
