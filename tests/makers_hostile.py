"""Folders whose author would run code: every Python file in them writes a mark, by which a test sees whether it ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 64},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
HUB_NAME = "owner/strange"


def mark_of(folder: Path) -> Path:
    """What the folder's code writes, if it runs."""
    return folder / "it-ran"


def put_code(folder: Path, mark: Path, classes: str) -> Path:
    """`strange.py` with these classes; importing it writes the mark."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "strange.py").write_text(f"open({str(mark)!r}, 'w').close()\n{classes}\n")
    return folder


def put_tokenizer(folder: Path, mark: Path) -> Path:
    """A tokenizer that only its author's code can build."""
    put_code(folder, mark, "from transformers import PreTrainedTokenizer\nclass Strange(PreTrainedTokenizer): pass")
    named = {"tokenizer_class": "Strange", "auto_map": {"AutoTokenizer": ["strange.Strange", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


def put_text_model(folder: Path, mark: Path, **config: Any) -> Path:
    """A text tower whose config only its author's code can read."""
    put_code(
        folder,
        mark,
        "from transformers import PretrainedConfig\nclass Strange(PretrainedConfig): model_type = 'strange'",
    )
    values = {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}, **config}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def put_clip(folder: Path, vision: dict[str, Any] | None = None, **text: Any) -> Path:
    """A publisher's CLIP folder with weights that fit, and settings of its author's choice."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**MODEL_CFG)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    towers = {
        "vision_cfg": {**MODEL_CFG["vision_cfg"], **(vision or {})},
        "text_cfg": {**MODEL_CFG["text_cfg"], **text},
    }
    config = {"model_cfg": {**MODEL_CFG, **towers}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def put_on_hub(cache: Path, monkeypatch: Any, *, is_model: bool = False) -> Path:
    """The folder in a hub client's cache that stands for HUB_NAME; nothing is asked of the network.

    Args:
        is_model: whether it has a `config.json`; the client knows of a tokenizer's repository that it has none.
    """
    from huggingface_hub import constants

    kept = cache / f"models--{HUB_NAME.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    snapshot = kept / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    absent = kept / ".no_exist" / ("0" * 40)  # what its client was told is not in the repository
    absent.mkdir(parents=True)
    if not is_model:
        (absent / "config.json").touch()
    for module in ("file_download", "constants"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(cache), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot
