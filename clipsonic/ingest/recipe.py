"""Corpus recipes: YAML files that say how to ingest, so that a corpus can be made again by a name.

Guarantee: only known options with values of the right kind; the command line wins over the recipe. Where it is a path,
it is read from there, otherwise from the bundled `data/recipes/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from clipsonic.errors import UsageError
from clipsonic.resources import bundled_root

OPTION_KINDS: dict[str, tuple[type, ...]] = {
    "clip": (str,),
    "sample_rate_hz": (int,),
    "seconds": (int, float),
    "min_seconds": (int, float),
    "stride_s": (int, float),
    "max_segments": (int,),
    "thumbnails": (bool,),
    "frame_tolerance_s": (int, float),
    "shard_files": (int,),
    "shard_records": (int,),
    "workers": (int,),
    "timeout_s": (int, float),
    "memory_mb": (int,),
}
"""What a recipe may set under `options`, named as on the command line."""


def load_recipe(name: str | Path) -> dict[str, Any]:
    """The options of a recipe, by path or by the name of a bundled one.

    Raises:
        UsageError: no such recipe, not YAML, an unknown key, or a value of the wrong kind.
    """
    path = _find(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or set(values) - {"description", "options"}:
        raise UsageError(f"recipe {path} must hold the keys description and options, nothing else")
    options = values.get("options") or {}
    if not isinstance(options, dict) or set(options) - set(OPTION_KINDS):
        unknown = ", ".join(sorted(set(options) - set(OPTION_KINDS))) if isinstance(options, dict) else repr(options)
        raise UsageError(f"recipe {path} has unknown options {unknown}: known are {', '.join(OPTION_KINDS)}")
    for key, value in options.items():
        kinds = OPTION_KINDS[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"recipe {path}: {key} is {value!r}, it must be of type {kinds[-1].__name__}")
    return dict(options)


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
