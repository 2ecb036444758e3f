"""What the demo has made: the facts of sounds that lie in its folder.

Guarantee: none of it is a sound itself. Price: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Made:
    """One sound: its files in the demo's folder, and its measured loudness."""

    wave: Path
    spectrogram: Path
    loudness_lufs: float


@dataclass(frozen=True)
class Result:
    """What became of a wish: its sounds, how they were made, a word of caution; of an edit, the sound before it."""

    sounds: tuple[Made, ...]
    facts: dict[str, Any]
    notice: str | None
    before: Made | None = None
