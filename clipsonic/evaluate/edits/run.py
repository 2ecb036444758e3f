"""`clipsonic evaluate --edits`: what a pipeline makes of sounds that are there, to the numbers of a report.

Guarantee: with equal seed, model and corpus all figures but the times are equal; error, seam and (where laws are known)
naming stand in one row always; nothing is written here. Price: at 12 levels about 0.1 s for each task, way and sound
on one thread; ways that are not compared item by item can be had of fewer sounds (`num_others`).

The numbers are those of `clipsonic.evaluate.run`, with `table` "edits" and rows
    TASK/WAY {num_sounds, error_db, below_audioldm_db, stretch_named, seam_db, drift_db, seconds_per_sound}
    source, target, restyle-S, restyle-from-S, variation-S {num_sounds, target_named, source_named,
    loudness_correlation, source_distance_db, seeds_distance_db, seconds_per_sound}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from clipsonic.evaluate.edits.filled import TRUE, FilledRow, filled_rows
from clipsonic.evaluate.edits.restyled import changed_rows
from clipsonic.evaluate.edits.tasks import MOST_SHARE, TASKS, Task
from clipsonic.evaluate.edits.ways import AUDIOLDM, FILLS, OURS, Model
from clipsonic.evaluate.examples import Judged, pick_places
from clipsonic.evaluate.material import Material
from clipsonic.evaluate.report import Evaluation, Example, Sound
from clipsonic.evaluate.rows import Skipped
from clipsonic.evaluate.run import Options, prepare, settings

_SHOWN_WAYS = (TRUE, AUDIOLDM, OURS)


def evaluate_edits(pipeline: Any, options: Options, tasks: Sequence[Task] = TASKS) -> Evaluation:
    """Judge a ClipSonicPipeline by what it fills in and what it changes.

    Raises:
        FingerprintError, CorpusError, UsageError: as `clipsonic.evaluate.run.evaluate`; a scheduler whose levels
            cannot be walked through.
    """
    prepared = prepare(pipeline, replace(options, laws=False))
    material, judged = prepared.material, prepared.judged
    model = Model(pipeline, material, options.making)
    places = pick_places(material.items[: options.making.num_others], options.num_players, options.making.seed)
    possible = [task for task in tasks if task.fits(model.segment)]
    filled = [row for task in possible for row in filled_rows(task, model, material.waves, judged, places)]
    rows = [*(row.plain for row in filled), *changed_rows(model, material, judged)]
    left = f"it is more than {MOST_SHARE:.0%} of the model's {model.segment.seconds:.2f} s"
    numbers = {
        **settings(pipeline, options),
        "guidance": model.guidance.scale,
        "title": "What the model makes of a sound that is there",
        "table": "edits",
        "corpus_kind": "soundstage" if judged else "videos",
        "manifests": [str(path) for path in prepared.manifests],
        "num_items": len(material.items),
        "left_out": prepared.plan.left_out,
        "sentences": [_sentence(task, filled) for task in possible],
        "skipped": [asdict(Skipped(task.label, left)) for task in tasks if task not in possible],
        "confused": [],
        "rows": rows,
        "examples": [{"title": _title(material, place), "source": material.items[place].source} for place in places],
    }
    return Evaluation(numbers, tuple(_example(material, filled, judged, place) for place in places), model.segment.mel)


def _sentence(task: Task, filled: Sequence[FilledRow]) -> str:
    """What came out of a task, its figures together, beside the fill with the smallest error."""
    rows = {row.name: row for row in filled if row.task is task}
    ours, theirs, true = (rows[name].figures for name in (OURS, AUDIOLDM, TRUE))
    fill = min((rows[name] for name in FILLS if name in rows), key=lambda row: row.figures["error_db"]["value"])
    gain = ours["below_audioldm_db"]
    return (
        f"{task.label}: {ours['error_db']['value']:.1f} dB off in the made cells, {_named(ours)}seam "
        f"{ours['seam_db']['value']:.1f} dB (true sound: {_named(true)}seam {true['seam_db']['value']:.1f} dB); "
        f"AudioLDM's way {theirs['error_db']['value']:.1f} dB, paired difference {gain['value']:.2f} "
        f"({gain['low']:.2f} to {gain['high']:.2f}); {fill.label} {fill.figures['error_db']['value']:.1f} dB, "
        f"{_named(fill.figures)}seam {fill.figures['seam_db']['value']:.1f} dB."
    )


def _named(figures: dict[str, Any]) -> str:
    return f"named rightly {figures['stretch_named']['value']:.0%}, " if "stretch_named" in figures else ""


def _title(material: Material, place: int) -> str:
    return str(material.items[place].kind or material.items[place].source)


def _example(material: Material, filled: Sequence[FilledRow], judged: Judged | None, place: int) -> Example:
    """The card of an item: the true sound once, and of each task with one stretch what was made of it."""
    shown = [row for row in filled if row.task.made_s is not None and row.name in _SHOWN_WAYS and place in row.waves]
    first_true = next((row for row in shown if row.name == TRUE), None)
    sounds = tuple(_sound(row, judged, place) for row in shown if row.name != TRUE or row is first_true)
    item = material.items[place]
    return Example(
        _title(material, place), f"{item.source}, from {item.video_start_s:.1f} s", material.thumbnails[place], sounds
    )


def _sound(row: FilledRow, judged: Judged | None, place: int) -> Sound:
    label = row.label if row.name == TRUE else f"{row.task.label}: {row.label}"
    if row.verdicts is None or judged is None:
        return Sound(label, row.waves[place], row.about)
    named = int(row.verdicts.named[place])
    verdict = f"{judged[1].config.kinds[named]} ({row.verdicts.probabilities[place, named]:.0%})"
    return Sound(label, row.waves[place], row.about, verdict, named == int(judged[0][place]))
