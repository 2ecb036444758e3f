"""Pictures and videos of what the bundled model knows, for a visitor who has none at hand.

Guarantee: another one at every call, drawn by the soundstage from combinations that no model was trained on. Price:
0.02 s for a picture, 0.3 s for a video.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from PIL import Image

from clipsonic.demo.folder import DemoFolder
from clipsonic.soundstage.render import World, render_video
from clipsonic.soundstage.stills import draw_picture

TEXTS = ("a small glass bell ringing slowly", "three wooden drums being beaten fast", "a dog barking")
_SIZE = (320, 240)
_PLAIN = "full"  # neither a sketch nor seen through a filter


def draw_example(folder: DemoFolder) -> str:
    """A picture of something that sounds, as a PNG in the folder; its path."""
    seed = secrets.randbelow(2**31)
    drawn = (draw_picture(seed, index, "heldout", _SIZE) for index in range(1000))
    picture = next(picture for picture in drawn if picture.scene is not None and picture.style == _PLAIN)
    path = _named(folder, "drawn example.png")
    Image.fromarray(picture.pixels).save(path)
    return str(path)


def film_example(folder: DemoFolder) -> str:
    """A video of something that sounds, as an MP4 in the folder; its path."""
    world = World(secrets.randbelow(2**31), "heldout")
    path = _named(folder, "filmed example.mp4")
    render_video(world.scene(0), path, width=_SIZE[0], height=_SIZE[1])
    return str(path)


def _named(folder: DemoFolder, name: str) -> Path:
    """A path of this name, which the page shows, in a new folder of its own."""
    own = folder.new("")
    own.mkdir()
    return own / name


EXAMPLES = {"image": ("Draw one for me", draw_example), "video": ("Film one for me", film_example)}
"""For each kind of prompt the words on its button, and what makes one."""
