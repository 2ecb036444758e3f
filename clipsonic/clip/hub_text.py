"""Tokenizers and text towers that a CLIP's config names on a model hub: read as data, never with code of their authors.

Guarantee: a repository that brings code of its own is refused and its code does not run, whatever its files say; token
numbers are those of open_clip's own wrapper, which asks transformers for a method that it no longer has. Price:
importing transformers takes seconds, so import this module late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from clipsonic.errors import CheckpointError, first_line

TEXT_MODELS = ("bert", "roberta", "xlm-roberta", "mt5", "m2m_100")
"""Kinds of text towers that open_clip knows how to use."""
_MAY_RUN = ("auto_map", "attn_implementation", "experts_implementation", "quantization_config")
"""Parts of names in a tower's config by which transformers would load code, or packages, that its author chose."""
_OWN_WAYS = (None, False, True, "eager", "sdpa")
"""What may stand there: nothing, a note of the writer's, or torch's own attention."""


class HubTokenizer:
    """Captions to token numbers, as `open_clip.tokenizer.HFTokenizer`.

    Args:
        name: of the hub, checked.
        context_length: tokens of a row.
        clean: what is done to a caption before.
        strip_sep_token: whether the separator becomes 0.
        language: code of the captions' language, for tokenizers that mark it.

    Raises:
        CheckpointError: it cannot be had, or would need code of its author.
    """

    def __init__(
        self,
        name: str,
        context_length: int,
        clean: Callable[[str], str],
        strip_sep_token: bool = False,
        language: str | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError, ImportError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(
                f"tokenizer {name} cannot be used ({first_line(error)}): download it once with a network, or give a "
                "CLIP whose tokenizer needs no code of its own"
            ) from None
        if language is not None and callable(mark := getattr(self.tokenizer, "set_src_lang_special_tokens", None)):
            mark(language)
        self.context_length, self._clean, self._strips = context_length, clean, strip_sep_token

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """(N, context_length) int64; a longer caption is cut."""
        ids: torch.Tensor = self.tokenizer(
            [self._clean(text) for text in texts],
            return_tensors="pt",
            max_length=self.context_length,
            padding="max_length",
            truncation=True,
        ).input_ids
        return ids.masked_fill(ids == self.tokenizer.sep_token_id, 0) if self._strips else ids


def check_text_model(name: str) -> None:
    """Refuse a text tower of the hub that is of no known kind, before a library reads its config.

    Raises:
        CheckpointError: it cannot be had, is of another kind, or would have code loaded.
    """
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"text model {name} cannot be had ({first_line(error)}): its config is needed, download it once with a "
            "network"
        ) from None
    if (kind := config.get("model_type")) not in TEXT_MODELS:
        raise CheckpointError(
            f"text model {name} is of type {kind!r}: only {', '.join(TEXT_MODELS)} are loaded, give another CLIP"
        )
    wanted = {key: value for key, value in config.items() if any(part in key for part in _MAY_RUN)}
    if unsafe := [key for key, value in wanted.items() if value not in _OWN_WAYS]:
        raise CheckpointError(
            f"text model {name} has {unsafe[0]} in its config, by which code of its author's choice would run: "
            "give another CLIP"
        )
