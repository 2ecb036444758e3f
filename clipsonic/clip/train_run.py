"""One `train-clip` run from tars to a CLIP folder: read, train or continue, save, measure on the saved weights.

Guarantee: equal pairs, options and library versions give equal weights on CPU (without `--max-minutes`); figures come
from the judging pairs alone. Price: the pictures lie in memory at the model's size, 28 kB each at 96 x 96.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsonic.clip import open_clip as door
from clipsonic.clip.batches import BatchMaker, caption_bank
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.clip.measure import kind_naming, own_caption_accuracy, probe_r2
from clipsonic.clip.pairs import PairTable, load_table
from clipsonic.clip.train import ClipTrainer, TrainSettings
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.errors import UsageError
from clipsonic.resources import bundled_path
from clipsonic.resumable import CHECKPOINT_FILE
from clipsonic.seeding import numpy_rng, seed_for

_PROBE_PAIRS = 4000
_MEAN_SCALE = 1e-2  # exp(0.01 x) = 1 + 0.01 x to 5e-5: the vote is then one of mean likeness


def train_clip(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; `args` as its parser makes them."""
    settings = TrainSettings(args.steps, args.batch_size, args.lr, seed=args.seed, max_minutes=args.max_minutes)
    recipe = door.recipe_of(args.init) if args.init else read_recipe(args.arch)
    start = f"the weights of `{door.fingerprint_of(args.init)}`" if args.init else "random weights"
    table, val = _tables(args, recipe)
    trainer = _trainer(args, settings, recipe, table)
    trainer.run(Path(args.out))
    trainer.embedder.save(args.out)
    embedder = door.load_clip(args.out, trainer.embedder.device)
    figures = measure(embedder, table, val)
    effort = f"{trainer.step} steps of {args.batch_size} pairs in {trainer.seconds / 60:.0f} minutes"
    embedder.card = card_text(embedder.fingerprint, figures, len(table), len(val), start, effort)
    embedder.save(args.out)
    (Path(args.out) / CHECKPOINT_FILE).unlink(missing_ok=True)
    message = f"{embedder.card}\nwritten to {args.out}"
    return {"message": message, "out": str(args.out), "fingerprint": embedder.fingerprint, **figures}


def read_recipe(path: str | Path | None = None) -> dict[str, Any]:
    """An architecture file; by default the bundled one.

    Raises:
        UsageError: missing, or without one of its three keys.
    """
    file = Path(path) if path else bundled_path("priors", "recipes", "soundstage-clip.json")
    try:
        recipe: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in ("architecture", "model_cfg", "preprocess_cfg") if key not in recipe]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"architecture {file} cannot be read ({error}): give a JSON file as in priors/recipes"
        ) from None
    if missing:
        raise UsageError(f"architecture {file} lacks {', '.join(missing)}: give a JSON file as in priors/recipes")
    return recipe


def measure(embedder: ClipEmbedder, table: PairTable, val: PairTable) -> dict[str, Any]:
    """Figures of a CLIP on judging pairs `val`; `table` is what its linear probes are fitted on."""
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
    scale = float(embedder.model.logit_scale.exp())
    if naming := kind_naming(pictures, captions, owners, val.kinds, scale):
        figures |= {"kind_accuracy": naming.accuracy, "confusions": naming.confusions[:8], "per_kind": naming.per_kind}
    if naming := kind_naming(pictures, captions, owners, val.kinds, _MEAN_SCALE):
        figures["kind_accuracy_by_mean_caption"] = naming.accuracy
    known = table.take(range(min(_PROBE_PAIRS, len(table))))
    return {**figures, **_probes(embed_pictures(embedder, known), known, pictures, val)}


