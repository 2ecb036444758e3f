#!/usr/bin/env python
"""Write docs/example.md: a notebook as a page, its cells run here and now with the bundled pipeline.

    python scripts/make_example_page.py        run again whenever the bundled pipeline changes; 1 minute

A test runs the cells of the page and holds what they print, so the page cannot grow old unseen.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "example.md"
PICTURES = "pictures"

INTRODUCTION = """\
# An example, from text, picture and embeddings to sound

Every cell below was run by `python scripts/make_example_page.py` with the bundled pipeline `tiny`, on a CPU; what
it printed stands under it. `tiny` knows the soundstage, 25 cartoon-like kinds of things, and nothing else.
"""

CELLS = [
    (
        "A text. The pipeline loads its CLIP, its diffusion prior and its vocoder when they are first needed.",
        """\
from clipsonic import ClipSonicPipeline

pipeline = ClipSonicPipeline.from_pretrained("tiny")
pipeline.set_progress_bar_config(disable=True)
bell = pipeline(text="a small glass bell ringing slowly", seed=1)
print(bell.audios.shape, bell.audios.dtype, bell.sample_rate_hz, bell.closer)""",
        None,
    ),
    (
        "Its log-mel spectrogram, as a picture.",
        """\
from clipsonic.audio.picture import save_spectrogram

save_spectrogram("bell.png", bell.mels[0], pipeline.segment.mel, title="a small glass bell ringing slowly")""",
        "bell.png",
    ),
    (
        "A picture as the prompt: here one that the soundstage draws. Only its CLIP embedding goes in.",
        """\
from clipsonic.soundstage.draw import Painter
from clipsonic.soundstage.scene import plain_scene

scene = plain_scene("drum", "skin", 0.9, 0.5, 1, duration_s=4.0)
picture = Painter(scene, 160, 120).frame(0.5)
drum = pipeline(image=picture, seed=1)
print(picture.shape, drum.audios.shape)
save_spectrogram("drum.png", drum.mels[0], pipeline.segment.mel, title="a picture of a drum")""",
        "drum.png",
    ),
    (
        "Several sounds at once: the same prompt, other noise. A batch gives what its items give alone.",
        """\
import numpy as np

both = pipeline(text="a small glass bell ringing slowly", num_sounds=2, seed=1)
print(both.audios.shape, bool(np.allclose(both.audios[0], bell.audios[0], atol=1e-4)))""",
        None,
    ),
    (
        "Ready embeddings, for instance halfway between two prompts.",
        """\
half = pipeline(embeds=bell.embeds[0][0] + drum.embeds[0][0], seed=1)
print(half.audios.shape, round(float(np.abs(half.audios).max()), 1) <= 1.0)""",
        None,
    ),
]
"""What is said, what is run, and the picture that it leaves."""


def run_cells(cells: list[str], folder: Path) -> list[str]:
    """Run the cells one after another in one namespace and in `folder`; returns what each printed."""
    names: dict[str, Any] = {}
    printed = []
    with contextlib.chdir(folder):
        for cell in cells:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(ast.parse(cell), "cell", "exec"), names)
            printed.append(out.getvalue())
    return printed


def main() -> None:
    """Run everything and write the page."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    pictures = PAGE.parent / PICTURES
    pictures.mkdir(exist_ok=True)
    printed = run_cells([cell for _, cell, _ in CELLS], pictures)
    parts = [INTRODUCTION]
    for (words, cell, picture), output in zip(CELLS, printed, strict=True):
        parts.append(f"{words}\n\n```python\n{cell}\n```\n")
        if output:
            parts.append(f"```text\n{output.rstrip()}\n```\n")
        if picture is not None:
            parts.append(f"![spectrogram]({PICTURES}/{picture})\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
