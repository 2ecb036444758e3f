"""Which packages are here, in which version, and what each is for.

Guarantee: nothing is imported, so a package that is broken is still named with its version. Price: that it is installed
does not prove that it loads; `clipsonic.doctor.parts` loads what the bundled pipeline needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

NAME = "clipsonic"

EXTRAS = {
    "ray": "ingest --executor ray",
    "s3": "sources and corpora in s3:// buckets",
    "gs": "sources and corpora in gs:// buckets",
    "demo": "clipsonic demo, the web page",
    "bigvgan": "BigVGAN vocoders",
    "wandb": "Weights & Biases, train --run.wandb true",
    "docs": "the documentation site",
    "dev": "the tests",
}
"""What each extra of the package is for."""


@dataclass(frozen=True)
class Package:
    """One requirement.

    Args:
        name: as on the package index.
        wanted: the versions that are accepted, such as `>=2.6`; empty where any is.
        version: what is installed, None where it is not.
        extra: the extra that brings it, None for what every installation needs.
    """

    name: str
    wanted: str
    version: str | None
    extra: str | None


def packages() -> list[Package]:
    """Every requirement that applies to this machine, in the order of the package's own list."""
    found = [_package(line) for line in metadata.requires(NAME) or ()]
    return [package for package in found if package is not None]


def missing_for_extras(found: list[Package]) -> dict[str, list[str]]:
    """For each extra that is not complete, the packages it lacks."""
    lacking: dict[str, list[str]] = {}
    for package in found:
        if package.extra is not None and package.version is None:
            lacking.setdefault(package.extra, []).append(package.name)
    return lacking


def _package(line: str) -> Package | None:
    """One line of the metadata, such as `ray>=2.40; extra == "ray"`; None if its marker says not here."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    named = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
    extra = named[1] if named else None
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra or ""}):
        return None
    return Package(requirement.name, str(requirement.specifier), _version(requirement.name), extra)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
