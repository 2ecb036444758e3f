"""A judge that learns from a handful of scenes, for the battery that runs over every lesson."""

from __future__ import annotations

from pathlib import Path

SMALL = {
    "judge.num_scenes": "25",
    "judge.num_held_out": "25",
    "judge.lengths_s": "[1.0, 1.5]",
    "optim.lr": "3.0e-4",
    "optim.batch_size": "4",
    "data.num_workers": "0",
}


def tiny_judge(folder: Path) -> list[str]:
    """The command's words; `folder` stays empty, since scenes are rendered."""
    return ["--config", "judge", *(word for name, value in SMALL.items() for word in (f"--{name}", value))]
