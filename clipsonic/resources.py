"""Where the bundled configs, recipes and weights are, the same in a checkout and in an installed wheel.

In a wheel they are packaged under `clipsonic/_bundled/`; in a checkout they are the top-level folders.
"""

from __future__ import annotations

from pathlib import Path

from clipsonic.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def bundled_root() -> Path:
    """The folder that holds `configs/`, `data/` and `priors/`."""
    packaged = _PACKAGE / "_bundled"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def bundled_path(*parts: str) -> Path:
    """The path of a bundled file or folder, for instance `bundled_path("priors", "tiny", "clip")`.

    Raises:
        UsageError: it is not part of this installation.
    """
    path = bundled_root().joinpath(*parts)
    if not path.exists():
        raise UsageError(f"bundled file {'/'.join(parts)} is missing from this installation: reinstall clipsonic")
    return path


def find_config(name: str | Path) -> Path:
    """A config given as a path, or by the name of a bundled one (`tiny`, `tiny.yaml`, `configs/tiny.yaml`).

    Raises:
        UsageError: neither a file nor a bundled config has this name.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = bundled_root() / "configs"
    for candidate in (folder / path.name, folder / f"{path.name}.yaml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise UsageError(f"config {str(name)!r} is neither a file nor a bundled config: give a YAML file or one of {known}")
