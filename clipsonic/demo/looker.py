"""Uploads become pictures here, by way of a process that can be killed.

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

from clipsonic.demo.limits import Limits
from clipsonic.demo.refusals import DemoError, TooLargeError, WrongTypeError
from clipsonic.ingest.child import Child, ChildLimits
from clipsonic.ingest.quarantine import RefusalReason, RefusedError

PICTURES, VIDEOS = "a JPEG, PNG, WebP, GIF, TIFF or BMP picture", "an MP4, MOV, WebM, MKV or AVI video"


@dataclass(frozen=True)
class Upload:
    """A file that was sent: where it lies, what its owner calls it, and whether it is an `image` or a `video`."""

    path: Path
    name: str
    kind: str


@dataclass(frozen=True)
class Seen:
    """What an upload shows: pictures (H, W, 3) uint8; of a video their times and what is left of it, in seconds."""

    pictures: Sequence[np.ndarray]
    times_s: Sequence[float] = field(default=())
    left_s: float | None = None


class Looker:
    """The process that opens uploads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        allowed = ChildLimits(limits.open_s, limits.open_memory_mb, file_mb=4 * limits.upload_mb)
        self._child = Child("clipsonic.demo.looking", allowed)

    def look(self, upload: Upload, start_s: float, seconds: float, segment_s: float) -> Seen:
        """The picture of an image, or of the video's seconds from `start_s` four frames for each segment.

        Raises:
            DemoError: it cannot be opened, or takes more than it may.
        """
        try:
            if upload.kind == "image":
                _, pictures = self._child.call("picture", path=str(upload.path), name=upload.name)
                return Seen(_proper(pictures))
            asked = {"path": str(upload.path), "start_s": start_s, "seconds": seconds, "segment_s": segment_s}
            facts, frames = self._child.call("frames", **asked)
            return Seen(_proper(frames), [float(time_s) for time_s in facts["times_s"]], float(facts["left_s"]))
        except RefusedError as refused:
            raise self._refusal(upload, refused, start_s) from None

    def add_sound(self, upload: Upload, sound: Path, out: Path, start_s: float) -> str | None:
        """Write `out` (MP4), the video with this sound; returns why not, or None."""
        arguments: dict[str, Any] = {"path": str(upload.path), "sound": str(sound), "out": str(out)}
        try:
            facts, _ = self._child.call("with_sound", **arguments, start_s=start_s)
        except RefusedError as refused:
            return str(self._refusal(upload, refused, start_s))
        return None if facts["written"] else str(facts["why"])

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _refusal(self, upload: Upload, refused: RefusedError, start_s: float) -> DemoError:
        name, reason = upload.name, refused.reason
        wanted = PICTURES if upload.kind == "image" else VIDEOS
        if reason in (RefusalReason.NOT_MEDIA, RefusalReason.NO_VIDEO):
            what = "a picture" if upload.kind == "image" else "a video"
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


def _proper(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """What comes from the other process is believed only as far as it has the shape of pictures."""
    for picture in pictures:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise RefusedError(RefusalReason.CRASHED, "an answer that is no picture")
    if not pictures:
        raise RefusedError(RefusalReason.CRASHED, "an answer without a picture")
    return pictures
