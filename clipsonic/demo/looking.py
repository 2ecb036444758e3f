"""What is done with an upload where it can be killed: its pictures or samples, and a video with its new sound.

Guarantee: runs in a process of its own (`workers`) and loads no torch; a picture comes back upright, as uint8 RGB,
its shorter side at most 1024 pixels (384 of a video longer than a segment). Not exact: what is larger is shrunk, so its
sound may differ a little from the one that `clipsonic generate` makes of the same file. Price: 0.1 s for a small video.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from clipsonic.audio.exact import read_exact
from clipsonic.audio.wave import audio_length, read_audio
from clipsonic.demo.limits import MAX_FRAMES
from clipsonic.errors import ClipsonicError
from clipsonic.generate.mux import check_copy, replace_sound
from clipsonic.generate.prompt import read_picture
from clipsonic.ingest.decode import frames_at
from clipsonic.ingest.probe import probe
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.specs import CorpusSpec

MAX_SIDE = 1024
NUM_FRAMES = 4  # of one segment, as the pipeline looks at a video
_MANY_SIDE = 384  # of more frames than that
_LEAST_S = 0.003  # as the pipeline does


def picture(path: str, name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The picture in a file, (H, W, 3); `name` is what its owner calls it.

    Raises:
        RefusedError: not_media, decode_error or too_large.
    """
    try:
        return {}, [_shrunk(read_picture(path))]
    except ClipsonicError as error:
        words = str(error)
        reason = RefusalReason.NOT_MEDIA if "is not a picture" in words else RefusalReason.DECODE_ERROR
        reason = RefusalReason.TOO_LARGE if "pixels" in words else reason
        raise RefusedError(reason, words.replace(path, name)) from None


def frames(path: str, start_s: float, seconds: float, segment_s: float) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Four frames (H, W, 3) for each segment from `start_s`, at bin centres.

    Facts: their `times_s` from there, `left_s`, and `why` this video cannot be given another sound, None if it can.

    Raises:
        RefusedError: not_media, no_video, decode_error, or too_short for this start.
    """
    end_s = probe(path, start_s, start_s + seconds, needs_sound=False).picture_end_s
    left_s = min(seconds, end_s - start_s)
    if left_s < _LEAST_S:
        raise RefusedError(RefusalReason.TOO_SHORT, f"it lasts {max(0.0, end_s):.2f} s")
    count = min(MAX_FRAMES, NUM_FRAMES * math.ceil(left_s / segment_s - 1e-6))
    times_s = CorpusSpec.frame_times_s(left_s, count)
    side = MAX_SIDE if count <= NUM_FRAMES else _MANY_SIDE
    shown = frames_at(path, [start_s + time_s for time_s in times_s])
    return {"times_s": times_s, "left_s": left_s, "why": _why_no_video(path)}, [_shrunk(frame, side) for frame in shown]


def sound(path: str, name: str, longest_s: float) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The samples (C, T) float64 of a sound file; facts: `rate_hz`, and the `depth` it is written in.

    Raises:
        RefusedError: not_media, or too_large for a sound longer than `longest_s`.
    """
    try:
        length, rate_hz = audio_length(path)
        if length > longest_s * rate_hz:
            words = f"{name} lasts {length / rate_hz:.0f} s, and at most {longest_s:g} s are taken: send a part of it"
            raise RefusedError(RefusalReason.TOO_LARGE, words)
        found = read_exact(path)
    except ClipsonicError as error:
        raise RefusedError(RefusalReason.NOT_MEDIA, str(error).replace(path, name)) from None
    return {"rate_hz": found.rate_hz, "depth": found.depth}, [found.wave_CT]


def with_sound(path: str, sound: str, out: str, start_s: float) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Write `out` (MP4): the picture of a video with this WAV from `start_s`; facts: `written`, and if not, `why`."""
    wave, rate_hz = read_audio(sound)
    try:
        replace_sound(path, out, wave, rate_hz, start_s)
    except (ClipsonicError, OSError) as error:
        return {"written": False, "why": str(error).replace(path, "this video")[:300]}, []
    return {"written": True}, []


def _why_no_video(path: str) -> str | None:
    try:
        check_copy(path, ".mp4")
    except ClipsonicError as error:
        return str(error).replace(path, "this video")[:300]
    return None


def _shrunk(pixels: np.ndarray, side: int = MAX_SIDE) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = side / min(height, width)
    if scale >= 1.0:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
