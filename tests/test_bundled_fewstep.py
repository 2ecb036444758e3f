"""The bundled few-step adapter belongs to the bundled weights; how good it is, test_bundled holds."""

from __future__ import annotations

import re

from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.resources import bundled_path


def test_the_bundled_adapter_fits_the_bundled_weights_and_the_card_says_how_good_it_is() -> None:
    tiny = ClipSonicPipeline.from_pretrained("tiny")
    for steps in (1, 2, 3, 4):
        tiny.set_few_steps(steps)
        assert tiny.default_steps == steps
    card = bundled_path("priors", "tiny", "card.md").read_text(encoding="utf-8")
    shares = {int(steps): float(share) for steps, share in re.findall(r"(\d): ([\d.]+)% named rightly", card)}
    assert list(shares) == [1, 2, 3, 4]
    assert sorted(shares.values()) == list(shares.values())  # more calls are worth what they cost
