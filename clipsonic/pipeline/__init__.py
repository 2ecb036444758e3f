"""From prompts to sound: `ClipSonicPipeline`, the folder it is saved in, and what may be asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsonic.pipeline.pipeline import ClipSonicPipeline
    from clipsonic.pipeline.prompts import AudioPipelineOutput

__all__ = ["AudioPipelineOutput", "ClipSonicPipeline"]


def __getattr__(name: str) -> Any:
    """Resolved on first use, so that checking a folder or a prompt does not load diffusers."""
    if name in __all__:
        from clipsonic.pipeline import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'clipsonic.pipeline' has no attribute {name!r}")
