"""Whether the bundled parts load, what computes here, and which published weights lie in the caches.

Guarantee: nothing is downloaded and nothing is written; a part that does not load is told with its reason, and the rest
is still looked at. Price: the bundled pipeline is loaded, which takes seconds.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipsonic.errors import ClipsonicError, first_line

PUBLISHED = {
    "openai/clip-vit-large-patch14": "Karlo's prior (its text encoder)",
    "timm/vit_large_patch14_clip_224.openai": "--clip ViT-L-14:openai",
    "laion/DALLE2-PyTorch": "LAION's text prior",
    "kakaobrain/karlo-v1-alpha": "Karlo's text prior",
    "cvssp/audioldm-s-full-v2": "AudioLDM's vocoder",
    "nvidia/bigvgan_v2_22khz_80band_256x": "a BigVGAN vocoder",
    "charactr/vocos-mel-24khz": "the published Vocos",
}
"""Repositories of the Hugging Face hub that a command may want, and what for."""


def machine() -> dict[str, Any]:
    """Python, system, cores, memory and what torch can compute on."""
    import psutil
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
        "bf16": bool(gpus) and torch.cuda.is_bf16_supported(),
    }


def bundled() -> dict[str, str]:
    """Of each bundled part `ok`, or why it does not load."""
    from clipsonic.pipeline import ClipSonicPipeline
    from clipsonic.resources import bundled_path

    checks: dict[str, Callable[[], Any]] = {
        "pipeline tiny": lambda: ClipSonicPipeline.from_pretrained("tiny").load_parts("text"),
        "judge": lambda: bundled_path("priors", "judge", "model.safetensors"),
        "configs": lambda: bundled_path("configs", "tiny.yaml"),
        "recipes": lambda: bundled_path("data", "recipes"),
    }
    return {name: _outcome(check) for name, check in checks.items()}


def _outcome(check: Callable[[], Any]) -> str:
    try:
        check()
    except (ClipsonicError, OSError, ImportError, RuntimeError, ValueError) as error:
        return first_line(error)
    return "ok"


def caches() -> dict[str, dict[str, Any]]:
    """Where downloads are kept, how much is in there and how much would still fit."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = {"hugging face": Path(HF_HUB_CACHE), "open_clip": Path("~/.cache/clip").expanduser()}
    return {name: _size(folder) for name, folder in folders.items()}


def _size(folder: Path) -> dict[str, Any]:
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {
        "folder": str(folder),
        "used_gb": round(used / 1e9, 2),
        "free_gb": round(shutil.disk_usage(there).free / 1e9, 1),
    }


def published() -> dict[str, bool]:
    """Of each published repository, whether a snapshot of it lies in the cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    def is_there(name: str) -> bool:
        snapshots = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
        return snapshots.is_dir() and any(snapshots.glob("*/*"))

    return {name: is_there(name) for name in PUBLISHED}
