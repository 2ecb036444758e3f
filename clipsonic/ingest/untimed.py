"""When pictures are shown whose container does not say so: AVI with reordered or packed pictures, raw streams.

Guarantee: every picture has its own time, in the order in which the decoder shows them, so none is mistaken for its
neighbour. Price: the pictures up to the last wanted one are decoded once more, without what does not change their
order, about half of the work. Not exact: which time the first picture of an AVI has, within the encoder's delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from clipsonic.ingest.opening import FFMPEG_ERRORS, demuxed, open_media, raise_if_not_its_fault, video_stream

_QUICK = {"skip_loop_filter": "all", "skip_idct": "all"}


def shown_order(path: str | Path, num_packets: int) -> list[int]:
    """The numbers of the picture's packets, in the order in which what they hold is shown; damaged ones are missing.

    A decoder hands a packet's time on to the picture that is made from it: here the time is the packet's number.
    """
    shown: dict[int, None] = {}
    with open_media(path) as container:
        video = video_stream(container)
        assert video is not None
        video.codec_context.options, video.codec_context.thread_count = _QUICK, 1
        number = 0
        try:
            for packet in demuxed(container, video):
                if packet.size:
                    packet.pts = packet.dts = number
                    number += 1
                try:
                    shown.update({frame.pts: None for frame in packet.decode() if frame.pts is not None})
                except FFMPEG_ERRORS as error:
                    raise_if_not_its_fault(error)
                if number > num_packets:
                    break
        except FFMPEG_ERRORS as error:
            raise_if_not_its_fault(error)  # what could be read up to here counts
    return [number for number in shown if number < num_packets]


def times_in_order(
    shown: Sequence[int], told: Mapping[int, int | None], decoded: Mapping[int, int | None], step: int
) -> list[int]:
    """When each of the packets in shown order is shown.

    Args:
        shown: numbers of packets, in the order in which they are shown.
        told: by number, the presentation times that the container does tell.
        decoded: by number, the decoding times.
        step: average distance of pictures.
    """
    known = [(place, time) for place, number in enumerate(shown) if (time := told.get(number)) is not None]
    if known:
        return _filled(known, len(shown), step)
    slots = sorted(time for number in shown if (time := decoded.get(number)) is not None)
    return slots if len(slots) == len(shown) else [place * step for place in range(len(shown))]


def _filled(known: list[tuple[int, int]], count: int, step: int) -> list[int]:
    """The times of all places, from those of some: between two of them evenly, before and behind by `step`."""
    rising = [known[0]]
    for place, time in known[1:]:
        if time > rising[-1][1]:
            rising.append((place, time))
    places, times = zip(*rising, strict=True)
    before = [times[0] - step * (places[0] - place) for place in range(places[0])]
    behind = [times[-1] + step * (place - places[-1]) for place in range(places[-1] + 1, count)]
    between = np.interp(np.arange(places[0], places[-1] + 1), places, times)
    return [*before, *(round(time) for time in between), *behind]


def picture_step(video: av.VideoStream) -> int:
    """Average distance of pictures, in units of the stream's time base."""
    assert video.time_base is not None
    fps = video.average_rate or video.guessed_rate or 25
    return max(1, round(1 / (fps * video.time_base)))
