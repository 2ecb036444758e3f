"""The doctor tells the truth about an installation."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest

from clipsonic.cli import main
from clipsonic.doctor import packages as listed
from clipsonic.doctor import parts
from clipsonic.doctor.packages import EXTRAS, packages

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_of_the_package_has_its_purpose() -> None:
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"])


def test_versions_are_those_that_the_packages_say_of_themselves() -> None:
    here = {package.name: package.version for package in packages() if package.extra is None}
    assert here["torch"] == importlib.metadata.version("torch")
    assert {"diffusers", "open-clip-torch", "av", "webdataset"} <= here.keys()
    assert None not in here.values()


def test_a_package_that_is_not_installed_is_missing_for_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=2.6", 'no-such-package-anywhere>=1; extra == "demo"', 'never>=1; sys_platform == "beos"']
    monkeypatch.setattr(listed.metadata, "requires", lambda name: wanted)
    found = packages()
    assert [package.name for package in found] == ["torch", "no-such-package-anywhere"]
    assert listed.missing_for_extras(found) == {"demo": ["no-such-package-anywhere"]}


def test_it_says_that_the_bundled_parts_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["bundled"].values()) == {"ok"}
    assert facts["machine"]["cores"] >= 1
    assert set(facts["published"]) == set(parts.PUBLISHED)


def test_a_broken_part_is_told_with_its_reason_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "bundled", lambda: {"pipeline tiny": "weights are gone", "judge": "ok"})
    assert main(["doctor"]) == 1
    answer = capsys.readouterr()
    assert "weights are gone" in answer.out
    assert "pipeline tiny cannot be loaded: install clipsonic again" in answer.err


def test_a_snapshot_in_the_cache_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert not any(parts.published().values())
    snapshot = tmp_path / "models--laion--DALLE2-PyTorch" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "prior_config.json").write_text("{}")
    assert parts.published()["laion/DALLE2-PyTorch"]
    assert parts.caches()["hugging face"]["folder"] == str(tmp_path)
