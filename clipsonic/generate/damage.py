"""One sentence for a video that breaks off before the end that its header promises.

Guarantee: the end told is that of the pictures that are there; a file with all the packets that its header counts is
not called damaged, whatever lengths it tells. Price: a pass over the packets, a millisecond per few seconds of video,
and another one where the end comes early. Not exact: a container that promises no length (a transport stream, a
recording that was never closed), or one length for all streams (ASF), is taken as it is.
"""

from __future__ import annotations

from pathlib import Path

from clipsonic.ingest.opening import FFMPEG_ERRORS, demuxed, open_media, raise_if_not_its_fault, video_stream
from clipsonic.ingest.probe import probe
from clipsonic.refusals import RefusedError

_MISSING_S = 0.5
_PROMISE_FOR_ALL = ("asf",)


def damage_of(path: str | Path) -> str | None:
    """What to tell of the video, None where nothing is missing or nothing can be read."""
    try:
        media = probe(path, needs_sound=False)
    except RefusedError:
        return None
    if media.container in _PROMISE_FOR_ALL or media.promised_s - media.picture_end_s < _MISSING_S or _is_whole(path):
        return None
    return (
        f"the video is damaged after {media.picture_end_s:.2f} s (its header promises {media.promised_s:.2f} s): "
        "what lies behind is not looked at"
    )


def _is_whole(path: str | Path) -> bool:
    """Whether there are as many packets of the picture as the header counts, if it does."""
    count = 0
    with open_media(path) as source:
        picture = video_stream(source)
        if picture is None or not picture.frames:
            return False
        try:
            for packet in demuxed(source, picture):
                count += packet.size > 0
        except FFMPEG_ERRORS as error:
            raise_if_not_its_fault(error)
        return count >= picture.frames
