"""A tiny untrained pipeline folder, the same with an ear, and one prompt of each kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from makers_ear import make_ear
from makers_model import make_model, make_prompts

from clipsonic.pipeline import ClipSonicPipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def with_ear(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(model, tmp_path_factory.mktemp("hearing") / "P")
    space = ClipSonicPipeline.from_pretrained(folder).segment.fingerprint
    make_ear(space).save_pretrained(folder / "ear")  # type: ignore[no-untyped-call]
    return folder


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_prompts(tmp_path_factory.mktemp("prompts"))
