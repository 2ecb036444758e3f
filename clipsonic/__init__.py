"""clipsonic: sound models from raw, unlabeled videos, with CLIP as the bridge.

`import clipsonic` loads no heavy package: public names resolve on first use (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "ClipSonicPipeline": "clipsonic.pipeline",
    "AudioPipelineOutput": "clipsonic.pipeline",
    "DiT1D": "clipsonic.models.dit",
    "MelUNet": "clipsonic.models.unet",
    "Condition": "clipsonic.models.conditioner",
    "ClipEmbedder": "clipsonic.clip.embedder",
    "TextPrior": "clipsonic.prior.adapter",
    "MelSpec": "clipsonic.specs",
    "CorpusSpec": "clipsonic.specs",
    "SegmentSpec": "clipsonic.specs",
    "ClipsonicError": "clipsonic.errors",
}

__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'clipsonic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
