"""The bundled few-step adapter belongs to the bundled weights; how good it is, test_bundled holds."""

from __future__ import annotations

from clipsonic.pipeline import ClipSonicPipeline


def test_the_bundled_adapter_fits_the_bundled_weights() -> None:
    tiny = ClipSonicPipeline.from_pretrained("tiny")
    for steps in (1, 4):
        tiny.set_few_steps(steps)
        assert tiny.default_steps == steps
