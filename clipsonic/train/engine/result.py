"""What a finished run says of itself: `training.json` beside what the lesson leaves, and one line for the user.

Guarantee: written whole, after the lesson's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipsonic.files import write_json
from clipsonic.train.engine.lesson import Course
from clipsonic.train.engine.module import LessonModule

REPORT_NAME = "training.json"


def leave(out: Path, module: LessonModule, steps: int, findings: dict[str, Any], course: Course) -> dict[str, Any]:
    """Let the lesson write its folder, and write `training.json`; the result is what the command answers.

    Args:
        findings: losses, the best checkpoint and warnings.
    """
    told = {
        "steps": steps,
        "minutes": round(module.clock.elapsed_s / 60, 3),
        "samples_per_s": round(module.clock.samples_per_s, 2),
        "data_wait_share": round(module.clock.waited_share, 4),
        **findings,
        "corpus": course.summary,
        "init": course.init,
    }
    left = course.lesson.leave(module.result_weights, out, dict(told))
    following = left.pop("next", f"{out} is whole")
    shown = {**told, **left}
    details = {
        "parameters": sum(weight.numel() for weight in course.lesson.learner.parameters()),
        **course.lesson.facts(),
        "config": module.config.to_dict(),
    }
    write_json(out / REPORT_NAME, {**shown, **details})
    return {"message": _message(out, shown, following), **shown, "out": str(out)}


def _message(out: Path, shown: dict[str, Any], following: str) -> str:
    named = {"loss": shown["train_loss"], "validation loss": shown["val_loss"]}
    losses = "".join(f", {name} {value:.4f}" for name, value in named.items() if value is not None)
    speed = f"{shown['steps']} steps in {shown['minutes']:.1f} minutes, {shown['samples_per_s']:.1f} samples/s"
    return f"{out}: {speed}{losses}; {following}"
