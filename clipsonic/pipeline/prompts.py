"""What a call of the pipeline asks for: its prompts as a list, its options within their ranges, a generator per sound.

Guarantee: what passes here is possible; what does not is refused in one sentence before a model runs. Price: none,
except for a video, of which the stretch that is looked at is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition, pooled_condition, timed_condition
from clipsonic.seeding import torch_generator
from clipsonic.specs import GLOBAL_TIME_S, CorpusSpec, SegmentSpec

NUM_VIDEO_FRAMES = 4
_ROUNDING_S = 0.003  # containers round times to milliseconds, and ends are told that much late

Embedded = tuple[Tensor, Tensor]
"""What a prompt is to the model: unit vectors (S, E) and their times (S,), in seconds or GLOBAL_TIME_S."""


def the_prompts(**kinds: Any) -> tuple[str, list[Any]]:
    """The one kind that is given, and its prompts as a list.

    Raises:
        UsageError: none or several are given, or an empty one.
    """
    given = [kind for kind, value in kinds.items() if value is not None]
    if len(given) != 1:
        raise UsageError(f"{' and '.join(given) or 'no prompt'} given: give exactly one of {', '.join(kinds)}")
    kind, value = given[0], kinds[given[0]]
    if kind == "embeds":
        value = torch.as_tensor(value)
    prompts = [value] if _is_single(kind, value) else list(value)
    if not prompts or not all(len(prompt) for prompt in prompts if kind in ("text", "frames")):
        raise UsageError(f"{kind} is empty: give at least one prompt, and none that is empty")
    return kind, prompts


def _is_single(kind: str, value: Any) -> bool:
    """Whether `value` is one prompt, not a list of them."""
    if kind == "image":
        return not isinstance(value, list | tuple) and np.ndim(value) != 4
    if kind == "frames":
        return len(value) > 0 and np.ndim(value[0]) == 3
    if kind == "embeds":
        return bool(value.ndim == 1)
    return isinstance(value, str | Path)


def check_options(scale: float, negative_text: str | None, video_tokens: str, output_type: str) -> None:
    """Raises UsageError for an unknown word, a guidance that is not finite, or one that ignores the negative text."""
    if not math.isfinite(scale):
        raise UsageError(f"guidance_scale {scale} must be a finite number: 1 is without guidance, 1.5 to 4 are usual")
    if negative_text is not None and scale == 1.0:
        raise UsageError("negative_text has no effect at guidance_scale 1: give a scale above 1")
    _check_choice("video_tokens", video_tokens, ("timed", "pooled"))
    _check_choice("output_type", output_type, ("np", "pt", "mel"))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{name} {value!r} is unknown: choose one of {', '.join(choices)}")


def samples_of(duration_s: float | None, spec: SegmentSpec) -> int:
    """Audio samples of a sound of this length (default: the segment's).

    Raises:
        UsageError: longer than the segment, or not a sample long.
    """
    if duration_s is None:
        return spec.num_samples
    count = round(duration_s * spec.mel.sample_rate_hz) if math.isfinite(duration_s) else -1
    if not 1 <= count <= spec.num_samples:
        raise UsageError(
            f"duration_s {duration_s:g} must be above 0 and at most the {spec.seconds:g} s that this model makes"
        )
    return count


def generators_for(num_prompts: int, num_sounds: int, given: Any, seed: int) -> list[torch.Generator]:
    """One generator per sound, prompt by prompt: those given, or made from (seed, prompt, sound).

    Raises:
        UsageError: another number of them.
    """
    if num_sounds < 1:
        raise UsageError(f"num_sounds {num_sounds} must be at least 1")
    if given is None:
        return [
            torch_generator(seed, "generate", item, sound) for item in range(num_prompts) for sound in range(num_sounds)
        ]
    generators = [given] * (num_prompts * num_sounds) if isinstance(given, torch.Generator) else list(given)
    if len(generators) != num_prompts * num_sounds:
        raise UsageError(
            f"{len(generators)} generators for {num_prompts} prompts of {num_sounds} sounds: give one per sound"
        )
    return generators


def as_numpy(values: Tensor | None) -> Any:
    """The same numbers as an array, or None."""
    return None if values is None else values.cpu().numpy()


def as_it_is(values: Tensor | None) -> Any:
    """The tensor itself."""
    return values


def child_generator(generator: torch.Generator) -> torch.Generator:
    """A generator on the CPU, seeded by one draw from a generator on any device."""
    draw = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(draw))


def embed(
    kind: str,
    prompts: Sequence[Any],
    clip: ClipEmbedder | None,
    spec: SegmentSpec,
    start_s: float = 0.0,
    frame_times_s: Sequence[float] | None = None,
) -> list[Embedded]:
    """What each prompt is to the model; ready embeddings need no CLIP.

    Raises:
        UsageError: a video that cannot be looked at, or embeddings or times that do not fit.
    """
    if kind == "embeds":
        return [_ready(embeds, spec, frame_times_s) for embeds in prompts]
    assert clip is not None
    if kind == "text":
        return [timeless(vector_E) for vector_E in torch.from_numpy(clip.embed_texts(prompts))]
    if kind == "video":
        looked = [look_at_video(path, start_s, spec.seconds) for path in prompts]
    elif kind == "frames":
        looked = [(list(pictures), _frame_times(len(pictures), spec, frame_times_s)) for pictures in prompts]
    else:
        looked = [([picture], [GLOBAL_TIME_S]) for picture in prompts]
    vectors = torch.from_numpy(clip.embed_pictures([picture for pictures, _ in looked for picture in pictures]))
    parts = torch.split(vectors, [len(pictures) for pictures, _ in looked])
    return [(embeds_SE, torch.tensor(times_s)) for embeds_SE, (_, times_s) in zip(parts, looked, strict=True)]


def timeless(vector_E: Tensor) -> Embedded:
    """One embedding that holds for the whole segment."""
    return vector_E[None], torch.tensor([GLOBAL_TIME_S])


def _ready(embeds: Any, spec: SegmentSpec, frame_times_s: Sequence[float] | None) -> Embedded:
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
    return timeless(unit) if unit.ndim == 1 else (unit, torch.tensor(_frame_times(len(unit), spec, frame_times_s)))


def _frame_times(count: int, spec: SegmentSpec, given: Sequence[float] | None) -> list[float]:
    """Seconds from the segment's start: those given, or bin centres."""
    times_s = CorpusSpec.frame_times_s(spec.seconds, count) if given is None else given
    if len(times_s) != count or not all(0.0 <= time_s <= spec.seconds for time_s in times_s):
        raise UsageError(
            f"frame_times_s {list(times_s)} must be {count} times between 0 and {spec.seconds:g} s, one per frame"
        )
    return [float(time_s) for time_s in times_s]


def condition_of(embedded: Sequence[Embedded], *, pooled: bool = False) -> Condition:
    """One item per prompt, padded to the longest; frames as timed tokens or, `pooled`, as their mean."""
    items = []
    for embeds_SE, times_S in embedded:
        mean = pooled and len(times_S) > 1
        items.append(pooled_condition(embeds_SE[None]) if mean else timed_condition(embeds_SE[None], times_S[None]))
    return Condition.cat(items)


def look_at_video(path: str | Path, start_s: float, seconds: float) -> tuple[list[np.ndarray], list[float]]:
    """Four frames at the bin centres of a video's segment, and their times in it; a shorter rest is all looked at.

    Raises:
        UsageError: no such file, no video, or it ends before `start_s`.
    """
    from clipsonic.ingest.decode import frames_at
    from clipsonic.ingest.quarantine import RefusedError

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
    from clipsonic.ingest.quarantine import RefusedError

    if not Path(path).is_file():
        raise UsageError(f"video {path} does not exist: give the path of a video file")
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
