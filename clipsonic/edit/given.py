"""What an edit is given, from files: a sound or a video's own track, and a mask.

Guarantee: a sound file's samples are taken as they are, with all its channels; a video's track lies where players play
it, its gaps silent. Price: all of it is held, eight bytes a sample. Not exact: of a video with more than two channels
two are taken, and of a lossy file or track what it decodes to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clipsonic.audio.exact import ExactSound, read_exact
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.generate.prompt import read_picture
from clipsonic.generate.rows import has_frames


def read_given(path: str | Path) -> ExactSound:
    """The sound of a file.

    Raises:
        UsageError: there is no such file, no sound in it, or it cannot be read.
    """
    if not has_frames(path):
        try:
            return read_exact(path)
        except ClipsonicError as error:  # to its reader a failure, to this command a wrong file, as a video would be
            raise UsageError(str(error)) from None
    from clipsonic.generate.track import own_track

    wave_CT, rate_hz = own_track(path, "to edit: make one with clipsonic generate")
    return ExactSound(wave_CT.astype(np.float64), rate_hz, "FLOAT")


def read_mask(path: str | Path) -> np.ndarray:
    """A picture as (H, W) uint8: how white it is, nothing where it is transparent.

    Raises:
        UsageError: no such file, not a picture, or above 64 megapixels.
    """
    return read_picture(path, _whiteness)


def _whiteness(picture: Image.Image) -> Image.Image:
    grey = Image.new("L", picture.size)
    layer = picture.convert("RGBA")
    grey.paste(layer.convert("L"), mask=layer.getchannel("A"))
    return grey
