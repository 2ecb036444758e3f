"""One sentence for a video that breaks off before the end that its header promises.

Guarantee: the end told is that of the pictures that are there. Price: a pass over the packets, a millisecond per few
seconds of video. Not exact: a container that promises no length (a transport stream, a recording that was never
closed) is taken as it is.
"""

from __future__ import annotations

from pathlib import Path

from clipsonic.ingest.probe import probe
from clipsonic.ingest.quarantine import RefusedError

_MISSING_S = 0.5


def damage_of(path: str | Path) -> str | None:
    """What to tell of the video, None where nothing is missing or nothing can be read."""
    try:
        media = probe(path, needs_sound=False)
    except RefusedError:
        return None
    if media.promised_s - media.picture_end_s < _MISSING_S:
        return None
    return (
        f"the video is damaged after {media.picture_end_s:.2f} s (its header promises {media.promised_s:.2f} s): "
        "what lies behind is not looked at"
    )
