"""Uploads become pictures or samples here, by way of a process that can be killed.

Guarantee: an upload is opened in another process, with limits of time, memory and written bytes, one after another;
what cannot be opened is one sentence with the name that its owner gave it. Price: an upload that uses up its time keeps
other uploads waiting for so long; texts go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipsonic import workers
from clipsonic.demo.limits import MAX_FRAMES, MAX_GIVEN_S, MAX_START_S, Limits
from clipsonic.demo.refusals import DemoError, TooLargeError, WrongTypeError
from clipsonic.refusals import MalformedError, RefusalReason, RefusedError, one_line
from clipsonic.workers import Answer, Child

SOUNDS = "a WAV, FLAC, Ogg or MP3 sound"
PICTURES, VIDEOS = "a JPEG, PNG, WebP, GIF, TIFF or BMP picture", "an MP4, MOV, WebM, MKV or AVI video"


_WANTED = {"image": ("a picture", PICTURES), "video": ("a video", VIDEOS), "sound": ("a sound", SOUNDS)}
_RATES_HZ = range(1000, 768_001)
_MAX_CHANNELS = 32


@dataclass(frozen=True)
class Upload:
    """A file that was sent: where it lies, what its owner calls it, and what it is: `image`, `video` or `sound`."""

    path: Path
    name: str
    kind: str


@dataclass(frozen=True)
class Seen:
    """What an upload shows: pictures (H, W, 3) uint8; of a video their times and what is left of it, in seconds.

    `no_video`: why it cannot be written with another sound, None if it can.
    """

    pictures: Sequence[np.ndarray]
    times_s: Sequence[float] = field(default=())
    left_s: float | None = None
    no_video: str | None = None


@dataclass(frozen=True)
class Heard:
    """What an upload sounds like: (C, T) float64 at its own rate, and how its file holds a sample."""

    wave_CT: np.ndarray
    rate_hz: int
    depth: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return float(self.wave_CT.shape[1] / self.rate_hz)


class Looker:
    """The process that opens uploads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        allowed = workers.Limits(limits.open_s, limits.open_memory_mb, file_mb=4 * limits.upload_mb)
        self._child = Child("clipsonic.demo.looking", allowed, "the process that opened it")

    def look(self, upload: Upload, start_s: float, seconds: float, segment_s: float) -> Seen:
        """The picture of an image, or of the video's seconds from `start_s` four frames for each segment.

        Raises:
            DemoError: it cannot be opened, or takes more than it may.
        """
        try:
            if upload.kind == "image":
                return self._child.call("picture", _picture_in, path=str(upload.path), name=upload.name)
            asked = {"path": str(upload.path), "start_s": start_s, "seconds": seconds, "segment_s": segment_s}
            return self._child.call("frames", _frames_in, **asked)
        except RefusedError as refused:
            raise self._refusal(upload, refused, start_s) from None

    def listen(self, upload: Upload) -> Heard:
        """All of a sound, at most MAX_GIVEN_S.

        Raises:
            DemoError: it cannot be opened, or takes more than it may.
        """
        try:
            asked = {"path": str(upload.path), "name": upload.name, "longest_s": MAX_GIVEN_S}
            return self._child.call("sound", _samples_in, **asked)
        except RefusedError as refused:
            raise self._refusal(upload, refused, 0.0) from None

    def add_sound(self, upload: Upload, sound: Path, out: Path, start_s: float) -> str | None:
        """Write `out` (MP4), the video with this sound; returns why not, or None."""
        arguments: dict[str, Any] = {"path": str(upload.path), "sound": str(sound), "out": str(out)}
        try:
            return self._child.call("with_sound", _why_not_in, **arguments, start_s=start_s)
        except RefusedError as refused:
            return str(self._refusal(upload, refused, start_s))

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _refusal(self, upload: Upload, refused: RefusedError, start_s: float) -> DemoError:
        name, reason = upload.name, refused.reason
        what, wanted = _WANTED[upload.kind]
        if reason in (RefusalReason.NOT_MEDIA, RefusalReason.NO_VIDEO):
            return WrongTypeError(f"{name} is not {what} that can be read: give {wanted}")
        if reason == RefusalReason.TIMEOUT:
            return DemoError(f"{name} took more than {self._limits.open_s:g} s to open: give a shorter or smaller one")
        if reason == RefusalReason.MEMORY:
            return TooLargeError(f"{name} needs more than {self._limits.open_memory_mb} MB to open: scale it down")
        if reason == RefusalReason.TOO_LARGE:
            return TooLargeError(refused.detail)
        if reason == RefusalReason.TROUBLE:
            return DemoError(f"{name} could not be read on this machine ({refused.detail}): try again")
        if reason == RefusalReason.TOO_SHORT:
            return DemoError(f"start_s {start_s:g} lies beyond the end of {name}, {refused.detail}: start earlier")
        return DemoError(f"{name} is damaged or of a kind that cannot be read: give {wanted}")


def _picture_in(answer: Answer) -> Seen:
    return Seen(_pictures_in(answer, most=1))


def _frames_in(answer: Answer) -> Seen:
    pictures, facts = _pictures_in(answer, most=MAX_FRAMES), answer[0]
    times_s: Any = facts.get("times_s")
    left_s: Any = facts.get("left_s")
    why: Any = facts.get("why")
    if why is not None and type(why) is not str:
        raise MalformedError("no word on why it cannot be written")
    if type(times_s) is not list or len(times_s) != len(pictures):
        raise MalformedError("pictures without their times")
    if any(type(time_s) not in (int, float) or not 0.0 <= time_s <= MAX_START_S for time_s in [*times_s, left_s]):
        raise MalformedError("times that cannot be")
    no_video = None if why is None else one_line(why)
    return Seen(pictures, [float(time_s) for time_s in times_s], float(left_s), no_video)


def _samples_in(answer: Answer) -> Heard:
    facts, arrays = answer
    rate_hz: Any = facts.get("rate_hz")
    depth: Any = facts.get("depth")
    if type(rate_hz) is not int or rate_hz not in _RATES_HZ or type(depth) is not str:
        raise MalformedError("no rate or depth that can be")
    if len(arrays) != 1 or arrays[0].dtype != np.float64 or arrays[0].ndim != 2 or not arrays[0].size:
        raise MalformedError("what is no sound")
    if len(arrays[0]) > _MAX_CHANNELS or not np.isfinite(arrays[0]).all():
        raise MalformedError("a sound that cannot be")
    return Heard(arrays[0], rate_hz, one_line(depth))


def _why_not_in(answer: Answer) -> str | None:
    written: Any = answer[0].get("written")
    why: Any = answer[0].get("why")
    if type(written) is not bool or (not written and type(why) is not str):
        raise MalformedError("no word on whether it is written")
    return None if written else one_line(why)


def _pictures_in(answer: Answer, most: int) -> list[np.ndarray]:
    """The pictures (H, W, 3) uint8 of an answer, at least one."""
    pictures = answer[1]
    if not 1 <= len(pictures) <= most:
        raise MalformedError(f"{len(pictures)} pictures")
    for picture in pictures:
        if picture.shape[2:] != (3,) or picture.dtype != np.uint8 or not picture.size:
            raise MalformedError("what is no picture")
    return pictures
