"""What prompts are to the model: unit vectors with times, for every window of a sound.

Guarantee: a window of a long sound sees what it would see alone: the frames of its own seconds, at times counted from
its start; a text or a picture holds for all windows. Each prompt (and each window of a video) goes
through CLIP by itself, so it does not depend on its neighbours and is remembered. Price: CLIP sees small batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition, pooled_condition, timed_condition
from clipsonic.pipeline.memory import Memory, content_of
from clipsonic.pipeline.timeline import Timeline
from clipsonic.pipeline.videos import look_at_video, look_through_video
from clipsonic.specs import GLOBAL_TIME_S, CorpusSpec, SegmentSpec

Embedded = tuple[Tensor, Tensor]
"""What a window sees: unit vectors (S, E) and their times (S,), in seconds from its start or GLOBAL_TIME_S."""
Seen = list[Embedded]
"""What a sound is made for: one for each window, or a single one that holds for all of them."""


def embed(
    kind: str,
    prompts: Sequence[Any],
    get_clip: Callable[[], ClipEmbedder],
    spec: SegmentSpec,
    timeline: Timeline,
    memory: Memory,
    start_s: float = 0.0,
    frame_times_s: Sequence[float] | None = None,
) -> list[Seen]:
    """What the sounds of each prompt are made for; ready embeddings need no CLIP, so it is not asked for.

    Raises:
        UsageError: a video that cannot be looked at, or embeddings or times that do not fit.
    """
    if kind == "embeds":
        return [_in_windows(_ready(embeds, spec, timeline, frame_times_s), spec, timeline) for embeds in prompts]
    clip = get_clip()
    if kind == "text":
        return [[timeless(_text(text, clip, memory))] for text in prompts]
    if kind == "image":
        return [[timeless(_pictures([picture], clip, memory)[0])] for picture in prompts]
    if kind == "video":
        looked = (_looks(path, start_s, spec, timeline) for path in prompts)
        return [[(_pictures(shown, clip, memory), torch.tensor(times)) for shown, times in looks] for looks in looked]
    return [
        _in_windows(
            (_pictures(pictures, clip, memory), _frame_times(len(pictures), timeline, frame_times_s)), spec, timeline
        )
        for pictures in prompts
    ]


def timeless(vector_E: Tensor) -> Embedded:
    """One embedding that holds for all the time."""
    return vector_E[None], torch.tensor([GLOBAL_TIME_S])


def condition_of(sounds: Sequence[Seen], num_windows: int = 1, *, pooled: bool = False) -> Condition:
    """One item per window, sound by sound, padded to the longest.

    Args:
        num_windows: of each sound.
        pooled: whether the frames of a window are timed tokens or their mean.
    """
    items = []
    for seen in sounds:
        parts = [_item(embeds_SE, times_S, pooled) for embeds_SE, times_S in seen]
        items += parts if len(parts) == num_windows else parts * num_windows
    return Condition.cat(items)


def embeds_of(seen: Seen) -> Tensor:
    """All the vectors (S, E) that a sound was made for, one row for each frame."""
    return seen[0][0] if len(seen) == 1 else torch.cat([embeds_SE for embeds_SE, _ in seen])


def _item(embeds_SE: Tensor, times_S: Tensor, pooled: bool) -> Condition:
    if pooled and len(times_S) > 1:
        return pooled_condition(embeds_SE[None])
    return timed_condition(embeds_SE[None], times_S[None])


def _text(text: str, clip: ClipEmbedder, memory: Memory) -> Tensor:
    key = ("text", text, clip.fingerprint, _device_of(clip))
    return memory.recall(key, lambda: torch.from_numpy(clip.embed_texts([text]))[0])


def _pictures(pictures: Sequence[Any], clip: ClipEmbedder, memory: Memory) -> Tensor:
    """(S, E), embedded in one batch."""
    key = ("pictures", content_of(pictures), clip.fingerprint, _device_of(clip))
    return memory.recall(key, lambda: torch.from_numpy(clip.embed_pictures(list(pictures))))


def _device_of(clip: ClipEmbedder) -> str:
    """Devices round differently, so each has its own answers."""
    return str(getattr(clip, "device", ""))


def _looks(path: Any, start_s: float, spec: SegmentSpec, timeline: Timeline) -> Iterator[tuple[Any, Any]]:
    """(pictures, times) of each window of a video."""
    if len(timeline.starts) == 1:
        yield look_at_video(path, start_s, spec.seconds)
    else:
        yield from look_through_video(path, start_s, timeline.starts_s, spec.seconds)


def _in_windows(whole: Embedded, spec: SegmentSpec, timeline: Timeline) -> Seen:
    """The frames of each window, at their times in it; a window without a frame sees the nearest, all the time."""
    embeds_SE, times_S = whole
    if len(timeline.starts) == 1 or bool((times_S == GLOBAL_TIME_S).all()):
        return [whole]
    seen = []
    for start_s in timeline.starts_s:
        inside_S = (times_S >= start_s) & (times_S < start_s + spec.seconds)
        nearest = int((times_S - start_s - spec.seconds / 2).abs().argmin())
        found = bool(inside_S.any())
        seen.append((embeds_SE[inside_S], times_S[inside_S] - start_s) if found else timeless(embeds_SE[nearest]))
    return seen


def _ready(embeds: Any, spec: SegmentSpec, timeline: Timeline, frame_times_s: Sequence[float] | None) -> Embedded:
    """Ready embeddings (E,) or (S, E), made unit vectors, float32 on the CPU."""
    values = embeds.detach().cpu().float()
    if values.ndim > 2 or not values.numel() or values.shape[-1] != spec.embed_width:
        raise UsageError(
            f"an embedding of shape {tuple(values.shape)} must be ({spec.embed_width},), or (S, {spec.embed_width}) "
            f"for the frames of a segment: embed with the CLIP {spec.fingerprint}"
        )
    if not bool(torch.isfinite(values).all()) or not bool(values.any(-1).all()):
        raise UsageError("an embedding holds a value that is not finite, or is all zeros: give CLIP embeddings")
    unit = functional.normalize(values, dim=-1)
    return timeless(unit) if unit.ndim == 1 else (unit, _frame_times(len(unit), timeline, frame_times_s))


def _frame_times(count: int, timeline: Timeline, given: Sequence[float] | None) -> Tensor:
    """Seconds from the sound's start (S,): those given, or bin centres."""
    times_s = CorpusSpec.frame_times_s(timeline.seconds, count) if given is None else given
    if len(times_s) != count or not all(0.0 <= time_s <= timeline.seconds for time_s in times_s):
        raise UsageError(
            f"frame_times_s {list(times_s)} must be {count} times between 0 and {timeline.seconds:g} s, one per frame"
        )
    return torch.tensor([float(time_s) for time_s in times_s])
