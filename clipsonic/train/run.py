"""From a config and its sources to a trained folder: which lesson it is, and the engine that teaches it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from clipsonic.errors import UsageError
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine import dry_run as engine_dry_run
from clipsonic.train.engine.session import Maker, learn


def train(
    config: TrainConfig,
    sources: Sources | Path | str,
    out: Path,
    resume: str = "auto",
    init: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train the lesson that the config asks for, write its folder, and say what came of it. Raises as `learn`.

    Args:
        sources: where its data lies; a single place is a corpus.
        init: what to begin with, only for a run that is not continued, and for any of an adapter.
        callbacks: Lightning callbacks that look on, after ours.
    """
    return learn(config, maker(config, sources, init), out, resume, callbacks)


def dry_run(config: TrainConfig, sources: Sources | Path | str, init: str | None = None) -> dict[str, Any]:
    """Measure what that would cost. Raises as `engine.dry_run`."""
    return engine_dry_run.dry_run(config, maker(config, sources, init))


def maker(config: TrainConfig, sources: Sources | Path | str, init: str | None) -> Maker:
    """What makes the course of this config's lesson.

    Raises:
        UsageError: a lesson of one's own that cannot be imported, or a source that the lesson does not read.
    """
    own = ":" in config.lesson
    module, name = config.lesson.split(":", 1) if own else (f"clipsonic.train.lessons.{config.lesson}", "course")
    try:
        course = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if not own:
            raise
        raise UsageError(f"learn {config.lesson} cannot be imported ({error}): give MODULE:NAME of a course") from None
    places = sources if isinstance(sources, Sources) else Sources(corpora=(sources,))
    places.check(config.lesson)
    return partial(course, config, places, init)
