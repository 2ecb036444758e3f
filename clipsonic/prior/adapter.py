"""TextPrior: dalle2-pytorch's DiffusionPrior (Ramesh et al. 2022, arXiv 2204.06125, section 2.2) behind one call.

Guarantee: unit vectors in and out, a generator per item, batch equals single, nothing global is read or changed.
Price: importing dalle2_pytorch takes seconds, so it happens when a prior is built, not when this module is imported.

Quirks of dalle2-pytorch 1.15.6 hidden here: `forward` multiplies the image embeddings it is given in place;
`p_sample_loop` draws from the global random state, prints progress bars and returns vectors that are not normalised;
`sample` wants a CLIP object; the DDIM grid ends at -1, so `timesteps=n` makes n - 1 network calls; `max_text_len` pads
with that many tokens even where no text encodings are used.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from clipsonic.clip.weights import load_strictly, read_weights, save_weights
from clipsonic.errors import CheckpointError, FingerprintError, SpecError, UsageError
from clipsonic.files import write_json, write_whole

CONFIG_FILE = "prior_config.json"
WEIGHTS_FILE = "prior.safetensors"
CARD_FILE = "card.md"


@dataclass(frozen=True)
class PriorShape:
    """The network and its diffusion.

    Args:
        width: E of the CLIP space.
        depth, heads, head_width: of the causal transformer.
        num_timesteps: of the cosine schedule; as many network calls per candidate unless fewer are asked for.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    head_width: int = 32
    num_timesteps: int = 100

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.head_width) < 1 or self.num_timesteps < 2:
            raise SpecError(f"{self} is impossible: every number must be positive and num_timesteps at least 2")