def _probes(known_pictures: np.ndarray, known: PairTable, pictures: np.ndarray, val: PairTable) -> dict[str, float]:
    """R2 of every number that at least half of the pairs of both tables carry, fitted and judged where it is known."""
    figures = {}
    for name in sorted(set(_frequent(known)) & set(_frequent(val))):
        known_rows, known_values = _column(known, name)
        rows, values = _column(val, name)
        if len(np.unique(values)) > 2:
            figures[f"probe_r2_{name}"] = probe_r2(known_pictures[known_rows], known_values, pictures[rows], values)
    return figures


def _frequent(table: PairTable) -> list[str]:
    names = {name for numbers in table.numbers for name in numbers}
    return [name for name in names if 2 * len(_column(table, name)[0]) >= len(table)]


def _column(table: PairTable, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows that carry this number, and its values there."""
    rows = [row for row, numbers in enumerate(table.numbers) if name in numbers]
    return np.array(rows, int), np.array([table.numbers[row][name] for row in rows])


def embed_pictures(embedder: ClipEmbedder, table: PairTable) -> np.ndarray:
    """(N, E) unit vectors of pictures that are already at the model's size."""
    parts = [
        embedder.embed_tensor(embedder.normalized(table.pictures[start : start + 256])).cpu().numpy()
        for start in range(0, len(table), 256)
    ]
    return np.concatenate(parts)


def _tables(args: argparse.Namespace, recipe: dict[str, Any]) -> tuple[PairTable, PairTable]:
    print("reading pairs ...", file=sys.stderr)
    table = load_table(args.pairs, door.resizer(recipe))
    if args.val_pairs:
        val = load_table(args.val_pairs, door.resizer(recipe))
    else:
        table, val = _split(table, args.seed)
    print(f"{len(table)} pairs to learn from, {len(val)} to judge by, {table.refused} unusable", file=sys.stderr)
    return table, val


def _split(table: PairTable, seed: int) -> tuple[PairTable, PairTable]:
    """One pair in twenty, at least two, for judging."""
    if len(table) < 4:
        raise UsageError(f"{len(table)} pairs are too few to train and to judge: give at least 4, better thousands")
    order = numpy_rng(seed, "clip.split").permutation(len(table))
    count = max(2, len(table) // 20)
    return table.take(np.sort(order[count:])), table.take(np.sort(order[:count]))


def _trainer(
    args: argparse.Namespace, settings: TrainSettings, recipe: dict[str, Any], table: PairTable
) -> ClipTrainer:
    """A trainer at the beginning, or where the run in --out was interrupted."""
    embedder = door.load_clip(args.init) if args.init else _untrained(recipe, table, args.seed)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    embedder.to(device)
    batches = BatchMaker(table, caption_bank(table.captions, embedder.tokenize), args.batch_size, args.seed)
    facts = {"recipe": json.dumps(recipe, sort_keys=True), "pairs": _digest_of(table)}
    facts |= {"init": embedder.fingerprint} if args.init else {}
    trainer = ClipTrainer(embedder, door.clip_loss(), batches, settings, facts)
    if args.resume == "auto" and trainer.resume(Path(args.out)):
        print(f"continuing at step {trainer.step}", file=sys.stderr)
    return trainer


def _untrained(recipe: dict[str, Any], table: PairTable, seed: int) -> ClipEmbedder:
    """A new CLIP whose vocabulary is that of the captions."""
    merges = packed(short_merges((text for texts in table.captions for text in texts), door.published_merges()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "clip.weights"))
        return door.new_clip(recipe, merges)


def _digest_of(table: PairTable) -> str:
    """Names the pairs, so that a checkpoint is never continued on others."""
    digest = hashlib.blake2b(table.pictures[:: max(1, len(table) // 64)].tobytes(), digest_size=8)
    digest.update(json.dumps(table.captions).encode())
    return digest.hexdigest()


def command_line(name: str) -> str:
    """The command as it was given, without the folders above its paths."""
    words = sys.argv[1:] if sys.argv[1:2] == [name] else [name]
    short = ["/".join(Path(word).parts[-2:]) if Path(word).is_absolute() else word for word in words]
    return shlex.join(["clipsonic", *short])


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

    {command_line("train-clip")}
"""
