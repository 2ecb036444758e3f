"""From what a call asks for to what the model sees: prompts checked, embedded, closed to pictures, made conditions.

Guarantee: what passes `the_prompts` and `check_options` is possible, what does not is refused in one sentence before a
model runs. A window of a long sound sees what it would see alone: the frames of its own seconds, at times counted from
its start; a text or a picture holds for all windows. Each prompt (and each window of a video) goes through CLIP by
itself, so it does not depend on its neighbours and is remembered, a prior's answer with its texts and seeds together.
Price: CLIP sees small batches.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from torch import Tensor
from torch.nn import functional

from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition, pooled_condition, timed_condition
from clipsonic.pipeline.denoising import Timeline
from clipsonic.pipeline.parts import Parts, content_of
from clipsonic.pipeline.sounds import is_sounding, listen
from clipsonic.pipeline.videos import look_at_video, look_through_video
from clipsonic.prior.closers import make_closer
from clipsonic.seeding import torch_generator
from clipsonic.specs import GLOBAL_TIME_S, CorpusSpec, SegmentSpec
from clipsonic.text import check_text

Embedded = tuple[Tensor, Tensor]
"""What a window sees: unit vectors (S, E) and their times (S,), in seconds from its start or GLOBAL_TIME_S."""
Seen = list[Embedded]
"""What a sound is made for: one for each window, or a single one that holds for all of them."""


@dataclass
class AudioPipelineOutput(BaseOutput):
    """What a call made.

    Args:
        audios: (N, T) float32 in [-1, 1], T = seconds * rate; None for `output_type="mel"`.
        sample_rate_hz: of the audios.
        mels: (N, M, F) log-mels of the mel space `segment.mel`, float32, of the whole segment, or of a longer sound;
            `segment.mel.db(mels)` are decibels.
        seconds: length of each sound.
        closer: how the gap between text or sound and picture was closed, None where there was none.
        embeds: what the sounds were made for, in the CLIP's picture space: N of (S, E), one row for each frame.
    """

    audios: Any
    sample_rate_hz: int
    mels: Any
    seconds: float
    closer: str | None = None
    embeds: Any = None

    @classmethod
    def of(
        cls, wave_BT: Tensor | None, log_mel_BMF: Tensor, timeline: Timeline, spec: SegmentSpec, closer: str,
        seen: Sequence[Seen], output_type: str,
    ) -> Self:  # fmt: skip
        """Brought to the CPU: as tensors for `pt`, else as arrays."""
        mels, as_tensor, rate_hz = log_mel_BMF.cpu(), output_type == "pt", spec.mel.sample_rate_hz
        return cls(
            audios=wave_BT if as_tensor or wave_BT is None else wave_BT.numpy(),
            sample_rate_hz=rate_hz,
            mels=mels if as_tensor else mels.numpy(),
            seconds=timeline.num_samples / rate_hz,
            closer=None if closer == "none" else closer,
            embeds=[embeds_of(item) for item in seen],
        )


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
    for prompt in prompts if kind == "text" else ():
        check_text(prompt, kind)
    return kind, prompts


def _is_single(kind: str, value: Any) -> bool:
    """Whether `value` is one prompt, not a list of them."""
    if kind == "image":
        return not isinstance(value, list | tuple) and np.ndim(value) != 4
    if kind == "frames":
        return len(value) > 0 and np.ndim(value[0]) == 3
    if kind == "embeds":
        return bool(value.ndim == 1)
    if kind == "audio":
        return is_sounding(value)
    return isinstance(value, str | Path)


def check_options(scale: float, negative_text: str | None, video_tokens: str, output_type: str) -> None:
    """Raises UsageError for an unknown word, or a guidance that ignores the negative text."""
    if negative_text is not None:
        check_text(negative_text, "negative_text")
    if negative_text is not None and scale == 1.0:
        raise UsageError("negative_text has no effect at guidance_scale 1: give a scale above 1")
    _check_choice("video_tokens", video_tokens, ("timed", "pooled"))
    _check_choice("output_type", output_type, ("np", "pt", "mel"))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{name} {value!r} is unknown: choose one of {', '.join(choices)}")


def closers_of(kind: str | None, closer: str, has_text: bool, parts: Parts) -> tuple[str, str]:
    """How the gap of texts is closed, and that of the prompt; `none` where there is none.

    Raises:
        UsageError: an unknown closer, or one that is not for what is given.
    """
    spoken = parts.closer_name(closer) if has_text else "none"
    return spoken, parts.sound_closer(closer, has_text) if kind == "audio" else spoken


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


def embed(
    kind: str,
    prompts: Sequence[Any],
    parts: Parts,
    timeline: Timeline,
    start_s: float = 0.0,
    frame_times_s: Sequence[float] | None = None,
    closer: str = "auto",
) -> list[Seen]:
    """What the sounds of each prompt are made for; only what a kind of prompt needs is loaded for it.

    Args:
        closer: from a sound's embedding to a picture's; a text's are closed by `close`.

    Raises:
        UsageError: a video that cannot be looked at, a sound that cannot be heard, or embeddings or times that do not
            fit.
    """
    spec = parts.spec
    if kind == "embeds":
        return [_in_windows(_ready(embeds, spec, timeline, frame_times_s), spec, timeline) for embeds in prompts]
    if kind == "text":
        return [[timeless(_text(text, parts))] for text in prompts]
    if kind == "image":
        return [[timeless(_pictures([picture], parts)[0])] for picture in prompts]
    if kind == "audio":
        return [_heard(sound, parts, timeline, start_s, parts.sound_closer(closer)) for sound in prompts]
    if kind == "video":
        looked = (_looks(path, start_s, spec, timeline) for path in prompts)
        return [[(_pictures(shown, parts), torch.tensor(times)) for shown, times in looks] for looks in looked]
    return [
        _in_windows((_pictures(pictures, parts), _frame_times(len(pictures), timeline, frame_times_s)), spec, timeline)
        for pictures in prompts
    ]


def timeless(vector_E: Tensor) -> Embedded:
    """One embedding that holds for all the time."""
    return vector_E[None], torch.tensor([GLOBAL_TIME_S])


def close(
    closer: str,
    captions: Sequence[str],
    texts: Sequence[Seen],
    generators: Sequence[torch.Generator],
    parts: Parts,
) -> list[Seen]:
    """Picture embeddings for captions and their embeddings, one by one from their own generators."""
    prior, bank = parts.closing(closer)
    texts_NE = torch.cat([text_1E for ((text_1E, _),) in texts])
    seeds = [child_seed(generator) for generator in generators]

    def made() -> Tensor:
        closed = make_closer(closer, prior, bank, parts.encodings(closer, captions))
        return closed(texts_NE, [torch.Generator().manual_seed(seed) for seed in seeds]).cpu()

    key = ("closed", prior and weakref.ref(prior), tuple(captions), texts_NE.numpy().tobytes(), tuple(seeds))
    closed_NE = parts.memory.recall(key, made) if closer == "prior" else made()
    return [[timeless(closed_E)] for closed_E in closed_NE]


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


def away_from(
    condition: Condition,
    negative_text: str | None,
    closer: str,
    generators: Sequence[torch.Generator],
    parts: Parts,
    timeline: Timeline,
) -> Condition:
    """What guidance moves away from, an item for each of the condition's: nothing, or the negative text."""
    if negative_text is None:
        return condition.null_like()
    negative = embed("text", [negative_text], parts, timeline) * len(generators)
    closed = close(closer, [negative_text] * len(generators), negative, generators, parts)
    return condition_of(closed, len(timeline.starts))


