"""The manifest beside rendered videos: the law and the captions of every file, for judging only.

Guarantee: one JSON object per line, sorted by file name, written whole. It is also a list that ingest takes (`path` and
`caption`), for corpora with captions; given the folder, ingest never reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from clipsonic.errors import CorpusError
from clipsonic.files import write_whole
from clipsonic.soundstage.captions import captions
from clipsonic.soundstage.scene import Event, Phase, Scene

MANIFEST_NAME = "manifest.jsonl"


def manifest_entry(file: str, scene: Scene, split: str, flaw: str | None = None) -> dict[str, Any]:
    """What the manifest says about one file; `split` is that of the attribute combination."""
    words = {phrasing: list(captions(scene, phrasing)) for phrasing in ("train", "heldout")}
    listed = {"path": file, "caption": words["train"][0]}
    return {"file": file, "flaw": flaw, "split": split, "law": scene.to_dict(), "captions": words, **listed}


def write_manifest(folder: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write `manifest.jsonl` into the folder, whole."""
    lines = [json.dumps(entry, ensure_ascii=False) for entry in sorted(entries, key=lambda entry: entry["file"])]
    write_whole(folder / MANIFEST_NAME, "".join(f"{line}\n" for line in lines).encode())


def read_manifest(folder: str | Path) -> dict[str, dict[str, Any]]:
    """File name -> entry.

    Raises:
        CorpusError: there is no manifest in the folder, or it is damaged.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        raise CorpusError(f"{path} does not exist: give a folder that `clipsonic soundstage` has finished")
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return {entry["file"]: entry for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is damaged ({error}): run the same `clipsonic soundstage` command again") from None


def scene_from_law(law: dict[str, Any]) -> Scene:
    """The inverse of `Scene.to_dict`; derived values (family, pitch_hz, rate_hz) are worked out anew.

    Raises:
        CorpusError: a field is missing or of the wrong shape.
    """
    try:
        values = {field.name: law[field.name] for field in fields(Scene)}
        values["phases"] = tuple(Phase(**phase) for phase in law["phases"])
        values["events"] = tuple(Event(**event) for event in law["events"])
        values["positions"] = tuple((float(x), float(y)) for x, y in law["positions"])
        return Scene(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"the law of a scene is damaged ({error!r}): render the videos again") from None
