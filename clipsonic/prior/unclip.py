"""Priors of the unCLIP family: diffusers' PriorTransformer, as Karlo, Kandinsky and ECLIPSE use it.

Guarantee: the arithmetic of UnCLIPPipeline and KandinskyPriorPipeline (25 steps, guidance 4, statistics undone at the
end), and of ECLIPSE's one pass, from the same noise. Price: two rows per text in the network while guidance is on.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer, PriorTransformerOutput
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

from clipsonic.errors import SpecError, UsageError
from clipsonic.prior.core import ItemNoise, Spoken, check_steps, refuse_guidance
from clipsonic.prior.shapes import UnclipShape
from clipsonic.settings import arguments_of, taken

_STEPS, _GUIDANCE = 25, 4.0  # the defaults of both pipelines


class OnePassTransformer(PriorTransformer):
    """ECLIPSE's network (Patel et al. 2023, arXiv 2312.04655): a PriorTransformer without time.

    Its arguments and keys are those of PriorTransformer without `time_embedding`; `hidden_states` is plain noise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.time_embedding

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        proj_embedding: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> PriorTransformerOutput:
        """(N, E) noise and texts, (N, L, W) tokens, (N, L) bool -> (N, E) pictures' embeddings."""
        batch = len(hidden_states)
        if self.embedding_proj_norm is not None:
            proj_embedding = self.embedding_proj_norm(proj_embedding)
        if self.encoder_hidden_states_proj is not None:
            encoder_hidden_states = self.encoder_hidden_states_proj(encoder_hidden_states)
        last = [self.embedding_proj(proj_embedding)[:, None], self.proj_in(hidden_states)[:, None]]
        if self.prd_embedding is not None:
            last.append(self.prd_embedding.expand(batch, -1, -1))
        x = torch.cat([encoder_hidden_states, *last], dim=1) + self.positional_embedding
        bias = torch.nn.functional.pad((1 - attention_mask.to(x.dtype)) * -10000.0, (0, len(last)), value=0.0)
        bias = (bias[:, None] + self.causal_attention_mask).repeat_interleave(self.num_attention_heads, dim=0)
        x = x if self.norm_in is None else self.norm_in(x)
        for block in self.transformer_blocks:
            x = block(x, attention_mask=bias)
        return PriorTransformerOutput(self.proj_to_clip_embeddings(self.norm_out(x)[:, -1]))


class UnclipCore:
    """A PriorTransformer with its scheduler; reads captions' tokens."""

    reads_tokens = True

    def __init__(self, shape: UnclipShape) -> None:
        self.shape = shape
        self.width = shape.width
        network = taken(shape.network, arguments_of(PriorTransformer), "the network of the prior")
        try:
            self.network: Any = (OnePassTransformer if shape.scheduler is None else PriorTransformer)(**network)
            self.scheduler = None if shape.scheduler is None else _scheduler(shape.scheduler)
        except (TypeError, ValueError) as error:
            raise SpecError(f"no prior can be built of {shape} ({error}): bring the publisher's config") from None
        if self.scheduler is not None and self.scheduler.config.prediction_type != "sample":
            raise SpecError(
                f"a prior that predicts {self.scheduler.config.prediction_type} is unknown: it must predict the sample"
            )
        self.whole: Any = self.network
        self.default_steps, self.default_guidance = (1, 1.0) if self.scheduler is None else (_STEPS, _GUIDANCE)

    def check(self, steps: int, guidance: float) -> None:
        """Raises UsageError: steps beyond the timesteps; several steps or a guidance for a prior of one pass."""
        if self.scheduler is not None:
            return check_steps(steps, self.scheduler.config.num_train_timesteps)
        if steps != 1:
            raise UsageError(f"prior steps {steps} are not possible, it answers in one pass: leave them at 1")
        return refuse_guidance(guidance, "it answers in one pass")

    def sample(
        self, texts_NE: torch.Tensor, spoken: Spoken | None, noise: ItemNoise, steps: int, guidance: float
    ) -> torch.Tensor:
        """As its publisher's pipeline; in the CLIP's space, of any length."""
        assert spoken is not None
        x_NE = noise(texts_NE)
        if self.scheduler is None:
            answer: torch.Tensor = self.network(x_NE, **_condition(spoken)).predicted_image_embedding
            return answer
        condition = _condition(spoken) if guidance <= 1.0 else _guided_condition(spoken)
        times = _timesteps(self.scheduler, steps)
        for place, time in enumerate(times):
            x0_NE = self._predicted(x_NE, time, condition, guidance)
            following = times[place + 1] if place + 1 < len(times) else None
            x_NE = self.scheduler.step(x0_NE, time, x_NE, following, generator=noise.rows).prev_sample
        undone: torch.Tensor = self.network.post_process_latents(x_NE)
        return undone

    def _predicted(self, x_NE: torch.Tensor, time: int, condition: dict[str, Any], guidance: float) -> torch.Tensor:
        """Classifier-free guidance (arXiv 2207.12598) where the condition has two halves."""
        guided = len(condition["proj_embedding"]) == 2 * len(x_NE)
        rows = torch.cat([x_NE, x_NE]) if guided else x_NE
        predicted: torch.Tensor = self.network(rows, timestep=time, **condition).predicted_image_embedding
        if not guided:
            return predicted
        without_NE, with_NE = predicted.chunk(2)
        return without_NE + guidance * (with_NE - without_NE)


def _scheduler(settings: dict[str, Any]) -> Any:
    return UnCLIPScheduler(**taken(settings, arguments_of(UnCLIPScheduler), "the scheduler of the prior"))


def _condition(spoken: Spoken) -> dict[str, Any]:
    said = spoken.captions
    return {"proj_embedding": said.projected, "encoder_hidden_states": said.tokens, "attention_mask": said.mask}


def _guided_condition(spoken: Spoken) -> dict[str, Any]:
    """The empty caption for every row, then the captions."""
    nothing = _condition(Spoken(spoken.nothing.repeated(len(spoken.captions)), spoken.nothing))
    return {name: torch.cat([nothing[name], value]) for name, value in _condition(spoken).items()}


def _timesteps(scheduler: UnCLIPScheduler, steps: int) -> list[int]:
    scheduler.set_timesteps(steps)
    return [int(time) for time in scheduler.timesteps]
