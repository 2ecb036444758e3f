"""ClipEmbedder: pictures and captions to unit vectors in one named space, whatever CLIP stands behind it.

Guarantee: the same picture or caption gives the same vector in every process that forms its batches alike (another
batch size may differ by float32 rounding); the preprocessing is the model's own, bit for bit open_clip's transform.
Price: the bundled CLIP takes about 1 ms per picture and 1 ms per caption on one core, ViT-L/14 about a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipsonic.clip.encodings import TextEncodings
from clipsonic.errors import UsageError
from clipsonic.files import write_json, write_whole
from clipsonic.resources import bundled_root
from clipsonic.weights import content_hash, save_weights

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MERGES_FILE = "merges.txt.gz"
CARD_FILE = "card.md"

BUNDLED_NOTICE = (
    "the bundled CLIP knows only soundstage pictures: for other videos and pictures "
    "--clip ViT-L-14:openai (downloaded by open_clip, or a local file) is the better choice"
)
"""What ingest says once when the bundled CLIP is used."""

Picture = np.ndarray
"""A picture (H, W, 3), uint8, RGB."""


class ClipEmbedder:
    """A CLIP with its own preprocessing and tokenizer.

    Args:
        model: an open_clip model, in evaluation mode, float32.
        tokenize: captions -> (N, context_length) int64.
        resize: the geometric part of the model's transform, PIL -> PIL of the model's size.
        config: `model_cfg`, `preprocess_cfg` and `architecture`, as saved in `open_clip_config.json`.
        merges: the gzipped BPE merge list, where the vocabulary is the model's own.
        card: text of card.md, kept when saved again.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenize: Callable[[list[str]], torch.Tensor],
        resize: Callable[[Image.Image], Image.Image],
        config: dict[str, Any],
        *,
        merges: bytes | None = None,
        card: str | None = None,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.config = config
        self.merges = merges
        self.card = card
        self.tokenize = tokenize
        self._resize = resize
        preprocess = config["preprocess_cfg"]
        self._moments = {torch.device("cpu"): torch.tensor([preprocess["mean"], preprocess["std"]]).view(2, 1, 3, 1, 1)}
        self.width = int(config["model_cfg"]["embed_dim"])

    @cached_property
    def fingerprint(self) -> str:
        """Architecture and content of the weights; worked out at first use."""
        return f"{self.config['architecture']}/{content_hash(self.model.state_dict())}"

    def weights_changed(self) -> None:
        """Forget the fingerprint and the card of the weights it had before it was trained on."""
        self.__dict__.pop("fingerprint", None)
        self.card = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def to(self, device: str | torch.device) -> ClipEmbedder:
        """Move the model; returns self."""
        self.model.to(device)
        self._moments_on(self.device)
        return self

    @property
    def is_bundled(self) -> bool:
        """Whether these are the weights that come with clipsonic, wherever this copy lies."""
        return self.fingerprint == bundled_fingerprint()

    @property
    def notice(self) -> str | None:
        """A sentence on what this CLIP does not know, or None."""
        return BUNDLED_NOTICE if self.is_bundled else None

    def resized(self, pictures: Sequence[Picture | Image.Image]) -> np.ndarray:
        """Pictures at the model's size: (N, h, w, 3) uint8, RGB."""
        if not len(pictures):
            size = self.config["preprocess_cfg"]["size"]
            height, width = (size, size) if isinstance(size, int) else size
            return np.zeros((0, height, width, 3), np.uint8)
        return np.stack([np.asarray(self._resize(_as_image(picture)).convert("RGB")) for picture in pictures])

    def normalized(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(N, h, w, 3) uint8 at the model's size to the (N, 3, h, w) float32 that the model sees."""
        values = torch.as_tensor(pixels).permute(0, 3, 1, 2).float().div_(255.0)
        mean, std = self._moments_on(values.device)
        return values.sub_(mean).div_(std).contiguous()

    def _moments_on(self, device: torch.device) -> torch.Tensor:
        """Mean and deviation (2, 1, 3, 1, 1) of pixels, brought to a device once."""
        if device not in self._moments:
            self._moments[device] = self._moments[torch.device("cpu")].to(device)
        return self._moments[device]

    def preprocess(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """Pictures (H, W, 3) uint8 RGB of any size to (N, 3, h, w) float32, equal to open_clip's transform."""
        return self.normalized(self.resized(pictures))

    @torch.no_grad()
    def embed_tensor(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w) float32 from `preprocess` to (N, E) unit vectors on the model's device."""
        embeds: torch.Tensor = self.model.encode_image(pixels.to(self.device), normalize=True)
        return embeds.float()

    def embed_pictures(self, pictures: Sequence[Picture], batch_size: int = 64) -> np.ndarray:
        """Pictures (H, W, 3) uint8 RGB to (N, E) float32 unit vectors; on a GPU they get there as bytes."""
        parts = [
            self.embed_tensor(self.normalized(self._sent(self.resized(pictures[start : start + batch_size]))))
            .cpu()
            .numpy()
            for start in range(0, len(pictures), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _sent(self, pixels: np.ndarray) -> torch.Tensor:
        """Bytes on the model's device, by pinned memory to a GPU."""
        sent = torch.from_numpy(pixels)
        return sent.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else sent

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Captions to (N, E) float32 unit vectors; a caption longer than the context is cut."""
        parts = []
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenize(list(texts[start : start + batch_size])).to(self.device)
            parts.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> TextEncodings:
        """What the text tower says of captions, token by token, on the CPU; a longer caption is cut.

        Raises:
            UsageError: a text tower without CLIP's last norm, whose token states no published prior knows.
        """
        tower = getattr(self.model, "text", self.model)
        if not isinstance(getattr(tower, "ln_final", None), torch.nn.Module):
            raise UsageError(
                f"the text tower of {self.config['architecture']} has no token states that a prior could read: "
                "use a CLIP whose text tower is CLIP's own, or --closer neighbours"
            )
        ids = self.tokenize(list(texts)).to(self.device)
        seen: list[torch.Tensor] = []
        hook = tower.ln_final.register_forward_hook(lambda _module, _given, states: seen.append(states))
        try:
            projected = self.model.encode_text(ids, normalize=False).float().cpu()
        finally:
            hook.remove()
        mask = torch.arange(ids.shape[1]) <= ids.argmax(1, keepdim=True).cpu()  # the end token has the highest number
        embeds = torch.nn.functional.normalize(projected, dim=-1)
        return TextEncodings(embeds, projected, seen[0].float().cpu(), mask)

    def save(self, folder: str | Path) -> None:
        """Write the folder that `load_clip` reads; the config last, so a folder with a config is complete."""
        folder = Path(folder)
        save_weights(folder / WEIGHTS_FILE, self.model.state_dict())
        if self.merges is not None:
            write_whole(folder / MERGES_FILE, self.merges)
        if self.card is not None:
            write_whole(folder / CARD_FILE, self.card)
        write_json(folder / CONFIG_FILE, {**self.config, "fingerprint": self.fingerprint})


def bundled_fingerprint() -> str | None:
    """The fingerprint of the CLIP that comes with clipsonic, or None where it is not installed."""
    config = bundled_root() / "priors" / "tiny" / "clip" / CONFIG_FILE
    return json.loads(config.read_text()).get("fingerprint") if config.is_file() else None


def _as_image(picture: Picture | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise UsageError(
            f"a picture is {picture.dtype} of shape {picture.shape}: give RGB pictures (height, width, 3) of uint8"
        )
    return Image.fromarray(picture)
