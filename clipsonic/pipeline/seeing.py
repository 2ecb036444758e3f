"""What a pipeline sees of its prompts: their embeddings, and texts closed to pictures.

Guarantee: CLIP, prior and bank are loaded only for the prompts that need them; what was embedded before is remembered,
and equals what would be made now bit for bit: a prior's answer is remembered with its texts and seeds together.
Price: none beyond that of the parts.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clipsonic.models.conditioner import Condition
from clipsonic.pipeline import prompts as asked
from clipsonic.pipeline.embedding import Seen, condition_of, embed, timeless
from clipsonic.pipeline.memory import Memory
from clipsonic.pipeline.parts import WithParts
from clipsonic.pipeline.timeline import Timeline
from clipsonic.prior.closers import make_closer


class SeesPrompts(WithParts):
    """The way from prompts to conditions, for a class that has the parts and a `_memory` of its own."""

    _memory: Memory

    def _embed(
        self,
        kind: str,
        prompts: Sequence[Any],
        timeline: Timeline,
        start_s: float = 0.0,
        frame_times_s: Sequence[float] | None = None,
    ) -> list[Seen]:
        """What each prompt is to the model; CLIP is loaded only where it is needed."""
        return embed(kind, prompts, lambda: self.clip, self.segment, timeline, self._memory, start_s, frame_times_s)

    def _away(
        self,
        condition: Condition,
        negative_text: str | None,
        closer: str,
        generators: list[torch.Generator],
        timeline: Timeline,
    ) -> Condition:
        """What guidance moves away from, an item for each of the condition's."""
        if negative_text is None:
            return condition.null_like()
        negative = self._embed("text", [negative_text], timeline) * len(generators)
        captions = [negative_text] * len(generators)
        return condition_of(self._close(closer, captions, negative, generators), len(timeline.starts))

    def _close(
        self, closer: str, captions: list[str], texts: list[Seen], generators: list[torch.Generator]
    ) -> list[Seen]:
        """Picture embeddings for captions and their embeddings, one by one from their own generators."""
        prior, bank = self._closing_parts(closer)
        texts_NE = torch.cat([text_1E for ((text_1E, _),) in texts])
        seeds = [asked.child_seed(generator) for generator in generators]

        def made() -> Tensor:
            close = make_closer(closer, prior, bank, self._encodings(closer, captions))
            return close(texts_NE, [torch.Generator().manual_seed(seed) for seed in seeds]).cpu()

        key = ("closed", prior and weakref.ref(prior), tuple(captions), texts_NE.numpy().tobytes(), tuple(seeds))
        closed_NE = self._memory.recall(key, made) if closer == "prior" else made()
        return [[timeless(closed_E)] for closed_E in closed_NE]
