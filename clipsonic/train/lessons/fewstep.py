"""The lesson `fewstep`: an adapter is taught in few calls of the network the path that the network takes in many.

One adapter serves one call and several: from pure noise it learns the whole way at once, from every other level of the
grid the step to the next (progressive distillation, Salimans and Ho 2022, arXiv 2202.00512, with guidance worked in as
in Meng et al. 2022, arXiv 2210.03142, and the whole way as in Liu et al. 2022, arXiv 2209.03003, section 2.2).
Guarantee: an adapter that learns the whole way without error ends, in one call, where the teacher ends. Price: a
training step costs `teacher_steps` calls of the network more (twice as many with guidance).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.sampling import Guidance, levels, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.conditioner import Condition
from clipsonic.models.lowrank import adapters_off
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws
from clipsonic.train.engine.lesson import Batch, Course, Losses
from clipsonic.train.lessons.adapted import Adapted, adapted, places
from clipsonic.train.lessons.condition import draw_condition
from clipsonic.train.lessons.denoising import Denoising, by_time
from clipsonic.train.lessons.figures_of_sound import Heard
from clipsonic.train.lessons.sampled import Sampling
from clipsonic.train.lessons.sound import told_in_card


class FewstepLesson(Heard):
    """An adapter that learns to need `distill.steps` calls or one."""

    t_K: Tensor

    def __init__(self, found: Adapted) -> None:
        super().__init__()
        self.adapted, self.how = found, found.config.distill
        self.register_buffer("t_K", levels(self.solver, self.how.steps), persistent=False)

    @property
    def sound(self) -> Denoising:
        """The pipeline's denoiser, of which the adapter learns."""
        return self.adapted.sound

    def loss(self, batch: Batch, draws: Draws) -> Losses:
        """|| D(x_s, s, c) - (x_e - x_s) / (t_e - t_s) ||^2 of each item, weighed over the whole way and one step.

        x_s and x_e are two states of the teacher's path for the same noise and condition. The sound is not used. The
        losses are logged at the times where the one step begins.
        """
        sound = self.sound
        noise_BMF = draws.normal(sound.segment.mel.num_mels, sound.segment.num_mel_frames)
        start_2B, end_2B = self._jumps(draws)
        condition = self._seen(batch, draws)
        path_KBMF = self.teacher_path(noise_BMF, condition)
        item_2B = torch.arange(len(condition), device=noise_BMF.device).repeat(2)
        t_2B = self.t_K[start_2B]
        target = velocity(path_KBMF[start_2B, item_2B], path_KBMF[end_2B, item_2B], t_2B, self.t_K[end_2B])
        timestep_2B = sound.objective.timestep(t_2B)
        said = sound.denoiser(path_KBMF[start_2B, item_2B], timestep_2B, Condition.cat([condition, condition]))
        whole_B, step_B = (said.float() - target).square().mean(dim=(1, 2)).chunk(2)
        return by_time(torch.lerp(step_B, whole_B, self.how.whole_share), t_2B.chunk(2)[1])

    @torch.no_grad()
    def teacher_path(self, noise_BMF: Tensor, condition: Condition) -> Tensor:
        """States of the network without the adapter at the few steps' levels, (steps + 1, B, M, F), noise first."""
        how, states, denoiser = self.how, [noise_BMF], self.adapted.denoiser
        _, guidance = self.adapted.pipeline.sampling(scale=how.teacher_guidance)
        denoise = guided_in_one_batch(denoiser, condition, condition.null_like(), guidance)
        every = how.teacher_steps // how.steps

        def remember(done: int, _: int, x_BMF: Tensor) -> None:
            if done % every == 0:
                states.append(x_BMF.clone())

        with adapters_off(denoiser):
            sample(denoise, self.solver, noise_BMF, how.teacher_steps, observer=remember)
        return torch.stack(states)

    @property
    def flow_shift(self) -> float:
        """How much the few steps lean to high noise: as the config says, else as the pipeline's scheduler does."""
        asked = self.how.flow_shift
        return float(self.adapted.pipeline.scheduler.config.get("shift", 1.0)) if asked is None else asked

    @property
    def solver(self) -> Any:
        """The scheduler of teacher and adapter: Euler, with the shift of `flow_shift`."""
        return make_scheduler("flow", flow_shift=self.flow_shift)

    def _jumps(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Levels (2 B,) to start from and to end at: first each item's whole way, then one step not from pure noise.

        Where there is one step only, both are the whole way.
        """
        steps = self.how.steps
        first = min(1, steps - 1)
        step_B = first + draws.of(partial(places, steps - first))
        whole_B = torch.zeros_like(step_B)
        return torch.cat([whole_B, step_B]), torch.cat([whole_B + steps, step_B + 1])

    def _seen(self, batch: Batch, draws: Draws) -> Condition:
        """What each item sees, never nothing: guidance is in what it learns, so it is not asked for it."""
        frames_BSE, how = batch["frames"], self.adapted.config.condition
        if self.training and self.how.bank_share > 0.0:
            frames_BSE = self._some_from_bank(frames_BSE, draws)
        return draw_condition(
            frames_BSE, batch["frame_times_s"], batch["frame_mask"], draws,
            shares=how.shares, embed_noise_std=how.embed_noise_std if self.training else 0.0,
        )  # fmt: skip

    def _some_from_bank(self, frames_BSE: Tensor, draws: Draws) -> Tensor:
        bank_NE = self.adapted.bank_NE
        place_B = draws.of(partial(places, len(bank_NE)))
        from_bank_B11 = (draws.uniform() < self.how.bank_share)[:, None, None]
        return torch.where(from_bank_B11, bank_NE[place_B][:, None], frames_BSE)

    def identity(self) -> dict[str, Any]:
        """That of network and adapter."""
        return self.adapted.identity()

    def sampling(self) -> Sampling:
        """In the few steps, without guidance."""
        return Sampling(self.solver, self.how.steps, Guidance())

    def leave(self, weights: dict[str, Tensor], out: Path, told: dict[str, Any]) -> dict[str, Any]:
        """Write the pipeline folder with the adapter that knows its few steps; all else of the pipeline stays."""
        found, _ = self.adapted.taken(weights)
        pipeline = self.adapted.pipeline
        pipeline.put_adapter(replace(found, steps=self.how.steps, flow_shift=self.flow_shift), out)
        pipeline.save_pretrained(out)
        return told_in_card(out, told)


def velocity(start_BMF: Tensor, end_BMF: Tensor, t_start_B: Tensor, t_end_B: Tensor) -> Tensor:
    """The constant velocity that leads from one state to another in the time between them, (B, M, F)."""
    return (end_BMF - start_BMF) / (t_end_B - t_start_B)[:, None, None]


def course(config: TrainConfig, sources: Sources, init: str | None, saved: dict[str, Tensor] | None) -> Course:
    """An adapter at its beginning, or one that goes on. Raises as `adapted`."""
    found, data = adapted(config, sources, init, saved)
    return Course(FewstepLesson(found), data.loader, data.val_batches, data.notes, data.summary(), init)
