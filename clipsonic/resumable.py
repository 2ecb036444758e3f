"""What the small trainers share: a checkpoint that knows its run, and the learning rate's rise and fall.

Guarantee: a checkpoint is written whole, read without pickle, and never continued by a run with other data or options.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.files import write_whole

CHECKPOINT_FILE = "training.pt"


def learning_rate_factor(progress: float, warmup_share: float) -> float:
    """Linear rise over the warm-up, then a cosine from 1 to 0; `progress` in [0, 1]."""
    if progress < warmup_share:
        return progress / warmup_share
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup_share) / (1.0 - warmup_share))))


def save_state(folder: Path, state: dict[str, Any], facts: dict[str, Any]) -> None:
    """Put everything that the rest of a run needs into `folder`; `facts` name its data and options."""
    import torch

    buffer = io.BytesIO()
    torch.save({**state, "facts": facts}, buffer)
    write_whole(folder / CHECKPOINT_FILE, buffer.getvalue())


def load_state(folder: Path, facts: dict[str, Any], device: Any = "cpu") -> dict[str, Any] | None:
    """What `save_state` put there, or None where there is nothing.

    Raises:
        CheckpointError: the checkpoint is damaged.
        UsageError: it belongs to a run of other data or options.
    """
    import torch

    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        saved = state["facts"]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it or give --resume never") from None
    if other := [key for key in facts if saved.get(key) != facts[key]]:
        key = other[0]
        raise UsageError(
            f"{path} was made with {key} {saved.get(key)}, not {facts[key]}: "
            "give the same options, another --out, or --resume never"
        )
    return state
