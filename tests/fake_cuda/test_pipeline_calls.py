"""A call of the pipeline with prompts of every kind, on a CUDA device that is not there: nothing waits for the device.

Few solver steps are enough: of a wait or a copy at each step there would be one more. The prior takes all of its own.
Few steps are set before the pipeline is moved: their adapter is known by values, of which such a device has none.
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
    "prior/core.py": (
        5,
        "the noise that the prior begins with and of its steps, each sound's by its own generator, on the host",
    ),
    "prior/adapter.py": (1, "the texts that it is asked of"),
    "pipeline/prompts.py": (2, "what the prior says, and the mels that a call gives"),
    "pipeline/vocoding.py": (2, "each written piece of the wave"),
}
"""How many copies a file may ask for in one call of up to two pieces, and what they are."""
PICTURE = np.zeros((48, 64, 3), np.uint8)
EMBED = np.ones(128, np.float32)
CLOSERS = ("zero-shot", "mean-shift", "neighbours", "prior")
CALLS: dict[str, dict[str, Any]] = {
    "embeds": {"embeds": EMBED},
    "image": {"image": PICTURE},
    "frames": {"frames": [PICTURE] * 4},
    "batch": {"embeds": np.stack([EMBED, EMBED])},
    **{f"text, {closer}": {"text": "a bell", "closer": closer} for closer in CLOSERS},
    "guided in an interval": {"embeds": EMBED, "guidance_interval": (0.2, 0.7)},
    "20 s in windows": {"embeds": EMBED, "duration_s": 20.0},
    "few steps": {"embeds": EMBED},
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_for_nothing_and_copies_only_what_goes_in_and_comes_out(name: str) -> None:
    with rehearsed() as report:
        pipeline = ClipSonicPipeline.from_pretrained("tiny")
        pipeline.set_few_steps(2 if name == "few steps" else None)
        pipeline = pipeline.to("cuda")
        pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        pipeline.load_parts("text" if "text" in CALLS[name] else "image")
        report.clear()
        made = pipeline(**CALLS[name], num_inference_steps=2)
    assert made.mels.shape[2] <= 2 * PIECE
    assert report.unexpected(ALLOWED) == []
    assert report.syncs == []
    for file, count in Counter(noted.file for noted in report.copies).items():
        assert count <= ALLOWED[file][0], f"{file}: {ALLOWED[file][1]}"


EDITS: dict[str, dict[str, Any]] = {
    "region": {"embeds": EMBED, "remake": [(1.0, 2.0)]},
    "bands without a prompt": {"above_hz": 2000.0},
    "extended in windows": {"embeds": EMBED, "extend_s": 6.0},
    "restyled": {"embeds": EMBED, "strength": 0.5},
    "restyled from words": {"text": "a bell", "from_text": "rain", "strength": 0.9, "closer": "zero-shot"},
}
ALLOWED_OF_EDITS = {
    **ALLOWED,
    "models/conditioner.py": (12, "three tensors of each condition and of what guidance moves away from"),
    "clip/embedder.py": (6, "words to CLIP and back, those of the prompt and those of the given sound"),
    "diffusion/editing.py": (5, "the mask, whether all of it is made, and the noise of the first and of each level"),
    "pipeline/editing.py": (5, "the given mel, the two statistics, the mels that are made and which are other"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_waits_for_nothing_and_copies_what_goes_in_and_comes_out_and_the_noise_of_each_level(name: str) -> None:
    sound = np.sin(0.1 * np.arange(65536)) * 0.3
    with rehearsed() as report:
        pipeline = ClipSonicPipeline.from_pretrained("tiny").to("cuda")
        pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        pipeline.load_parts("text")
        report.clear()
        pipeline.edit(sound, 16000, **EDITS[name], num_inference_steps=3)
    assert report.unexpected(ALLOWED_OF_EDITS) == []
    assert report.syncs == []
    for file, count in Counter(noted.file for noted in report.copies).items():
        assert count <= ALLOWED_OF_EDITS[file][0], f"{file}: {ALLOWED_OF_EDITS[file][1]}"