def embeds_of(seen: Seen) -> Tensor:
    """All the vectors (S, E) that a sound was made for, one row for each frame."""
    return seen[0][0] if len(seen) == 1 else torch.cat([embeds_SE for embeds_SE, _ in seen])


def child_seed(generator: torch.Generator) -> int:
    """The seed of another generator, by one draw from this one, on any device."""
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def _item(embeds_SE: Tensor, times_S: Tensor, pooled: bool) -> Condition:
    if pooled and len(times_S) > 1:
        return pooled_condition(embeds_SE[None])
    return timed_condition(embeds_SE[None], times_S[None])


def _text(text: str, parts: Parts) -> Tensor:
    clip = parts.clip
    key = ("text", text, clip.fingerprint, _device_of(clip))
    return parts.memory.recall(key, lambda: torch.from_numpy(clip.embed_texts([text]))[0])


def _pictures(pictures: Sequence[Any], parts: Parts) -> Tensor:
    """(S, E), embedded in one batch."""
    clip = parts.clip
    key = ("pictures", content_of(pictures), clip.fingerprint, _device_of(clip))
    return parts.memory.recall(key, lambda: torch.from_numpy(clip.embed_pictures(list(pictures))))


def _device_of(clip: ClipEmbedder) -> str:
    """Devices round differently, so each has its own answers."""
    return str(getattr(clip, "device", ""))


def _looks(path: Any, start_s: float, spec: SegmentSpec, timeline: Timeline) -> Iterator[tuple[Any, Any]]:
    """(pictures, times) of each window of a video."""
    if timeline.seconds <= spec.seconds:
        yield look_at_video(path, start_s, spec.seconds)
    else:
        yield from look_through_video(path, start_s, timeline.starts_s, spec.seconds)


def _heard(sound: Any, parts: Parts, timeline: Timeline, start_s: float, closer: str) -> Seen:
    """The windows of a sound as pictures; one alone in its window holds for all of it."""
    sounds_WE, times_W = listen(parts.listening, sound, start_s, timeline.seconds)
    pictures_WE = make_closer(closer, bank=parts.bank if closer == "neighbours" else None)(sounds_WE, ())
    seen = _in_windows((pictures_WE, times_W), parts.spec, timeline)
    return [timeless(embeds_SE[0]) if len(times_S) == 1 else (embeds_SE, times_S) for embeds_SE, times_S in seen]


def _in_windows(whole: Embedded, spec: SegmentSpec, timeline: Timeline) -> Seen:
    """The frames of each window, at their times in it; a window without a frame sees the nearest, all the time."""
    embeds_SE, times_S = whole
    if timeline.seconds <= spec.seconds or bool((times_S == GLOBAL_TIME_S).all()):
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
