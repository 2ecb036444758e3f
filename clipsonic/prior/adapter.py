"""TextPrior: one call from CLIP text embeddings to CLIP image embeddings, whatever diffusion prior stands behind it.

Guarantee: unit vectors in and out, a generator per item, batch equals single, nothing global is read or changed. Its
folder's `prior_config.json` is read before a network is built, has a known kind, a shape that can exist and a CLIP
space, and is written last, so a folder with a config is complete.
Price: building a prior imports its package, which takes seconds, so it happens then, not when this module is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from clipsonic.errors import CheckpointError, FingerprintError, SpecError, UsageError
from clipsonic.files import write_json, write_whole
from clipsonic.prior.core import ItemNoise, PriorCore, Spoken
from clipsonic.prior.dalle2 import Dalle2Core, LaionShape, PriorShape
from clipsonic.prior.shapes import UnclipShape
from clipsonic.weights import load_strictly, read_weights, save_exactly, save_weights

if TYPE_CHECKING:
    from clipsonic.clip.embedder import ClipEmbedder

__all__ = [
    "CARD_FILE", "CONFIG_FILE", "KINDS", "WEIGHTS_FILE", "PriorFacts", "PriorShape", "Shape", "TextPrior", "is_ours",
    "read_facts",
]  # fmt: skip

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


class TextPrior:
    """A diffusion prior for one CLIP space.

    Args:
        shape: what to build, of any kind; the weights come from torch's current random state.
        fingerprint: the CLIP space it lives in.
        kind: whose it is, one of KINDS.
        card: text of card.md, kept when saved again.
        means: mean text and mean picture (E,) of the pairs it learned from, not unit vectors.
        sample_steps: network calls of a sample, where not all timesteps (ours) or as the publisher has it.
    """

    def __init__(
        self,
        shape: Shape,
        fingerprint: str,
        *,
        kind: str = "ours",
        card: str | None = None,
        means: tuple[torch.Tensor, torch.Tensor] | None = None,
        sample_steps: int | None = None,
    ) -> None:
        self.shape = shape
        self.fingerprint = fingerprint
        self.kind = kind
        self.card = card
        self.means = means
        self.core = _core_of(shape)
        self.stored_type = torch.float16  # ours; a published one is stored again as it came
        self.sample_steps = sample_steps
        if sample_steps is not None:
            self.core.check(sample_steps, self.core.default_guidance)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = next(self.core.network.parameters()).device
        return device

    def to(self, device: str | torch.device) -> Self:
        """Move the network; returns self."""
        self.core.whole.to(device)
        return self

    def check_space(self, fingerprint: str) -> None:
        """Raises FingerprintError where `fingerprint` names another space than the prior's."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"the prior lives in CLIP space {self.fingerprint}, the texts in {fingerprint}: "
                "use a prior trained in the same space (clipsonic train --config prior)"
            )

    def encodings_of(self, clip: ClipEmbedder, captions: Sequence[str]) -> Spoken | None:
        """What this prior must know of captions beyond their embeddings, or None for one that needs no more.

        Raises:
            FingerprintError: another CLIP than the prior's.
            UsageError: a CLIP whose text tower has no token states.
        """
        if not self.core.reads_tokens:
            return None
        self.check_space(clip.fingerprint)
        said = clip.encode_texts(["", *captions])
        return Spoken(said.rows(slice(1, None)), said.rows(slice(0, 1)))

    @torch.no_grad()
    def __call__(
        self,
        text_embeds: torch.Tensor | np.ndarray,
        generators: Sequence[torch.Generator] | torch.Generator,
        num_candidates: int = 2,
        steps: int | None = None,
        *,
        guidance: float | None = None,
        encodings: Spoken | None = None,
    ) -> torch.Tensor:
        """Image embeddings that could belong to these texts.

        Args:
            text_embeds: (N, E) unit vectors.
            generators: one per text, or a single one that serves all texts in turn; on the CPU.
            num_candidates: drawn per text; the one nearest to its text is kept.
            steps: network calls; default `sample_steps`, else all timesteps (ancestral sampling) or the publisher's;
                fewer (at least 2) use the DDIM grid.
            guidance: classifier-free; default the publisher's, 1 is without.
            encodings: of these texts, from `encodings_of`; only for a prior that reads tokens.

        Returns:
            (N, E) unit vectors, float32, on the prior's device.

        Raises:
            UsageError: another width, counts that do not fit, missing encodings, or steps or guidance out of range.
        """
        texts = torch.as_tensor(text_embeds, dtype=torch.float32, device=self.device)
        own = [generators] * len(texts) if isinstance(generators, torch.Generator) else list(generators)
        self._check_call(texts, own, num_candidates, encodings)
        steps = (self.sample_steps or self.core.default_steps) if steps is None else steps
        guidance = self.core.default_guidance if guidance is None else guidance
        self.core.check(steps, guidance)
        if not len(texts):
            return texts
        spoken = None if encodings is None else encodings.repeated(num_candidates).to(self.device)
        noise = ItemNoise(own, num_candidates, self.device)
        drawn = self.core.sample(texts.repeat_interleave(num_candidates, 0), spoken, noise, steps, guidance)
        candidates = torch.nn.functional.normalize(drawn, dim=-1).view(len(texts), num_candidates, -1)
        best = torch.einsum("nce,ne->nc", candidates, texts).argmax(1)
        return candidates[torch.arange(len(texts), device=self.device), best]

    def _check_call(
        self, texts: torch.Tensor, own: list[torch.Generator], num_candidates: int, encodings: Spoken | None
    ) -> None:
        if texts.ndim != 2 or texts.shape[1] != self.core.width:
            raise UsageError(
                f"text embeddings of shape {tuple(texts.shape)} do not fit a prior of (N, {self.core.width})"
            )
        if len(own) != len(texts) or num_candidates < 1:
            raise UsageError(f"{len(texts)} texts need as many generators (got {len(own)}) and at least 1 candidate")
        if self.core.reads_tokens and (encodings is None or len(encodings.captions) != len(texts)):
            raise UsageError(
                f"a {self.kind} prior reads the tokens of its {len(texts)} captions: give encodings of as many, "
                "from prior.encodings_of(clip, captions)"
            )

    def loss(
        self, text_embeds: torch.Tensor, image_embeds: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Squared error (B,) of each predicted image embedding, scaled by sqrt(E) as dalle2-pytorch does; ours only.

        Args:
            text_embeds, image_embeds: (B, E) unit vectors.
            timesteps: (B,) int64 in [0, num_timesteps).
            noise: (B, E) standard normal.
        """
        assert isinstance(self.core, Dalle2Core)
        return self.core.loss(text_embeds, image_embeds, timesteps, noise)

    def save(self, folder: str | Path) -> None:
        """Write the folder that `from_folder` reads, ours in float16, a published one as it came; the config last."""
        folder = Path(folder)
        save_state(folder / WEIGHTS_FILE, self.core.network.state_dict(), self.stored_type)
        if self.card is not None:
            write_whole(folder / CARD_FILE, self.card)
        PriorFacts(self.kind, self.shape, self.fingerprint, self.means, self.sample_steps).write(folder)

    @classmethod
    def from_folder(cls, folder: str | Path, device: str | torch.device = "cpu") -> Self:
        """Read a saved or converted prior.

        Raises:
            CheckpointError: missing, damaged, or with other keys than its config says.
        """
        folder = Path(folder)
        facts = read_facts(folder)
        card = folder / CARD_FILE
        with torch.random.fork_rng(devices=[]):
            prior = cls(
                facts.shape,
                facts.fingerprint,
                kind=facts.kind,
                card=card.read_text(encoding="utf-8") if card.is_file() else None,
                means=facts.means,
                sample_steps=facts.sample_steps,
            )
        prior.load_state(read_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
        return prior.to(device)

    def load_state(self, state: dict[str, torch.Tensor], where: Path) -> None:
        """Take these weights, all of them; they are saved again in the type they have.

        Raises:
            CheckpointError: keys or shapes differ; the message lists them.
        """
        load_strictly(self.core.network, state, where)
        self.core.network.eval().requires_grad_(False)
        if self.kind != "ours":
            self.stored_type = next(value.dtype for value in state.values() if value.is_floating_point())


def _core_of(shape: Shape) -> PriorCore:
    if isinstance(shape, PriorShape):
        return Dalle2Core(shape)
    from clipsonic.prior.unclip import UnclipCore

    return UnclipCore(shape)


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
