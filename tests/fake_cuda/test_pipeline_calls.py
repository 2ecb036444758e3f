"""A call of the pipeline with prompts of every kind, on a CUDA device that is not there: nothing waits for the device.

Few solver steps are enough: of a wait or a copy at each step there would be one more. Not rehearsed here:
the prior's own steps, and few steps, whose adapter is known by values that are not on such a device.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from fake_cuda import rehearsed

from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.pipeline.vocoding import PIECE

ALLOWED = {
    "pipeline/pipeline.py": (
        3,
        "the noise, the mean and the deviation of the mels, before the first and after the last step",
    ),
    "models/conditioner.py": (6, "three tensors of the condition and three of what guidance moves away from"),
    "pipeline/denoising.py": (2, "how much each column of a window has to say, at the first step"),
    "clip/embedder.py": (3, "a picture or the words of a prompt to CLIP, and their embedding back"),
    "pipeline/prompts.py": (1, "the mels that a call gives"),
    "pipeline/vocoding.py": (2, "each written piece of the wave"),
}
"""How many copies a file may ask for in one call of up to two pieces, and what they are."""
PICTURE = np.zeros((48, 64, 3), np.uint8)
EMBED = np.ones(128, np.float32)
CALLS: dict[str, dict[str, Any]] = {
    "embeds": {"embeds": EMBED},
    "image": {"image": PICTURE},
    "frames": {"frames": [PICTURE] * 4},
    "text, zero-shot": {"text": "a bell", "closer": "zero-shot"},
    "guided in an interval": {"embeds": EMBED, "guidance_interval": (0.2, 0.7)},
    "20 s in windows": {"embeds": EMBED, "duration_s": 20.0},
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_for_nothing_and_copies_only_what_goes_in_and_comes_out(name: str) -> None:
    with rehearsed() as report:
        pipeline = ClipSonicPipeline.from_pretrained("tiny").to("cuda")
        pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        pipeline.load_parts("image")
        report.clear()
        made = pipeline(**CALLS[name], num_inference_steps=2)
    assert made.mels.shape[2] <= 2 * PIECE
    assert report.unexpected(ALLOWED) == []
    assert report.syncs == []
    for file, count in Counter(noted.file for noted in report.copies).items():
        assert count <= ALLOWED[file][0], f"{file}: {ALLOWED[file][1]}"
