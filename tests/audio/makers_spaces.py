"""Every mel space there is: the published ones, and those that a bundled config sets."""

from __future__ import annotations

from pathlib import Path

import yaml

from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.command import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def configured_segments() -> dict[str, SegmentSpec]:
    """The segment of every config that sets a mel, by the config's name; overlays lie on `base`."""
    named = {path.stem: (yaml.safe_load(path.read_text()) or {}).get("segment") for path in CONFIGS.glob("*.yaml")}
    setting = sorted(name for name, segment in named.items() if segment and "n_fft" in segment)
    return {name: load_config("base", name).segment.spec(16, "a/b") for name in setting}


SEGMENTS = configured_segments()
EVERY_SPACE: dict[str, MelSpec] = {
    **MEL_SPACES,
    **{name: segment.mel for name, segment in SEGMENTS.items() if segment.mel not in MEL_SPACES.values()},
}
"""Each space once."""
