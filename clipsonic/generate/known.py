"""What the bundled CLIP knows, and one sentence for a prompt that lies outside of it.

Its words are data that lie beside it (`words.json`, by scripts/bundle_pipeline.py). A text is known if it names one of
the things in there: cosines cannot tell, for the small text encoder puts words
that it never read among those it knows (20 odd texts lay 0.61 to 0.75 from the bank, held-out captions from 0.59 up).
Pictures can: of 116 held-out soundstage pictures 99 % have a cosine of 0.797 or more to the nearest of the bank, ten
frames of real videos 0.753 at most, noise, rings and flat grey 0.57.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clipsonic.resources import bundled_path

if TYPE_CHECKING:
    from torch import Tensor

    from clipsonic.pipeline import ClipSonicPipeline
    from clipsonic.prior.bank import EmbedBank

NEAR = 0.775
"""Cosine to the nearest picture of the bank, below which a picture is unlike all of them."""


@lru_cache(maxsize=1)
def known_kinds() -> dict[str, dict[str, Any]]:
    """By the name of each kind of thing its `family`, its `verb`, and its nouns: `one`, `a` (with article), `many`."""
    kinds: dict[str, dict[str, Any]] = json.loads(bundled_path("priors", "tiny", "words.json").read_text("utf-8"))
    return kinds


def kinds_text() -> str:
    """The things the bundled model knows, by family."""
    families: dict[str, list[str]] = {}
    for kind in known_kinds().values():
        families.setdefault(kind["family"], []).append(" / ".join(kind["one"]))
    return "\n".join(f"{family}: {', '.join(names)}" for family, names in families.items())


def names_a_known_thing(text: str) -> bool:
    """Whether one of the soundstage's nouns, singular or plural, stands in the text as words."""
    return bool(kinds_named_in(text))


def kinds_named_in(text: str) -> list[str]:
    """The kinds of things, one of whose nouns stands in the text; a longer noun is not its parts too."""
    forms = {form: name for name, kind in known_kinds().items() for form in (*kind["one"], *kind["many"])}
    longest_first = sorted(forms, key=len, reverse=True)
    found = re.findall(rf"\b({'|'.join(map(re.escape, longest_first))})\b", text.lower())
    return sorted({forms[noun] for noun in found})


def notice_for(pipeline: ClipSonicPipeline, kind: str, prompt: Any, embeds_SE: Tensor) -> str | None:
    """One sentence where the bundled CLIP has never seen or read the like of this prompt, else None.

    Args:
        embeds_SE: what the sound was made for, as the pipeline's output says.
    """
    if kind in ("audio", "embeds") or not getattr(pipeline.clip, "is_bundled", False):
        return None
    if kind == "text":
        if names_a_known_thing(prompt):
            return None
        count = len(known_kinds())
        what = f"the text {prompt!r} names none of the {count} kinds of things that the bundled CLIP has read of"
    else:
        if pipeline.bank is None or nearest_cosine(pipeline.bank, embeds_SE) >= NEAR:
            return None
        what = f"the {kind} is unlike all pictures that the bundled CLIP has seen"
    return (
        f"note: {what}, so the sound says little (clipsonic generate --list-kinds names them); for other things, train "
        "on a corpus made with clipsonic ingest --clip ViT-L-14:openai"
    )


def nearest_cosine(bank: EmbedBank, embeds_SE: Tensor) -> float:
    """Of these pictures to the nearest of the bank, the mean."""
    return float((embeds_SE.float() @ bank.images.T).amax(dim=1).mean())
