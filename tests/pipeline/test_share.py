"""A pipeline goes to a hub whole, and plain diffusers loads what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import numpy as np
import pytest

from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.pipeline import ClipSonicPipeline


class Hub:
    """Stands for the hub's API; keeps what is uploaded."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    refuses = False

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, **_: Any) -> None:
        if Hub.refuses:
            raise OSError("401 Client Error\nlog in first")

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        root = Path(folder_path)
        Hub.files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        return f"https://hub/{repo_id}"


def test_what_is_pushed_is_the_whole_folder_with_its_card_where_hubs_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    assert pipeline.push_to_hub("me/bells") == "https://hub/me/bells"
    assert Hub.files["README.md"] == Hub.files["card.md"]
    for name, data in Hub.files.items():
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    there = ClipSonicPipeline.from_pretrained(tmp_path / "there")
    sounds = [one(text="a bell ringing", num_inference_steps=2, seed=3).audios for one in (pipeline, there)]
    np.testing.assert_array_equal(*sounds)


def test_a_hub_that_refuses_and_a_wrong_name_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "refuses", True)
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    with pytest.raises(ClipsonicError, match=r"me/bells cannot be written to the hub \(401 Client Error\): log in"):
        pipeline.push_to_hub("me/bells")
    with pytest.raises(UsageError, match="'bells' must be OWNER/NAME"):
        pipeline.push_to_hub("bells")


def test_plain_diffusers_loads_a_saved_folder_with_its_own_parts_and_no_remote_code(tmp_path: Path) -> None:
    pipeline = ClipSonicPipeline.from_pretrained("tiny")
    pipeline.save_pretrained(tmp_path / "saved")
    plain = diffusers.DiffusionPipeline.from_pretrained(str(tmp_path / "saved"), trust_remote_code=False)
    assert isinstance(plain, ClipSonicPipeline)
    assert plain._parts.part("prior") == tmp_path / "saved" / "prior"
    sounds = [one(text="a bell ringing", num_inference_steps=2, seed=3).audios for one in (pipeline, plain)]
    np.testing.assert_array_equal(*sounds)
