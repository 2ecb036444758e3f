"""What the cards of trained parts share."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def command_line(name: str = "train") -> str:
    """The command as it was given, without the folders above its paths."""
    words = sys.argv[1:] if sys.argv[1:2] == [name] else [name]
    short = ["/".join(Path(word).parts[-2:]) if Path(word).is_absolute() else word for word in words]
    return shlex.join(["clipsonic", *short])
