"""A pipeline to a model hub: the whole folder, with its card where hubs look for it.

Guarantee: what is uploaded is what `save_pretrained` writes, parts included, so `from_pretrained(OWNER/NAME)` gives
the same sounds. Price: one more copy on the disk while it is uploaded. Diffusers' own `push_to_hub` would upload a card
of its own instead of this one.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from clipsonic.errors import ClipsonicError, UsageError, first_line
from clipsonic.pipeline.folder import CARD_FILE

HUB_CARD = "README.md"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def push(
    pipeline: Any, repo_id: str, *, private: bool | None = None, token: str | None = None, message: str | None = None
) -> str:
    """Upload a pipeline's folder to the repository `OWNER/NAME`, made if it is not there; returns its address.

    Raises:
        UsageError: a name that is not OWNER/NAME.
        ClipsonicError: the hub refuses, or cannot be reached.
    """
    if not _NAME.fullmatch(repo_id):
        raise UsageError(f"repository {repo_id!r} must be OWNER/NAME: give the name of a model repository")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pipeline"
        pipeline.save_pretrained(folder)
        shutil.copyfile(folder / CARD_FILE, folder / HUB_CARD)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            uploaded = api.upload_folder(
                repo_id=repo_id, folder_path=str(folder), commit_message=message or "A clipsonic pipeline"
            )
        except (OSError, ValueError) as error:
            raise ClipsonicError(
                f"{repo_id} cannot be written to the hub ({first_line(error)}): "
                "log in with `hf auth login`, or give a token that may write, and look at the connection"
            ) from None
    return str(uploaded)
