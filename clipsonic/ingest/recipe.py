"""Corpus recipes: YAML files that say how to ingest, so that a corpus can be made again by a name.

Guarantee: only known options with values of the right kind; the command line wins over the recipe. Where it is a path,
it is read from there, otherwise from the bundled `data/recipes/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from clipsonic.errors import UsageError
from clipsonic.ingest.lists import ListFormat
from clipsonic.ingest.manifests import text_of
from clipsonic.resources import bundled_root

OPTION_KINDS: dict[str, tuple[type, ...]] = {
    "clip": (str,),
    "sample_rate_hz": (int,),
    "seconds": (int, float),
    "min_seconds": (int, float),
    "stride_s": (int, float),
    "max_segments": (int,),
    "thumbnails": (bool,),
    "keep_frames": (int,),
    "frame_tolerance_s": (int, float),
    "shard_files": (int,),
    "shard_records": (int,),
    "workers": (int,),
    "timeout_s": (int, float),
    "memory_mb": (int,),
    "max_copy_gb": (int, float),
    "executor": (str,),
    "ray_address": (str,),
}
"""What a recipe may set under `options`, named as on the command line."""


def load_recipe(name: str | Path) -> dict[str, Any]:
    """The options of a recipe, by path or by the name of a bundled one.

    Raises:
        UsageError: no such recipe, not YAML, an unknown key, or a value of the wrong kind.
    """
    path, values = _read(name)
    options = values.get("options") or {}
    if not isinstance(options, dict) or set(options) - set(OPTION_KINDS):
        strange = set(options) - set(OPTION_KINDS) if isinstance(options, dict) else [options]
        unknown = ", ".join(sorted(map(str, strange)))
        raise UsageError(f"recipe {path} has unknown options {unknown}: known are {', '.join(OPTION_KINDS)}")
    for key, value in options.items():
        kinds = OPTION_KINDS[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"recipe {path}: {key} is {value!r}, it must be of type {kinds[-1].__name__}")
    return dict(options)


def load_list_format(name: str | Path) -> ListFormat | None:
    """How the publisher's list is laid out that a recipe is for; None if it is for none.

    Raises:
        UsageError: no such recipe, or a `list` with a mistake.
    """
    path, values = _read(name)
    if "list" not in values:
        return None
    given = values["list"]
    if not isinstance(given, dict) or set(given) - {"kind", "columns", "seconds"}:
        raise UsageError(f"recipe {path}: list must hold the keys kind, columns and seconds, nothing else")
    columns, seconds = given.get("columns", ["id"]), given.get("seconds", 10.0)
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise UsageError(f"recipe {path}: list columns is {columns!r}, it must be a list of names")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise UsageError(f"recipe {path}: list seconds is {seconds!r}, it must be of type float")
    return ListFormat(str(given.get("kind", "csv")), tuple(columns), seconds)


def _read(name: str | Path) -> tuple[Path, dict[str, Any]]:
    path = _find(name)
    try:
        values = yaml.safe_load(text_of(path, f"recipe {path}"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or set(values) - {"description", "options", "list"}:
        raise UsageError(f"recipe {path} must hold the keys description, options and list, nothing else")
    return path, values


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    folder = bundled_root() / "data" / "recipes"
    bundled = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    if bundled.is_file():
        return bundled
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
    raise UsageError(f"recipe {str(name)!r} is neither a file nor a bundled recipe ({known}): give a YAML file")
