"""`prior_config.json`: what a prior's folder says of itself, read before a network is built.

Guarantee: a config that is read has a known kind, a shape that can exist and a CLIP space; it is written last, so a
folder with a config is complete. Price: none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clipsonic.clip.weights import save_exactly, save_weights
from clipsonic.errors import CheckpointError, SpecError
from clipsonic.files import write_json
from clipsonic.prior.dalle2 import LaionShape, PriorShape
from clipsonic.prior.shapes import UnclipShape

CONFIG_FILE = "prior_config.json"
WEIGHTS_FILE = "prior.safetensors"
CARD_FILE = "card.md"

Shape = PriorShape | UnclipShape
KINDS: dict[str, type[PriorShape] | type[UnclipShape]] = {
    "ours": PriorShape,
    "laion": LaionShape,
    "karlo": UnclipShape,
    "kandinsky": UnclipShape,
    "eclipse": UnclipShape,
}
"""Whose a prior is, and the shape it has."""


@dataclass(frozen=True, eq=False)
class PriorFacts:
    """All that the config holds; the arguments are those of TextPrior."""

    kind: str
    shape: Shape
    fingerprint: str
    means: tuple[torch.Tensor, torch.Tensor] | None = None
    sample_steps: int | None = None

    def write(self, folder: Path) -> None:
        """Put it into a folder."""
        config: dict[str, Any] = {"shape": asdict(self.shape), "fingerprint": self.fingerprint}
        if self.kind != "ours":
            config = {"kind": self.kind, **config}
        if self.sample_steps is not None:
            config["sample_steps"] = self.sample_steps
        if self.means is not None:
            config["means"] = {
                name: [round(float(value), 6) for value in mean]
                for name, mean in zip(("text", "image"), self.means, strict=True)
            }
        write_json(folder / CONFIG_FILE, config)


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a config as `PriorFacts.write` writes it; a damaged one counts."""
    path = folder / CONFIG_FILE
    return path.is_file() and (folder / WEIGHTS_FILE).is_file() and not list(folder.glob("*.pth"))


def read_facts(folder: Path) -> PriorFacts:
    """The facts of a prior's folder.

    Raises:
        CheckpointError: none there, a publisher's own config, which has no CLIP space, or a damaged one.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} is no prior folder: {CONFIG_FILE} is missing, bring it or train a prior there")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if "prior" in config and "shape" not in config:
            raise CheckpointError(
                f"{path} is its publisher's and names no CLIP space: make a folder of it by clipsonic convert prior"
            )
        return _facts_of(config)
    except (ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): it must hold shape and fingerprint") from None


def _facts_of(config: dict[str, Any]) -> PriorFacts:
    kind, fingerprint, steps = config.get("kind", "ours"), config["fingerprint"], config.get("sample_steps")
    if kind not in KINDS:
        raise ValueError(f"kind {kind} is none of {', '.join(KINDS)}")
    if not isinstance(fingerprint, str):
        raise TypeError("fingerprint is no text")
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"sample_steps {steps} is no number of steps")
    shape = KINDS[kind](**config["shape"])
    means = config.get("means")
    both = None if means is None else (torch.tensor(means["text"]), torch.tensor(means["image"]))
    if both is not None and any(mean.shape != (shape.width,) for mean in both):
        raise ValueError("means of another width than the shape")
    return PriorFacts(kind, shape, fingerprint, both, steps)


def save_state(path: Path, state: Mapping[str, torch.Tensor], stored_type: torch.dtype) -> None:
    """Write a network's weights: ours rounded to float16, a published one in the type it came in."""
    if stored_type == torch.float16:
        save_weights(path, state)
    else:
        save_exactly(path, state, stored_type)
