"""A published vocoder as one of ours: its network, the mel space that it was trained in, and the folder it is saved in.

Guarantee: what comes out is the publisher's network's own answer, cut to `spec.num_samples(F)` and clamped to [-1, 1];
saved and loaded it gives the same wave. Price: on a CPU one sound after the other, so that memory is that of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipsonic.audio.spaces import describe
from clipsonic.audio.weights import State
from clipsonic.errors import SpecError
from clipsonic.files import write_json, write_whole
from clipsonic.settings import Kind
from clipsonic.specs import MelSpec

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "card.md"


class Family(Protocol):
    """What is to be known of one kind of published vocoder; each is a module of this folder."""

    NAME: str
    CONFIG_FILE: str
    WEIGHT_FILES: tuple[str, ...]
    INSIDE: str | None
    SETTINGS: dict[str, Kind]

    def recognises(self, config: dict[str, Any]) -> bool:
        """Whether a publisher's config is of this family."""

    def mel_space(self, config: dict[str, Any]) -> MelSpec:
        """The mel space that a publisher's config says or implies."""

    def network_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """What makes the network, of a publisher's config, as plain values."""

    def geometry(self, network_config: dict[str, Any]) -> tuple[int, int]:
        """Samples per column and mels that such a network is for."""

    def network(self, network_config: dict[str, Any], spec: MelSpec) -> nn.Module:
        """The network (B, M, F) of this mel space to (B, T), without weights, on the device meta."""

    def own_state(self, state: State, spec: MelSpec) -> tuple[State, int]:
        """Publisher's keys (weight norm resolved) as the network's own; how many were compared with the spec."""


@dataclass(frozen=True)
class Provenance:
    """Where weights came from, for cards and messages.

    Args:
        source: name of the folder or hub id.
        weights_file: its weight file.
        num_read: tensors in it.
        num_weight_norms: pairs resolved into one weight.
        num_compared: tensors that follow from the mel space and were compared with it.
    """

    source: str = ""
    weights_file: str = ""
    num_read: int = 0
    num_weight_norms: int = 0
    num_compared: int = 0


@dataclass(frozen=True)
class Published:
    """What a vocoder is, besides its weights.

    Args:
        family: name of its family.
        spec: its mel space.
        network: what makes its network.
        provenance: where it came from.
    """

    family: str
    spec: MelSpec
    network: dict[str, Any]
    provenance: Provenance = field(default_factory=Provenance)


class PublishedVocoder(nn.Module):
    """Log-mels of one published mel space to waves.

    Args:
        facts: what it is.
        network: its network with weights, (B, M, F) to at least `spec.num_samples(F)` samples.
    """

    def __init__(self, facts: Published, network: nn.Module) -> None:
        super().__init__()
        self.facts = facts
        self.spec = facts.spec
        self.network = network
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, M, F) of its space to waves (B, T) float32 in [-1, 1], T = spec.num_samples(F).

        Raises:
            SpecError: not (B, M, F), or no sample long.
        """
        count, least = self.spec.num_samples(log_mel.shape[-1]), self.spec.enough_mel_frames(1)
        if log_mel.ndim != 3 or log_mel.shape[1] != self.spec.num_mels or log_mel.shape[2] < least:
            raise SpecError(
                f"log-mel of shape {tuple(log_mel.shape)} must be (B, {self.spec.num_mels}, F) with at least "
                f"{least} columns: give mels of this vocoder's space"
            )
        parts = log_mel.float().split(1 if log_mel.device.type == "cpu" else max(1, len(log_mel)))
        waves = [self.network(part)[:, :count].clamp(-1.0, 1.0) for part in parts if len(part)]
        return torch.cat(waves) if waves else log_mel.new_zeros(0, count, dtype=torch.float32)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and card.md, each whole."""
        from safetensors.torch import save

        target, facts = Path(folder), self.facts
        state = {key: value.contiguous().cpu() for key, value in self.network.state_dict().items()}
        write_whole(target / WEIGHTS_FILE, save(state, metadata={"format": "pt"}))
        write_whole(target / CARD_FILE, self.card())
        write_json(
            target / CONFIG_FILE,
            {
                "family": facts.family,
                "mel": facts.spec.to_dict(),
                "network": facts.network,
                "provenance": dict(vars(facts.provenance)),
            },
        )

    def card(self) -> str:
        """What it is and where it came from, in Markdown."""
        count = sum(value.numel() for value in self.network.state_dict().values())
        origin = self.facts.provenance
        return (
            f"# A published vocoder: {self.facts.family}\n\n"
            f"- mel space: {describe(self.spec)}\n"
            f"- {count / 1e6:.1f} M numbers in float32, as published (weight norm resolved)\n"
            f"- from: {origin.source}, file {origin.weights_file}; {origin.num_read} tensors read, "
            f"{origin.num_weight_norms} weight norms resolved, {origin.num_compared} compared with the mel space\n"
            "- licence: the publisher's; see where it was taken from\n\n"
            "Use: `clipsonic generate --vocoder FOLDER ...` with a pipeline of this mel space.\n"
        )
