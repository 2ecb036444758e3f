"""Looking at a video: the frames of one segment, or of every window of a longer stretch.

Guarantee: frames are chosen by time, at bin centres of the window's own seconds; what cannot be looked at is refused in
one sentence. Price: the stretch is decoded once, in order; of a long one only the frames of a few windows are held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic.errors import UsageError
from clipsonic.specs import GLOBAL_TIME_S, CorpusSpec

NUM_VIDEO_FRAMES = 4
_ROUNDING_S = 0.003  # containers round times to milliseconds, and ends are told that much late
_FRAMES_AT_ONCE = 16
_LEAST_REST_S = 0.25  # of a window, that frames at different times can be taken from

Look = tuple[list[np.ndarray], list[float]]
"""Pictures (H, W, 3) uint8 RGB and their times in the window, in seconds, or GLOBAL_TIME_S."""


def look_at_video(path: str | Path, start_s: float, seconds: float) -> Look:
    """Four frames at the bin centres of a video's segment, and their times in it; a shorter rest is all looked at.

    Raises:
        UsageError: no such file, no video, or it ends before `start_s`.
    """
    from clipsonic.ingest.decode import frames_at
    from clipsonic.refusals import RefusedError

    left_s = min(seconds, seconds_left(path, start_s, start_s + seconds))
    times_s = list(CorpusSpec.frame_times_s(left_s, NUM_VIDEO_FRAMES))
    try:
        return frames_at(path, [start_s + time_s for time_s in times_s]), times_s
    except RefusedError as error:
        raise UsageError(f"video {path} cannot be decoded ({error.detail}): give another file") from None


def seconds_left(path: str | Path, start_s: float, until_s: float | None = None) -> float:
    """Seconds of picture after `start_s`, to 2 ms; the file is read up to `until_s` only (default: all of it).

    Raises:
        UsageError: no such file, no video, or it ends before `start_s`.
    """
    from clipsonic.ingest.probe import probe
    from clipsonic.refusals import RefusedError

    if not Path(path).is_file():
        reason = "is no file" if Path(path).exists() else "does not exist"
        raise UsageError(f"video {path} {reason}: give the path of a video file")
    if not (math.isfinite(start_s) and start_s >= 0.0):
        raise UsageError(f"start_s {start_s} must be 0 or more, in seconds of the video")
    try:
        end_s = probe(path, start_s, until_s, needs_sound=False).picture_end_s
    except RefusedError as error:
        raise UsageError(
            f"{path} is no video that can be read ({error.detail}): give a file with a moving picture"
        ) from None
    if end_s - start_s < _ROUNDING_S:
        raise UsageError(
            f"start_s {start_s:g} lies beyond the end of {path}, which lasts {end_s:.2f} s: give an earlier start"
        )
    return end_s - start_s


def look_through_video(path: str | Path, start_s: float, starts_s: Sequence[float], seconds: float) -> Iterator[Look]:
    """What each of many windows sees: four frames at the bin centres of its own seconds.

    Of a window that the video does not fill, the rest that there is; one beyond its end sees the last frame.

    Args:
        start_s: in the video, where the sound begins.
        starts_s: of the windows, ascending, in seconds of the sound.
        seconds: length of a window.

    Raises:
        UsageError: no such file, no video, or it ends before `start_s`.
    """
    left_s = seconds_left(path, start_s, start_s + starts_s[-1] + seconds)
    times_s = [_times_of(left_s - window_s, seconds) for window_s in starts_s]
    wanted = [
        (start_s + min(window_s + max(0.0, time_s), left_s), window)
        for window, window_s in enumerate(starts_s)
        for time_s in times_s[window]
    ]
    held: dict[int, list[np.ndarray]] = {}
    window = 0
    for place, picture in _pictures_at(path, wanted):
        held.setdefault(place, []).append(picture)
        while window in held and len(held[window]) == len(times_s[window]):
            yield held.pop(window), times_s[window]
            window += 1


def _times_of(rest_s: float, seconds: float) -> list[float]:
    """Times in a window of which the video shows the first `rest_s` seconds."""
    if rest_s < _LEAST_REST_S:
        return [GLOBAL_TIME_S]
    return list(CorpusSpec.frame_times_s(min(rest_s, seconds), NUM_VIDEO_FRAMES))


def _pictures_at(path: str | Path, wanted: list[tuple[float, int]]) -> Iterator[tuple[int, Any]]:
    """(window, picture) for every wanted (time in the video, window), in rising time."""
    from clipsonic.ingest.decode import PictureReader
    from clipsonic.ingest.probe import probe
    from clipsonic.refusals import RefusedError

    ordered = sorted(wanted)
    try:
        media = probe(path, until_s=ordered[-1][0], needs_sound=False)
        with PictureReader(path, media) as reader:
            for at in range(0, len(ordered), _FRAMES_AT_ONCE):
                part = ordered[at : at + _FRAMES_AT_ONCE]
                pictures = reader.read([time_s for time_s, _ in part])
                yield from zip((window for _, window in part), pictures, strict=True)
    except RefusedError as error:
        raise UsageError(f"video {path} cannot be decoded ({error.detail}): give another file") from None
