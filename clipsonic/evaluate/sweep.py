"""`clipsonic evaluate --sweep`: how the score grows with what is paid for it, in evaluations of the network.

Guarantee: a cell (steps and guidance, or few steps) is written whole when it is done and never made again; a folder
with another model, corpus or choice of items is refused. Price: a row of sounds for each cell.

Files in OUT: `settings.json`, `cells/NAME.json` {steps, guidance, few_steps, evaluations, figures}, and of all cells
together `sweep.json`, `sweep.md` and `sweep.png`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clipsonic.diffusion.sampling import Guidance, num_evaluations
from clipsonic.errors import UsageError
from clipsonic.evaluate.columns import COLUMNS
from clipsonic.evaluate.curve import curve_png
from clipsonic.evaluate.rows import made_rows
from clipsonic.evaluate.run import Options, Prepared, prepare
from clipsonic.files import write_json, write_whole
from clipsonic.pipeline.adapter_folder import base_hash
from clipsonic.prior.closers import automatic

SETTINGS_NAME, NUMBERS_NAME, TABLE_NAME, PICTURE_NAME, CELLS_NAME = (
    "settings.json", "sweep.json", "sweep.md", "sweep.png", "cells",
)  # fmt: skip
_KINDS = {"image": "image", "video": "video-timed", "text": "text"}


@dataclass(frozen=True)
class Cell:
    """One point of the curve: solver steps and guidance, or so many steps of the pipeline's few-step adapter."""

    steps: int
    guidance: float = 1.0
    is_few: bool = False

    @property
    def name(self) -> str:
        """Its word in file names."""
        return f"few-{self.steps}" if self.is_few else f"steps-{self.steps}-guidance-{self.guidance:g}"


def cells_of(text: str, few_steps: int | None = None) -> list[Cell]:
    """The cells of `STEPS:GUIDANCES`, two lists such as 4,8,16:1,2, and those of 1, 2, 4 ... few steps.

    Raises:
        UsageError: not two lists of numbers, or numbers out of range.
    """
    try:
        steps, scales = text.split(":")
        cells = [Cell(int(one), float(scale)) for scale in scales.split(",") for one in steps.split(",")]
    except ValueError:
        raise UsageError(
            f"--sweep {text!r} is not STEPS:GUIDANCES: give two lists such as 4,8,16:1,2 (whole steps, then scales)"
        ) from None
    for cell in cells:
        Guidance(cell.guidance)
        if cell.steps < 1:
            raise UsageError(f"--sweep {text!r} has {cell.steps} steps: give whole numbers from 1 up")
    few = [Cell(count, is_few=True) for count in (1, 2, 4) if few_steps is not None and count <= few_steps]
    return list(dict.fromkeys([*cells, *few]))


def sweep(pipeline: Any, options: Options, cells: Sequence[Cell], out: Path) -> dict[str, Any]:
    """Make and score the cells that are not done yet, and write table and curve of all in the folder.

    Args:
        options: its first kind of prompt is used, a video's frames with their times, a text by the pipeline's own way.

    Raises:
        UsageError: a folder that holds another sweep.
        FingerprintError, CorpusError: as `evaluate`.
    """
    kind = options.prompts[0]
    _settle(out, pipeline, options, kind)
    missing = [cell for cell in cells if not _path(out, cell).is_file()]
    if missing:
        prepared = prepare(pipeline, replace(options, laws=False))
        for cell in tqdm(missing, desc="cells", file=sys.stderr, mininterval=0.5):
            write_json(_path(out, cell), _measured(pipeline, prepared, kind, cell))
    done = sorted((json.loads(path.read_text()) for path in (out / CELLS_NAME).glob("*.json")), key=_order)
    columns = _columns(done)
    table = _table(done, columns)
    write_json(out / NUMBERS_NAME, {"prompts": kind, "cells": done})
    write_whole(out / TABLE_NAME, table)
    write_whole(out / PICTURE_NAME, curve_png(done, f"{options.model_name}: {kind} prompts"))
    paths = {"table": str(out / TABLE_NAME), "picture": str(out / PICTURE_NAME)}
    return {"message": f"{table}\ncurve: {paths['picture']}", **paths, "cells": done}


def _measured(pipeline: Any, prepared: Prepared, kind: str, cell: Cell) -> dict[str, Any]:
    """One cell's figures."""
    making = replace(prepared.making, steps=cell.steps, guidance=cell.guidance)
    closer = automatic(pipeline.prior is not None, pipeline.bank is not None) if kind == "text" else ""
    if cell.is_few:
        pipeline.set_few_steps(cell.steps)
    try:
        rows, skipped = made_rows(prepared.material, pipeline, making, (_KINDS[kind],), (closer,))
    finally:
        if cell.is_few:
            pipeline.set_few_steps(None)
    if skipped:
        raise UsageError(f"--sweep with {kind} prompts is not possible ({skipped[0].reason}): give other --prompts")
    guidance = Guidance(cell.guidance, pipeline.config["guidance_interval"])
    return {
        "steps": cell.steps,
        "guidance": cell.guidance,
        "few_steps": cell.is_few,
        "evaluations": cell.steps if cell.is_few else num_evaluations(pipeline.scheduler, cell.steps, guidance),
        "figures": prepared.scorer.score(rows[0]).figures,
    }


def _settle(out: Path, pipeline: Any, options: Options, kind: str) -> None:
    """Note what this folder's cells have in common, or refuse one whose cells have not."""
    asked = {
        "model": options.model_name,
        "weights": base_hash(pipeline.denoiser),
        "adapter": pipeline.adapter_name,
        "corpus": str(options.corpus),
        "prompts": kind,
        "num_scenes": options.num_scenes,
        "num_others": options.making.num_others,
        "seed": options.making.seed,
        "guidance_interval": list(pipeline.config["guidance_interval"]),
        "guidance_rescale": pipeline.config["guidance_rescale"],
    }
    path = out / SETTINGS_NAME
    if path.is_file():
        found = json.loads(path.read_text())
        if other := [key for key in asked if found.get(key) != asked[key]]:
            key = other[0]
            raise UsageError(
                f"{out} holds a sweep with {key} {found.get(key)}, not {asked[key]}: give another --out, or the same"
            )
    (out / CELLS_NAME).mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def _path(out: Path, cell: Cell) -> Path:
    return out / CELLS_NAME / f"{cell.name}.json"


def _order(cell: dict[str, Any]) -> tuple[bool, float, int]:
    return cell["few_steps"], cell["guidance"], cell["steps"]


def _columns(cells: Sequence[dict[str, Any]]) -> list[Any]:
    """Those of a report that these figures have."""
    figures = cells[0]["figures"]
    kind = "soundstage" if "accuracy" in figures else "videos"
    return [column for column in COLUMNS[kind] if figures.get(column.key) is not None]


def _table(cells: Sequence[dict[str, Any]], columns: Sequence[Any]) -> str:
    """Markdown, one line for each cell."""
    head = ["steps", "guidance", "network evaluations", *(column.heading for column in columns)]
    lines = [
        [
            f"{cell['steps']} (few-step)" if cell["few_steps"] else str(cell["steps"]),
            f"{cell['guidance']:g}",
            str(cell["evaluations"]),
            *(column.write(cell["figures"][column.key]) for column in columns),
        ]
        for cell in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines]) + "\n"