class TextPrior:
    """A diffusion prior for one CLIP space.

    Args:
        shape: what to build; the weights come from torch's current random state.
        fingerprint: the CLIP space it lives in.
        card: text of card.md, kept when saved again.
        means: mean text and mean picture (E,) of the pairs it learned from, not unit vectors.
    """

    def __init__(
        self,
        shape: PriorShape,
        fingerprint: str,
        *,
        card: str | None = None,
        means: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        self.shape = shape
        self.fingerprint = fingerprint
        self.card = card
        self.means = means
        self.diffusion = _build(shape)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = next(self.diffusion.parameters()).device
        return device

    def to(self, device: str | torch.device) -> Self:
        """Move the network; returns self."""
        self.diffusion.to(device)
        return self

    def check_space(self, fingerprint: str) -> None:
        """Raises FingerprintError where `fingerprint` names another space than the prior's."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"the prior lives in CLIP space {self.fingerprint}, the texts in {fingerprint}: "
                "use a prior trained in the same space (clipsonic train-prior --clip)"
            )

    @torch.no_grad()
    def __call__(
        self,
        text_embeds: torch.Tensor | np.ndarray,
        generators: Sequence[torch.Generator] | torch.Generator,
        num_candidates: int = 2,
        steps: int | None = None,
    ) -> torch.Tensor:
        """Image embeddings that could belong to these texts.

        Args:
            text_embeds: (N, E) unit vectors.
            generators: one per text, or a single one that serves all texts in turn; on the CPU.
            num_candidates: drawn per text; the one nearest to its text is kept.
            steps: network calls; `num_timesteps` (ancestral sampling) by default, fewer (at least 2) use the DDIM grid.

        Returns:
            (N, E) unit vectors, float32, on the prior's device.

        Raises:
            UsageError: another width, or counts that do not fit.
        """
        texts = torch.as_tensor(text_embeds, dtype=torch.float32, device=self.device)
        if texts.ndim != 2 or texts.shape[1] != self.shape.width:
            raise UsageError(
                f"text embeddings of shape {tuple(texts.shape)} do not fit a prior of (N, {self.shape.width})"
            )
        own = [generators] * len(texts) if isinstance(generators, torch.Generator) else list(generators)
        if len(own) != len(texts) or num_candidates < 1:
            raise UsageError(f"{len(texts)} texts need as many generators (got {len(own)}) and at least 1 candidate")
        if not len(texts):
            return texts
        drawn = self._sample(
            texts.repeat_interleave(num_candidates, 0), _Noise(own, num_candidates, self.device), steps
        )
        candidates = torch.nn.functional.normalize(drawn, dim=-1).view(len(texts), num_candidates, -1)
        best = torch.einsum("nce,ne->nc", candidates, texts).argmax(1)
        return candidates[torch.arange(len(texts), device=self.device), best]

    def loss(
        self, text_embeds: torch.Tensor, image_embeds: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared error of the predicted image embedding, scaled by sqrt(E) as the package does.

        Args:
            text_embeds, image_embeds: (B, E) unit vectors.
            timesteps: (B,) int64 in [0, num_timesteps).
            noise: (B, E) standard normal.
        """
        scaled = image_embeds * self.diffusion.image_embed_scale
        loss: torch.Tensor = self.diffusion.p_losses(scaled, timesteps, {"text_embed": text_embeds}, noise=noise)
        return loss

    def _sample(self, texts: torch.Tensor, noise: _Noise, steps: int | None) -> torch.Tensor:
        """The package's sampling loops with the noise given; un-normalised, scaled by sqrt(E)."""
        total = self.shape.num_timesteps
        steps = total if steps is None else steps
        if not 2 <= steps <= total:
            raise UsageError(f"prior steps {steps} must lie between 2 and its {total} timesteps")
        return self._ancestral(texts, noise) if steps == total else self._ddim(texts, noise, steps)

    def _ancestral(self, texts: torch.Tensor, noise: _Noise) -> torch.Tensor:
        x = noise(texts)
        for time in reversed(range(self.shape.num_timesteps)):
            times = torch.full((len(texts),), time, dtype=torch.long, device=texts.device)
            mean, _, log_variance, _ = self.diffusion.p_mean_variance(x, times, {"text_embed": texts})
            x = mean + (0.5 * log_variance).exp() * noise(texts) if time else mean
        return x

    def _ddim(self, texts: torch.Tensor, noise: _Noise, steps: int) -> torch.Tensor:
        """Song et al. 2020 (arXiv 2010.02502), eq. 12, with eta 1 on the package's own time grid."""
        scheduler = self.diffusion.noise_scheduler
        alphas = scheduler.alphas_cumprod_prev
        grid = torch.linspace(-1.0, self.shape.num_timesteps, steps + 1)[:-1].int().tolist()[::-1]
        x = noise(texts)
        for time, following in itertools.pairwise(grid):
            times = torch.full((len(texts),), time, dtype=torch.long, device=texts.device)
            x0: torch.Tensor = self.diffusion.net(x, times, text_embed=texts)
            if following < 0:
                return x0
            direction = scheduler.predict_noise_from_start(x, t=times, x0=x0)
            alpha, after = alphas[time], alphas[following]
            fresh = ((1 - alpha / after) * (1 - after) / (1 - alpha)).sqrt()
            x = x0 * after.sqrt() + fresh * (noise(texts) if following else 0.0)
            x = x + (1 - after - fresh**2).sqrt() * direction
        return x

    def save(self, folder: str | Path) -> None:
        """Write the folder that `from_folder` reads; float16 weights, the config last."""
        folder = Path(folder)
        save_weights(folder / WEIGHTS_FILE, self.diffusion.net.state_dict())  # the schedule follows from the shape
        if self.card is not None:
            write_whole(folder / CARD_FILE, self.card)
        config: dict[str, Any] = {"shape": asdict(self.shape), "fingerprint": self.fingerprint}
        if self.means is not None:
            config["means"] = {
                name: [round(float(value), 6) for value in mean]
                for name, mean in zip(("text", "image"), self.means, strict=True)
            }
        write_json(folder / CONFIG_FILE, config)

    @classmethod
    def from_folder(cls, folder: str | Path, device: str | torch.device = "cpu") -> Self:
        """Read a saved prior.

        Raises:
            CheckpointError: missing, damaged, or with other keys than its config says.
        """
        folder = Path(folder)
        config = _read_config(folder / CONFIG_FILE)
        card = folder / CARD_FILE
        with torch.random.fork_rng(devices=[]):
            prior = cls(
                PriorShape(**config["shape"]),
                config["fingerprint"],
                card=card.read_text(encoding="utf-8") if card.is_file() else None,
                means=_means_of(config),
            )
        load_strictly(prior.diffusion.net, read_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
        prior.diffusion.eval().requires_grad_(False)
        return prior.to(device)


class _Noise:
    """Standard normal (N * candidates, E), drawn item by item from the items' own generators."""

    def __init__(self, generators: Sequence[torch.Generator], num_candidates: int, device: torch.device) -> None:
        self._generators, self._num_candidates, self._device = generators, num_candidates, device

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        shape = (self._num_candidates, like.shape[1])
        return torch.cat([torch.randn(shape, generator=generator) for generator in self._generators]).to(self._device)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} is no prior folder: {path.name} is missing, bring it or train a prior there"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        PriorShape(**config["shape"])
        if not isinstance(config["fingerprint"], str):
            raise TypeError("fingerprint is no text")
        means = _means_of(config)
        if means is not None and any(mean.shape != (config["shape"]["width"],) for mean in means):
            raise ValueError("means of another width than the shape")
    except (ValueError, KeyError, TypeError, SpecError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): it must hold shape and fingerprint") from None
    return config


def _means_of(config: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    means = config.get("means")
    return None if means is None else (torch.tensor(means["text"]), torch.tensor(means["image"]))


def _build(shape: PriorShape) -> Any:
    """The package's network and diffusion: x_start prediction, cosine schedule, no text encodings, no dropout."""
    from dalle2_pytorch import DiffusionPrior, DiffusionPriorNetwork

    network = DiffusionPriorNetwork(
        dim=shape.width,
        num_timesteps=shape.num_timesteps,
        max_text_len=1,
        depth=shape.depth,
        heads=shape.heads,
        dim_head=shape.head_width,
    )
    return DiffusionPrior(
        net=network,
        image_embed_dim=shape.width,
        timesteps=shape.num_timesteps,
        condition_on_text_encodings=False,
        predict_x_start=True,
        cond_drop_prob=0.0,
    )
