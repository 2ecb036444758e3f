"""What one demo allows: sizes, times and counts, each in one place for the page, the service and their documentation.

Guarantee: nothing heavy is imported. Price: none.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_SOUNDS = 4
MAX_BEST_OF = 8
"""Most sounds that the best are chosen from; each takes as long as one that is kept."""
MAX_STEPS = 100
MAX_GUIDANCE = 20.0
MAX_TEXT = 1000
MAX_START_S = 36_000.0
MAX_FRAMES = 60
MAX_SEED = 2**31 - 1
MIN_DURATION_S = 0.1
MAX_JSON_BYTES = 65_536
MAX_GIVEN_S = 120.0
"""Longest sound that is changed; of it, no more is made anew than a sound may last."""
NUM_HISTORY = 10
"""Sounds that a page remembers."""


@dataclass(frozen=True)
class Limits:
    """What is refused beyond.

    Args:
        max_duration_s: longest sound.
        upload_mb: largest upload.
        places: requests at a time, the one being answered included; the next is told to come back.
        open_s: longest time to open one upload.
        open_memory_mb: memory for it.
        receive_s: longest time to send one request.
        folder_mb: disk for uploads and sounds together.
        keep_s: how long they are kept.
    """

    max_duration_s: float
    upload_mb: int = 64
    places: int = 8
    open_s: float = 20.0
    open_memory_mb: int = 1024
    receive_s: float = 60.0
    folder_mb: int = 1024
    keep_s: float = 3600.0
