"""What is known of a corpus's videos: the laws in the manifest of rendered ones, by source.

Guarantee: a video is judged by its law only if the manifest has it without a flaw, and its records do not reach beyond
the law's end; a corpus with no manifest has no laws, and then no soundstage figure is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from clipsonic.errors import CorpusError
from clipsonic.evaluate.plan import Law
from clipsonic.soundstage.manifest import MANIFEST_NAME, read_manifest, scene_from_law

_LATE_S = 0.25


def find_laws(
    facts: Iterable[Mapping[str, Any]], corpus: Path, videos: Path | None = None
) -> tuple[dict[str, Law], list[Path]]:
    """The laws of a corpus's sources, and the manifests they come from.

    A corpus knows of a source only its name, which begins with the name of the folder that was ingested. Its manifest
    is looked for in `videos`, or (by default) in a folder of that name beside the corpus or in the current folder.

    Raises:
        CorpusError: `videos` has no manifest, a manifest is damaged, or it describes other videos.
    """
    ends_s: dict[str, float] = {}
    for record in facts:
        end_s = record["start_s"] + record["seconds"]
        ends_s[record["source"]] = max(end_s, ends_s.get(record["source"], 0.0))
    laws: dict[str, Law] = {}
    manifests: dict[Path | None, dict[str, Any]] = {}
    for source, end_s in ends_s.items():
        folder = videos or _folder_of(source, corpus)
        if folder not in manifests:
            manifests[folder] = read_manifest(folder) if folder else {}
        entry = manifests[folder].get(PurePosixPath(source).name)
        if entry is not None and entry.get("flaw") is None:
            laws[source] = _law(entry, source, end_s, folder)
    return laws, [folder / MANIFEST_NAME for folder in manifests if folder]


def _folder_of(source: str, corpus: Path) -> Path | None:
    """The folder of this source, if it has a manifest of rendered videos."""
    inside = PurePosixPath(source).parent
    places = (Path(inside), corpus.absolute().parent / inside)
    return next((place for place in places if (place / MANIFEST_NAME).is_file()), None)


def _law(entry: Mapping[str, Any], source: str, end_s: float, folder: Path | None) -> Law:
    scene = scene_from_law(entry["law"])
    if end_s > scene.duration_s + _LATE_S:
        raise CorpusError(
            f"{folder}/{MANIFEST_NAME} says that {source} lasts {scene.duration_s:.2f} s, the corpus has {end_s:.2f} s "
            "of it: give the folder of the corpus's own videos by --videos"
        )
    return Law(scene, tuple(entry["captions"]["heldout"]))
