"""Flaws of real collections, mixed into rendered ones on request, so that ingest can be tried on what it will meet.

Guarantee: which file gets which flaw is a pure function of (seed, index, share); a flaw changes the file, its
manifest entry says so. The functions here are pure; `render` applies them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clipsonic.seeding import numpy_rng
from clipsonic.soundstage.scene import Phase, Scene
from clipsonic.soundstage.synth.primitives import Wave

FLAWS = ("no_sound", "silent", "still", "truncated", "not_media", "too_short")
"""No sound track; a sound track of zeros; a frozen picture; a file cut off; text named .mp4; half a second."""

_SHORT_S = 0.5
_NOT_MEDIA = b"<html><body><h1>404 Not Found</h1>The video you asked for is not available.</body></html>\n"


def draw_flaw(seed: int, index: int, share: float) -> str | None:
    """The flaw of file `index`, or None: a share of all files is flawed, every flaw equally likely."""
    rng = numpy_rng(seed, "soundstage.flaws", index)
    flawed, choice = rng.random() < share, int(rng.integers(len(FLAWS)))
    return FLAWS[choice] if flawed else None


def flawed_scene(scene: Scene, flaw: str | None) -> Scene:
    """The scene as it is filmed: half a second of it for `too_short`, else unchanged."""
    if flaw != "too_short":
        return scene
    return replace(
        scene,
        duration_s=_SHORT_S,
        phases=(Phase(0.0, _SHORT_S, scene.speed),),
        events=tuple(event for event in scene.events if event.time_s < _SHORT_S),
    )


def flawed_wave(wave: Wave, flaw: str | None) -> Wave | None:
    """The sound as it is recorded: None without a sound track."""
    if flaw == "no_sound":
        return None
    return np.zeros_like(wave) if flaw == "silent" else wave


def flawed_bytes(data: bytes, flaw: str | None, seed: int, index: int) -> bytes:
    """The file as it arrives: cut off somewhere in its second or third quarter, or not media at all."""
    if flaw == "not_media":
        return _NOT_MEDIA
    if flaw == "truncated":
        return data[: int(len(data) * numpy_rng(seed, "soundstage.flaws.cut", index).uniform(0.3, 0.7))]
    return data
