"""`clipsonic doctor`: versions, devices, caches, which weights are here, and what is missing for what.

Guarantee: looks only, and ends with one line that says whether the bundled pipeline works. Exit status 0 if it does, 1
if something that every installation needs is missing or broken.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from clipsonic import __version__
from clipsonic.doctor.packages import EXTRAS, Package, missing_for_extras, packages
from clipsonic.errors import ClipsonicError
from clipsonic.options import command_parser

EXAMPLE = """\
example:
  clipsonic doctor
  clipsonic doctor --json > facts.json      to send along with a question"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The command has no options of its own."""
    return command_parser(prog, "Say what this installation has, and what is missing for what.", EXAMPLE)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look at everything and tell it.

    Raises:
        ClipsonicError: a required package is missing or a bundled part does not load, after all was told.
    """
    found = packages()
    lacking = [package.name for package in found if package.extra is None and package.version is None]
    facts: dict[str, Any] = {
        "clipsonic": __version__,
        "packages": [dataclasses.asdict(package) for package in found],
        "missing_extras": missing_for_extras(found),
    }
    if not lacking:
        from clipsonic.doctor.parts import bundled, caches, machine, published

        facts |= {"machine": machine(), "bundled": bundled(), "caches": caches(), "published": published()}
    message = "\n".join(_lines(found, facts))
    broken = [name for name, outcome in facts.get("bundled", {}).items() if outcome != "ok"]
    if lacking or broken:
        print(message)
        what = f"packages {', '.join(lacking)} are missing" if lacking else f"{', '.join(broken)} cannot be loaded"
        raise ClipsonicError(f"{what}: install clipsonic again with pip install --force-reinstall clipsonic")
    return {"message": message, **facts}


def _lines(found: list[Package], facts: dict[str, Any]) -> list[str]:
    lines = [f"clipsonic {facts['clipsonic']}"]
    if "machine" in facts:
        lines += _machine_lines(facts)
    lines += ["", "packages"]
    lines += [f"  {package.name:<24} {package.version or 'MISSING'}" for package in found if package.extra is None]
    lines += ["", "extras (pip install 'clipsonic[NAME]')"]
    for name, purpose in EXTRAS.items():
        lacking = facts["missing_extras"].get(name)
        lines.append(f"  {name:<24} {'lacks ' + ', '.join(lacking) if lacking else 'complete'}; for {purpose}")
    return lines


def _machine_lines(facts: dict[str, Any]) -> list[str]:
    from clipsonic.doctor.parts import PUBLISHED

    here = facts["machine"]
    device = ", ".join(here["gpus"]) or "no GPU, the CPU computes"
    lines = [
        f"  Python {here['python']}, {here['system']}, {here['cores']} cores, {here['memory_gb']:g} GB of memory",
        f"  {device}{', bfloat16' if here['bf16'] else ''}",
        "",
        "bundled",
        *(f"  {name:<24} {outcome}" for name, outcome in facts["bundled"].items()),
        "",
        "caches",
    ]
    for name, cache in facts["caches"].items():
        lines.append(f"  {name:<24} {cache['used_gb']:g} GB used, {cache['free_gb']:g} GB free, {cache['folder']}")
    lines += ["", "published weights (downloaded when first asked for; offline, bring the files)"]
    for name, is_there in facts["published"].items():
        lines.append(f"  {name:<42} {'here' if is_there else 'not here'}; for {PUBLISHED[name]}")
    return lines
