"""Learning to need few calls of the network: an adapter is taught the path that the network itself takes in many.

One adapter serves one call and several: from pure noise it learns the whole way at once, from every other level of the
grid the step to the next (progressive distillation, Salimans and Ho 2022, arXiv 2202.00512, with guidance worked in as
in Meng et al. 2022, arXiv 2210.03142, and the whole way as in Liu et al. 2022, arXiv 2209.03003, section 2.2).
Guarantee: an adapter that learns the whole way without error ends, in one call, where the teacher ends. Price: a
training step costs `teacher_steps` calls of the network more (twice as many with guidance).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipsonic.diffusion.guidance import Guidance
from clipsonic.diffusion.sampling import levels, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.models.conditioner import Condition
from clipsonic.models.lowrank import adapters_off
from clipsonic.pipeline.denoising import guided_in_one_batch
from clipsonic.seeding import torch_generator
from clipsonic.train.adapters import AdapterModule, flow_shift_of, places
from clipsonic.train.condition import draw_condition
from clipsonic.train.draws import Draws


class DistillModule(AdapterModule):
    """A pipeline's denoiser with an adapter that learns to need `distill.steps` calls or one."""

    def loss_and_time(
        self, batch: dict[str, Any], purpose: str, *indices: int, seeing: bool = False, ranks: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """|| D(x_s, s, c) - (x_e - x_s) / (t_e - t_s) ||^2 of each item, (B,), weighed over the whole way and one step.

        x_s and x_e are two states of the teacher's path for the same noise and condition. The sound is not used. The
        times (B,) are those where the one step begins.
        """
        generator = torch_generator(self.config.run.seed, purpose, *indices, device=str(self.device))
        draws = Draws(generator, len(batch["frames"]), *ranks)
        noise_BMF = draws.normal(self.segment.mel.num_mels, self.segment.num_mel_frames)
        start_2B, end_2B = self._jumps(draws)
        condition = self._seen(batch, draws, seeing)
        path_KBMF = self.teacher_path(noise_BMF, condition)
        item_2B = torch.arange(len(condition), device=self.device).repeat(2)
        t_K = levels(self.solver, self.config.distill.steps).to(self.device)
        target = velocity(path_KBMF[start_2B, item_2B], path_KBMF[end_2B, item_2B], t_K[start_2B], t_K[end_2B])
        timestep_2B = self.objective.timestep(t_K[start_2B])
        said = self.denoiser(path_KBMF[start_2B, item_2B], timestep_2B, Condition.cat([condition, condition]))
        whole_B, step_B = (said.float() - target).square().mean(dim=(1, 2)).chunk(2)
        return torch.lerp(step_B, whole_B, self.config.distill.whole_share), t_K[start_2B].chunk(2)[1]

    @torch.no_grad()
    def teacher_path(self, noise_BMF: Tensor, condition: Condition) -> Tensor:
        """States of the network without the adapter at the few steps' levels, (steps + 1, B, M, F), noise first."""
        how, states = self.config.distill, [noise_BMF]
        _, guidance = self.pipeline.sampling(scale=how.teacher_guidance)
        denoise = guided_in_one_batch(self.denoiser, condition, condition.null_like(), guidance)
        every = how.teacher_steps // how.steps

        def remember(done: int, _: int, x_BMF: Tensor) -> None:
            if done % every == 0:
                states.append(x_BMF.clone())

        with adapters_off(self.denoiser):
            sample(denoise, self.solver, noise_BMF, how.teacher_steps, observer=remember)
        return torch.stack(states)

    @property
    def solver(self) -> Any:
        """The scheduler of teacher and adapter: Euler, with the shift of `flow_shift_of`."""
        return make_scheduler("flow", flow_shift=flow_shift_of(self))

    def sampling(self) -> tuple[Any, int, Guidance]:
        """What a call with `set_few_steps` does: the steps that are taught, without guidance."""
        return self.solver, self.config.distill.steps, Guidance()

    def _jumps(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Levels (2 B,) to start from and to end at: first each item's whole way, then one step not from pure noise.

        Where there is one step only, both are the whole way.
        """
        steps = self.config.distill.steps
        first = min(1, steps - 1)
        step_B = first + draws.of(partial(places, steps - first))
        whole_B = torch.zeros_like(step_B)
        return torch.cat([whole_B, step_B]), torch.cat([whole_B + steps, step_B + 1])

    def _seen(self, batch: dict[str, Any], draws: Draws, seeing: bool) -> Condition:
        """What each item sees, never nothing: guidance is in what it learns, so it is not asked for it."""
        frames_BSE, how = batch["frames"], self.config.condition
        if not seeing and self.config.distill.bank_share > 0.0:
            frames_BSE = self._some_from_bank(frames_BSE, draws)
        return draw_condition(
            frames_BSE, batch["frame_times_s"], batch["frame_mask"], draws,
            shares=how.shares, embed_noise_std=0.0 if seeing else how.embed_noise_std,
        )  # fmt: skip

    def _some_from_bank(self, frames_BSE: Tensor, draws: Draws) -> Tensor:
        place_B = draws.of(partial(places, len(self.bank_NE)))
        from_bank_B11 = (draws.uniform() < self.config.distill.bank_share)[:, None, None]
        return torch.where(from_bank_B11, self.bank_NE[place_B][:, None], frames_BSE)


def velocity(start_BMF: Tensor, end_BMF: Tensor, t_start_B: Tensor, t_end_B: Tensor) -> Tensor:
    """The constant velocity that leads from one state to another in the time between them, (B, M, F)."""
    return (end_BMF - start_BMF) / (t_end_B - t_start_B)[:, None, None]
