"""The house keeps its order: imports go downward only, every heavy package has one door, modules and functions are
short."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clipsonic"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60

LAYERS = {
    "specs": 0, "options": 0, "errors": 0, "files": 0, "settings": 0, "weights": 0,
    "seeding": 0, "resources": 0, "remote": 0, "text": 0, "workers": 0, "wire": 0, "refusals": 0,
    "audio": 1, "clip": 1, "shards": 1, "diffusion": 1,
    "soundstage": 2, "ingest": 2, "models": 2, "prior": 2,
    "measure": 2.5, "ear": 2.5,
    "pipeline": 3,
    "train": 4, "generate": 4, "convert": 4,
    "evaluate": 5, "demo": 5, "doctor": 5, "edit": 5,
    "cli": 6,
}  # fmt: skip

DOORS = {
    "gradio": {"demo/page.py", "demo/parts.py"},
    "fastapi": {"demo"},
    "uvicorn": {"demo"},
    "open_clip": {"clip/open_clip.py"},
    "webdataset": {"shards"},
    "decord": {"ingest"},
    "ray": {"ingest"},
    "dalle2_pytorch": {"prior/dalle2.py"},
    "bigvgan": {"audio/bigvgan.py"},
    "transformers": {"audio/hifigan.py", "clip/hub_text.py", "prior"},
    "lightning": {"train"},
    "fsspec": {"remote.py"},
    "peft": {"models/lowrank.py"},
}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


def _sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "__init__.py")


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _part(place: str) -> str:
    return place.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("path", _sources(), ids=_place)
def test_a_module_imports_only_from_lower_layers_or_its_own_folder(path: Path) -> None:
    part = _part(_place(path))
    assert part in LAYERS, f"{part} has no layer: give it one here and in the design"
    for name in _imports(path):
        words = name.split(".")
        if words[0] != "clipsonic" or len(words) < 2 or words[1] not in LAYERS or words[1] == part:
            continue
        below = LAYERS[words[1]] < LAYERS[part] or LAYERS[part] == LAYERS[words[1]] == 0
        assert below, f"{_place(path)} (layer {LAYERS[part]}) imports {name} (layer {LAYERS[words[1]]})"


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_heavy_package_has_one_door(package: str) -> None:
    users = {_place(path) for path in _sources() if any(name.split(".")[0] == package for name in _imports(path))}
    strangers = {
        user for user in users if not any(user == door or user.startswith(f"{door}/") for door in DOORS[package])
    }
    assert not strangers, f"{package} may be imported by {sorted(DOORS[package])} only, not by {sorted(strangers)}"


@pytest.mark.parametrize("path", _sources(), ids=_place)
def test_a_module_is_short(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES


@pytest.mark.parametrize("folder", ["clipsonic", "tests", "scripts"])
def test_every_function_is_short(folder: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {lines}"
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := node.end_lineno - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    ]
    assert not long, f"{long}: split them, at most {MOST_LINES_OF_A_FUNCTION} lines with their docstring"


def test_training_and_generation_do_not_import_each_other_nor_generation_the_soundstage() -> None:
    for path in _sources():
        place = _place(path)
        if place.startswith("generate/"):
            assert not any(name.startswith(("clipsonic.train", "clipsonic.soundstage")) for name in _imports(path)), (
                place
            )
        if place.startswith("train/"):
            assert not any(name.startswith(("clipsonic.ingest", "clipsonic.generate")) for name in _imports(path)), (
                place
            )


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {".".join(("clipsonic", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in _sources()}
    graph = {name: _modules(path, names.keys()) - {name} for name, path in names.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(order) == set(names)


def _modules(path: Path, known: Collection[str]) -> set[str]:
    """The modules that a module imports; of a package, the module of the name that is taken from it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(
                inner if (inner := f"{node.module}.{alias.name}") in known else node.module for alias in node.names
            )
    return found & set(known)


def test_the_engine_knows_no_model_and_is_the_only_one_that_steps_an_optimizer() -> None:
    stepping = re.compile(r"optimi[sz]er\.step\(")
    for path in _sources():
        place = _place(path)
        if place.startswith("train/engine/"):
            ours = {name.split(".")[1] for name in _imports(path) if name.startswith("clipsonic.")}
            strangers = {part for part in ours - {"train"} if LAYERS[part] > 0}
            assert not strangers, f"{place} imports {strangers}"
            inside = {name for name in _imports(path) if name.startswith("clipsonic.train.")}
            assert all(name.startswith("clipsonic.train.engine") for name in inside), place
        else:
            assert not stepping.search(path.read_text()), place


def test_importing_clipsonic_loads_no_heavy_package() -> None:
    heavy = ("torch", "numpy", "diffusers", "lightning", "open_clip", "decord", "av", "dalle2_pytorch", "webdataset")
    code = f"import sys, clipsonic; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    import clipsonic

    for name in clipsonic.__all__:
        assert getattr(clipsonic, name) is not None
