"""The door to dalle2_pytorch: DiffusionPrior (Ramesh et al. 2022, arXiv 2204.06125, section 2.2), ours and LAION's.

Guarantee: samples are those of the package of the prior's era, bit for bit, with noise of ours. Price: importing
dalle2_pytorch takes seconds, so it happens when a prior is built, not when this module is imported.

Quirks of dalle2-pytorch 1.15.6 hidden here: `forward` multiplies the image embeddings it is given in place;
`p_sample_loop` draws from the global random state, prints progress bars and returns vectors that are not normalised;
`sample` wants a CLIP object; the DDIM grid ends at -1, so `timesteps=n` makes n - 1 network calls; `max_text_len` pads
with that many tokens even where no text encodings are used. Of 1.1.0: attention is a scaled softmax, not a cosine; the
DDIM grid is another one and its noise is told before the clamp; the mask of guidance never reaches the transformer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch.nn import functional

from clipsonic.errors import SpecError
from clipsonic.prior.core import ItemNoise, Spoken, check_steps, refuse_guidance

ERAS = ("1.1", "1.15")
"""Versions of dalle2-pytorch that differ in arithmetic: up to 1.1, and today's."""
_PB_RELAX = 128  # of the softmax in 1.1.0: scores are divided by it, and multiplied again after the bias was added


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


@dataclass(frozen=True)
class LaionShape(PriorShape):
    """A prior that dalle2-pytorch's own trainer wrote.

    Args:
        era: one of ERAS.
        text_encodings: whether it reads the captions' tokens, at most `max_text_len` of them.
        guidable: whether it was trained with its captions dropped at times.
        clamps: whether a predicted picture is given the length of a true one at every step.
        starts_clamped: whether the first noise is, too.
        beta_schedule: of the noise.
        The others are those of the package's network.
    """

    era: str = "1.1"
    text_encodings: bool = True
    guidable: bool = False
    clamps: bool = False
    starts_clamped: bool = False
    beta_schedule: str = "cosine"
    image_embed_scale: float | None = None
    max_text_len: int = 256
    learned_times: bool = True
    num_time_embeds: int = 1
    num_image_embeds: int = 1
    num_text_embeds: int = 1
    ff_mult: int = 4
    norm_in: bool = False
    norm_out: bool = True
    final_proj: bool = True
    normformer: bool = False
    rotary_emb: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.era not in ERAS:
            raise SpecError(f"era {self.era} of a prior is unknown: it must be one of {', '.join(ERAS)}")


