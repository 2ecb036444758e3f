"""What a call of the pipeline asks for: its prompts as a list, its options within their ranges, a generator per sound.

Guarantee: what passes here is possible; what does not is refused in one sentence before a model runs. Price: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipsonic.errors import UsageError
from clipsonic.pipeline.videos import seconds_left
from clipsonic.seeding import torch_generator
from clipsonic.text import check_text

__all__ = [
    "as_it_is",
    "as_numpy",
    "check_options",
    "child_seed",
    "generators_for",
    "seconds_left",
    "the_prompts",
]


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


def child_seed(generator: torch.Generator) -> int:
    """The seed of another generator, by one draw from this one, on any device."""
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
