"""A tiny untrained pipeline folder, and one prompt of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers_model import make_model, make_prompts


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_prompts(tmp_path_factory.mktemp("prompts"))