class Dalle2Core:
    """A DiffusionPrior of the package, sampled with noise that is given."""

    default_guidance = 1.0

    def __init__(self, shape: PriorShape) -> None:
        laion = shape if isinstance(shape, LaionShape) else None
        self.shape = shape
        self.width = shape.width
        self.reads_tokens = laion is not None and laion.text_encodings
        self.default_steps = shape.num_timesteps
        self.diffusion = _build_ours(shape) if laion is None else _build_laion(laion)
        self.network: torch.nn.Module = self.diffusion.net
        self.whole: torch.nn.Module = self.diffusion
        self._old = laion is not None and laion.era == "1.1"
        self._guidable = laion is not None and laion.guidable and not self._old

    def check(self, steps: int, guidance: float) -> None:
        """Raises UsageError: steps beyond the timesteps, or a guidance that has no effect."""
        check_steps(steps, self.shape.num_timesteps)
        if not self._guidable:
            never = "its mask never reaches the transformer in this era" if self._old else "it always saw its captions"
            refuse_guidance(guidance, never)

    def sample(
        self, texts_NE: torch.Tensor, spoken: Spoken | None, noise: ItemNoise, steps: int, guidance: float
    ) -> torch.Tensor:
        """The package's sampling loops with the noise given; un-normalised, scaled by sqrt(E)."""
        condition = {"text_embed": texts_NE}
        if self.reads_tokens:
            assert spoken is not None
            said = spoken.captions
            condition["text_encodings"] = said.tokens.masked_fill(~said.mask[..., None], 0.0)
        x = noise(texts_NE)
        if self.diffusion.init_image_embed_l2norm:
            x = self._clamped(x)
        walk = self._ancestral if steps == self.shape.num_timesteps else self._ddim
        return walk(x, condition, noise, steps, guidance)

    def loss(
        self, text_embeds: torch.Tensor, image_embeds: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """As `TextPrior.loss`."""
        scaled = image_embeds * self.diffusion.image_embed_scale
        squares: torch.Tensor = self.diffusion.p_losses(scaled, timesteps, {"text_embed": text_embeds}, noise=noise)
        return squares.mean(dim=1)

    def _ancestral(
        self, x: torch.Tensor, condition: dict[str, Any], noise: ItemNoise, steps: int, guidance: float
    ) -> torch.Tensor:
        for time in reversed(range(steps)):
            times = torch.full((len(x),), time, dtype=torch.long, device=x.device)
            mean, _, log_variance, _ = self.diffusion.p_mean_variance(x, times, condition, cond_scale=guidance)
            x = mean + (0.5 * log_variance).exp() * noise(x) if time else mean
        return x

    def _ddim(
        self, x: torch.Tensor, condition: dict[str, Any], noise: ItemNoise, steps: int, guidance: float
    ) -> torch.Tensor:
        """Song et al. 2020 (arXiv 2010.02502), eq. 12, with eta 1 on the time grid of the prior's era."""
        scheduler = self.diffusion.noise_scheduler
        alphas = scheduler.alphas_cumprod_prev
        for time, following in itertools.pairwise(self._grid(steps)):
            times = torch.full((len(x),), time, dtype=torch.long, device=x.device)
            raw: torch.Tensor = self.diffusion.net.forward_with_cond_scale(x, times, cond_scale=guidance, **condition)
            x0 = self._clamped(raw) if self.diffusion.sampling_clamp_l2norm else raw
            if following < 0:
                return x0
            direction = scheduler.predict_noise_from_start(x, t=times, x0=raw if self._old else x0)
            alpha, after = alphas[time], alphas[following]
            fresh = ((1 - alpha / after) * (1 - after) / (1 - alpha)).sqrt()
            x = x0 * after.sqrt() + fresh * (noise(x) if following else 0.0)
            x = x + (1 - after - fresh**2).sqrt() * direction
        return x

    def _grid(self, steps: int) -> list[int]:
        """Timesteps from the last to 0 (up to 1.1) or to -1 (today)."""
        total = self.shape.num_timesteps
        ends = torch.linspace(0.0, total, steps + 2) if self._old else torch.linspace(-1.0, total, steps + 1)
        grid: list[int] = ends[:-1].int().tolist()
        return grid[::-1]

    def _clamped(self, x: torch.Tensor) -> torch.Tensor:
        scale: float = self.diffusion.image_embed_scale
        return functional.normalize(x, dim=-1) * scale


def _build_ours(shape: PriorShape) -> Any:
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
    diffusion = DiffusionPrior(
        net=network,
        image_embed_dim=shape.width,
        timesteps=shape.num_timesteps,
        condition_on_text_encodings=False,
        predict_x_start=True,
        cond_drop_prob=0.0,
    )
    diffusion.noise_scheduler.loss_fn = partial(functional.mse_loss, reduction="none")
    return diffusion


def _build_laion(shape: LaionShape) -> Any:
    """The package's network and diffusion as the shape says, with the attention of its era."""
    from dalle2_pytorch import DiffusionPrior, DiffusionPriorNetwork

    same = "depth heads ff_mult norm_in norm_out final_proj normformer rotary_emb max_text_len num_time_embeds"
    network = DiffusionPriorNetwork(
        dim=shape.width,
        dim_head=shape.head_width,
        num_timesteps=shape.num_timesteps if shape.learned_times else None,
        **{name: getattr(shape, name) for name in f"{same} num_image_embeds num_text_embeds".split()},
    )
    if shape.era == "1.1":
        for attention, _ in network.causal_transformer.layers:
            attention.forward = MethodType(_attention_1_1, attention)
    return DiffusionPrior(
        net=network,
        image_embed_dim=shape.width,
        timesteps=shape.num_timesteps,
        beta_schedule=shape.beta_schedule,
        condition_on_text_encodings=shape.text_encodings,
        predict_x_start=True,
        cond_drop_prob=0.1 if shape.guidable else 0.0,  # above 0 it permits guidance, and does no more in sampling
        sampling_clamp_l2norm=shape.clamps,
        init_image_embed_l2norm=shape.starts_clamped,
        image_embed_scale=shape.image_embed_scale,
    )


def _attention_1_1(
    attention: Any, x_BSD: torch.Tensor, mask: None = None, attn_bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention as dalle2-pytorch 1.1.0 computed it: softmax(128 (q k / (128 sqrt(d)) + bias)), causal.

    One key and value serve all heads, and a learned null pair stands before them.
    """
    x_BSD = attention.norm(x_BSD)
    q_BHSd = attention.to_q(x_BSD).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    k_BSd, v_BSd = attention.to_kv(x_BSD).chunk(2, dim=-1)
    q_BHSd = q_BHSd * (q_BHSd.shape[-1] ** -0.5 * _PB_RELAX**-1)
    if attention.rotary_emb is not None:
        q_BHSd, k_BSd = (attention.rotary_emb.rotate_queries_or_keys(each) for each in (q_BHSd, k_BSd))
    null_k, null_v = (null.expand(len(x_BSD), 1, -1) for null in attention.null_kv)
    k_BSd, v_BSd = torch.cat([null_k, k_BSd], dim=1), torch.cat([null_v, v_BSd], dim=1)
    scores = torch.einsum("bhid,bjd->bhij", q_BHSd, k_BSd)
    if attn_bias is not None:
        scores = scores + attn_bias
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(2)
    scores = scores.masked_fill(later, -torch.finfo(scores.dtype).max)
    weights = ((scores - scores.amax(dim=-1, keepdim=True)) * _PB_RELAX).softmax(dim=-1)
    out_BHSd = torch.einsum("bhij,bjd->bhid", weights, v_BSd)
    result: torch.Tensor = attention.to_out(out_BHSd.transpose(1, 2).flatten(2))
    return result
