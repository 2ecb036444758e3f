"""Stills for training a CLIP and a prior: sounding and silent things in many styles, with what may be said of each.

Guarantee: `draw_picture` is a pure function of its arguments and shares no scene with the sound corpus of any seed.
Price: about 2 ms per 160x120 picture with its captions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clipsonic.errors import UsageError
from clipsonic.seeding import numpy_rng, seed_for
from clipsonic.soundstage.captions import captions
from clipsonic.soundstage.draw import Painter
from clipsonic.soundstage.draw.background import Style
from clipsonic.soundstage.draw.silent import COLORS, SILENT, silent_sketch
from clipsonic.soundstage.draw.styles import FILTERS
from clipsonic.soundstage.scene import Scene, draw_scene
from clipsonic.soundstage.silent_captions import PLACES, silent_captions

WorldSplit = Literal["train", "heldout"]

_SILENT_SHARE = 0.25
_RESTING_SHARE = 0.12
_STYLED_SHARE = 1.0 / 3.0
_PLAIN: tuple[Style, ...] = ("plain", "white")
_STYLE_WORDS = {
    "grey": "in black and white",
    "sepia": "in sepia",
    "sketch": "as a pencil sketch",
    "blurred": "out of focus",
}


@dataclass(frozen=True)
class Picture:
    """A still and what may be said of it.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        captions: phrasings, at least one.
        kind: name in KINDS, None for a silent thing.
        scene: the law of a sounding one, None for a silent thing; without phases where it rests.
        style: how it looks, `full` for as the scene says.
    """

    pixels: np.ndarray
    captions: tuple[str, ...]
    kind: str | None
    scene: Scene | None
    style: str = "full"

    @property
    def numbers(self) -> dict[str, float]:
        """What can be read from the still as numbers: size, count, and speed where a dial shows one."""
        if self.scene is None:
            return {}
        resting, has_dial = not self.scene.phases, self.scene.law.slow_hz is not None
        numbers = {"size": self.scene.size, "count": float(self.scene.count), "resting": float(resting)}
        return numbers | ({"speed": self.scene.speed} if has_dial and not resting else {})


def draw_picture(seed: int, index: int, split: WorldSplit = "train", size: tuple[int, int] = (160, 120)) -> Picture:
    """Picture number `index` of the world `seed`.

    Args:
        split: `train`, or `heldout` for attribute combinations and phrasings that `train` never has.
        size: width and height in pixels.

    Raises:
        UsageError: an unknown split.
    """
    if split not in ("train", "heldout"):
        raise UsageError(f"split {split!r} is unknown: choose train or heldout")
    rng = numpy_rng(seed, "soundstage.world", split, index)
    style = str(rng.choice([*FILTERS, *_PLAIN])) if rng.random() < _STYLED_SHARE else "full"
    stage: Style = "plain" if style == "plain" else "white" if style == "white" else "full"
    scenes = seed_for(seed, "soundstage.world.scenes")
    draw = _draw_silent if rng.random() < _SILENT_SHARE else _draw_sounding
    picture = draw(scenes, index, split, size, stage, rng)
    pixels = FILTERS[style](picture.pixels, rng) if style in FILTERS else picture.pixels
    spoken = _styled(picture.captions, style, split, rng)
    return dataclasses.replace(picture, pixels=np.ascontiguousarray(pixels), captions=spoken, style=style)


def _draw_sounding(
    seed: int, index: int, split: WorldSplit, size: tuple[int, int], stage: Style, rng: np.random.Generator
) -> Picture:
    scene = draw_scene(seed, index, split=split)
    resting = bool(rng.random() < _RESTING_SHARE)
    if resting:
        scene = dataclasses.replace(scene, phases=(), events=())
    time_s = float(rng.uniform(0.0, scene.duration_s)) if resting else _telling_time(scene, rng)
    spoken = captions(scene, split, resting=resting)
    if stage != "full":
        spoken = tuple(text for text in spoken if PLACES[scene.background] not in text) or spoken[:1]
    return Picture(Painter(scene, *size, style=stage).frame(time_s), spoken, scene.kind, scene)


def _telling_time(scene: Scene, rng: np.random.Generator) -> float:
    """An instant of the first phase, whose speed the captions name: often just after an event."""
    phase = scene.phases[0]
    events = [event.time_s for event in scene.events if event.time_s < phase.end_s]
    if events and rng.random() < 0.6:
        time_s = events[int(rng.integers(len(events)))] + float(rng.uniform(0.0, 0.2))
    else:
        time_s = float(rng.uniform(phase.start_s, phase.end_s))
    return min(time_s, phase.end_s - 1e-3)


def silent_is_heldout(thing: str, color: str) -> bool:
    """Whether this silent thing in this colour is reserved for judging: a fixed one in eight."""
    return (3 * list(SILENT).index(thing) + list(COLORS).index(color)) % 8 == 0


def _draw_silent(
    seed: int, index: int, split: WorldSplit, size: tuple[int, int], stage: Style, rng: np.random.Generator
) -> Picture:
    scene = draw_scene(seed, index, split="any", kind="bee")  # only its stage: positions, size, place, light, camera
    allowed = [
        (thing, color)
        for thing in SILENT
        for color in COLORS
        if silent_is_heldout(thing, color) == (split == "heldout")
    ]
    thing, color = allowed[int(rng.integers(len(allowed)))]
    painter = Painter(scene, *size, style=stage, sketch=silent_sketch(thing, color))
    where = scene.background if stage == "full" else None
    spoken = silent_captions(thing, color, scene.size, scene.count, where, split, rng)
    return Picture(painter.frame(float(rng.uniform(0.0, scene.duration_s))), spoken, None, None)


def _styled(spoken: Sequence[str], style: str, split: WorldSplit, rng: np.random.Generator) -> tuple[str, ...]:
    """Some captions also name the style, with another structure for judging."""
    words = _STYLE_WORDS.get(style)
    if words is None:
        return tuple(spoken)
    named = (f"{text}, {words}" if split == "train" else f"{words}: {text}" for text in spoken)
    return tuple(new if rng.random() < 0.35 else text for text, new in zip(spoken, named, strict=True))
