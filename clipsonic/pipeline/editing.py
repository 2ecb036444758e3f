"""A sound that is there, edited: regions, bands or cells made anew, seconds added, all of it varied or restyled.

Guarantee: outside of regions that are made anew the given samples come back bit for bit, at their own rate and in their
own channels; where nothing is to be made, all of them do; where nothing is kept, what is made is a generation of the
model; one generator per sound, so a batch gives what its items give alone. Price: that of a generation of the windows
that hold something to make; two passes over the given sound. Adapters and few steps act as they do in a generation; the
scheduler must be one of first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

import clipsonic.pipeline.prompts as asked
from clipsonic.audio.crossover import crossed
from clipsonic.audio.loudness import limit
from clipsonic.audio.mel import LogMel
from clipsonic.audio.splice import placed
from clipsonic.diffusion.editing import Given, levels_above, levels_below, restyled, sample_given
from clipsonic.diffusion.objective import make_objective
from clipsonic.diffusion.sampling import Guidance, StepFn, initial_noise, levels
from clipsonic.diffusion.schedulers import check_scheduler
from clipsonic.errors import UsageError
from clipsonic.models.conditioner import Condition
from clipsonic.pipeline.denoising import Timeline, bound_to
from clipsonic.pipeline.given import Edit, Region, Samples, Sound, Work, work_of
from clipsonic.pipeline.vocoding import vocode

_CEILING_DB = -1.0  # no true peak of what is made is above it, unless the given sound's are


@dataclass
class EditOutput(BaseOutput):
    """What an edit made.

    Args:
        audios: (N, C, T) float64, at the given sound's rate and in its channels.
        sample_rate_hz: of the audios.
        mels: (N, M, F) log-mels of the part that the model saw, at the levels it knows; None if nothing was made.
        made: (M, F) bool, which of these cells were made.
        start_s: where in the audios that part begins.
        seconds: length of each sound.
        kept: share of the cells of what comes out that are the given sound's.
        gain_db: what was added to the given sound's level for the model, and taken away again.
        closer: how the gap between text or sound and picture was closed, None where there was none.
        embeds: what the sounds were made for, in the CLIP's picture space: N of (S, E); None without a prompt.
        notes: sentences about what a listener should know.
    """

    audios: Any
    sample_rate_hz: int
    mels: Any
    made: Any
    start_s: float
    seconds: float
    kept: float
    gain_db: float
    closer: str | None = None
    embeds: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """What an edit is guided by.

    Args:
        kind, value: as `the_prompts` gives them; None for none.
        from_text: what the given sound is, in words.
        others: as in a generation.
    """

    kind: str | None
    value: Any
    from_text: str | None
    negative_text: str | None
    closer: str
    start_s: float
    frame_times_s: Sequence[float] | None
    video_tokens: str

    @property
    def is_text(self) -> bool:
        """Whether there is a gap between text and picture to close."""
        return self.kind == "text" or self.from_text is not None or self.negative_text is not None


@torch.no_grad()
def edit(
    pipeline: Any, sound: Any, rate_hz: int, *, text: Any = None, image: Any = None, video: Any = None,
    frames: Any = None, audio: Any = None, embeds: Any = None, remake: Sequence[Region] = (), mask: Any = None,
    above_hz: float | None = None, below_hz: float | None = None, extend_s: float = 0.0, before_s: float = 0.0,
    strength: float | None = None, from_text: str | None = None, pull: float = 0.0, fill: bool = True,
    negative_text: str | None = None, closer: str = "auto", num_inference_steps: int | None = None,
    guidance_scale: float | None = None, guidance_interval: Sequence[float] | None = None,
    guidance_rescale: float | None = None, start_s: float = 0.0, frame_times_s: Sequence[float] | None = None,
    video_tokens: str = "timed", num_sounds: int = 1,
    generator: torch.Generator | Sequence[torch.Generator] | None = None, seed: int = 0,
) -> EditOutput:  # fmt: skip
    """Make `num_sounds` edits of one sound, under one prompt of any kind or none.

    Args:
        sound: (T,) or (C, T), in [-1, 1].
        rate_hz: of it.
        remake, mask, above_hz, below_hz, extend_s, before_s, strength: what is made anew, see `Edit`.
        from_text: what the given sound is, in words; it is then changed as the prompt differs from them, which keeps
            more of it (FlowEdit).
        pull: how far made cells are led towards what continues the known ones, see `sample_given`.
        fill: whether what the model's rate cannot hold is filled after the given sound's, or left empty.
        start_s: where in the video, or the sound that is the prompt, the given sound begins.
        frame_times_s: seconds from the begin of what comes out.
        num_inference_steps: where known cells lead, those at little noise are left out of them (`LEAST_SHARE`).
        guidance_scale: by default 1 where known cells lead, else the pipeline's own.
        others: as in a call of the pipeline.

    Raises:
        UsageError: an edit or an option that cannot be, or several prompts.
        SpecError, FingerprintError: a scheduler that does not fit the model; a CLIP or a prior of another space.
    """
    wish = Edit(remake, mask, above_hz, below_hz, extend_s, before_s, strength)
    kind, value = _one_prompt(
        {"text": text, "image": image, "video": video, "frames": frames, "audio": audio, "embeds": embeds}
    )
    prompt = Prompt(kind, value, from_text, negative_text, closer, start_s - before_s, frame_times_s, video_tokens)
    _check(wish, prompt, pull, guidance_scale)
    log_mel = LogMel(pipeline.segment.mel)
    heard = Sound.of(sound, rate_hz, wish, log_mel, *pipeline.mel_statistics)
    work = work_of(wish, heard, log_mel, pipeline.segment)
    generators = asked.generators_for(1, num_sounds, generator, seed)
    if work is None:
        return _unchanged(heard, num_sounds)
    _check_led(wish, work, prompt, pipeline.segment.seconds)
    scale = _default_scale(wish, work, prompt) if guidance_scale is None else guidance_scale
    steps, guidance = pipeline.sampling(num_inference_steps, scale, guidance_interval, guidance_rescale)
    asked.check_options(guidance.scale, negative_text, video_tokens, "np")
    log_mel_BMF, changed, name, seen = _made(pipeline, wish, work, prompt, steps, guidance, pull, generators)
    audios = [
        _joined(wish, work, heard, made_T, pipeline.segment.mel, fill) if is_changed else heard.samples_CT
        for is_changed, made_T in zip(changed, vocode(pipeline.vocoder, log_mel_BMF).numpy(), strict=True)
    ]
    pipeline.maybe_free_model_hooks()
    return EditOutput(
        audios=np.stack(audios), sample_rate_hz=rate_hz, mels=log_mel_BMF.cpu().numpy(), made=work.made_MF.numpy(),
        start_s=pipeline.segment.mel.start_s(work.first), seconds=audios[0].shape[1] / rate_hz,
        kept=1.0 - float(work.asked_MF.float().mean()), gain_db=20.0 * float(np.log10(heard.gain)), closer=name,
        embeds=None if kind is None else [asked.embeds_of(item) for item in seen],
        notes=_notes(wish, heard, pipeline.segment.mel.sample_rate_hz, kind, fill),
    )  # fmt: skip


def _one_prompt(prompts: dict[str, Any]) -> tuple[str | None, Any]:
    """The one kind that is given and its only prompt, or no kind.

    Raises:
        UsageError: several.
    """
    if all(value is None for value in prompts.values()):
        return None, None
    kind, values = asked.the_prompts(**prompts)
    if len(values) != 1:
        raise UsageError(f"{len(values)} prompts of kind {kind} for one sound: give one, or edit once for each")
    return kind, values[0]


def _check(wish: Edit, prompt: Prompt, pull: float, scale: float | None) -> None:
    """Raises UsageError for options that have no effect together."""
    if prompt.from_text is not None and (prompt.kind is None or wish.strength is None):
        missing = "a prompt" if prompt.kind is None else "a strength"
        raise UsageError(f"from_text changes a sound as a prompt differs from these words: give {missing} too")
    if prompt.kind is None and scale not in (None, 1.0):
        raise UsageError(f"guidance_scale {scale:g} has no effect without a prompt: leave it out, or give one")
    if prompt.kind in ("video", "audio") and wish.before_s > 0.0 > prompt.start_s:
        raise UsageError(
            f"before_s {wish.before_s:g} begins {-prompt.start_s:g} s before the {prompt.kind} does: leave it out, or "
            "give another prompt"
        )
    if not 0.0 <= pull < float("inf"):
        raise UsageError(f"pull {pull:g} must be 0 or more: 3 to 10 are usual")
    if pull and (prompt.from_text is not None or wish.is_whole):
        raise UsageError(f"pull {pull:g} has no effect where no part is kept as it is: leave it out")


def _check_led(wish: Edit, work: Work, prompt: Prompt, seconds: float) -> None:
    """Raises UsageError where neither a prompt nor anything given leads a window of the model, `seconds` long."""
    if prompt.kind is None and wish.start == 1.0 and work.has_blind_window:
        raise UsageError(
            f"without a prompt more is to be made than the model can see beyond, {seconds:.2f} s at once: give a "
            "prompt, or make less anew"
        )


def _is_led(wish: Edit, work: Work) -> bool:
    """Whether what is made has known cells to go by, and nothing else of the given sound."""
    return wish.start == 1.0 and not bool(work.made_MF.all())


def _default_scale(wish: Edit, work: Work, prompt: Prompt) -> float | None:
    """Guidance where none is asked for: none where known cells lead (1.5 fills gaps no better, at twice the price), or
    where there is no prompt; else the pipeline's own."""
    is_led = _is_led(wish, work) and prompt.negative_text is None
    return 1.0 if prompt.kind is None or is_led else None


def _made(
    pipeline: Any, wish: Edit, work: Work, prompt: Prompt, steps: int, guidance: Guidance, pull: float,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, list[bool], str | None, list[asked.Seen]]:  # fmt: skip
    """Log-mels (B, M, F) of the part that the model sees, which of them are other than the given one, the closer's
    name, and what they were made for."""
    device, denoiser = pipeline._execution_device, pipeline.denoiser
    check_scheduler(pipeline.scheduler, denoiser.config.prediction_type)
    objective = make_objective(denoiser.config.prediction_type)
    if isinstance(objective, torch.nn.Module):
        objective.to(device)
    mean_M, std_M = (values[:, None].to(device) for values in pipeline.mel_statistics)
    x0_BMF = ((work.log_mel_MF.to(device) - mean_M) / std_M).expand(len(generators), -1, -1)
    given = Given(x0_BMF, work.made_MF, wish.start)
    times = levels(pipeline.solver, steps).tolist()
    times = levels_above(times, objective) if _is_led(wish, work) else times
    noise_BMF = initial_noise(x0_BMF.shape[1:], generators)
    name, seen, target, source = _bound(pipeline, prompt, work.timeline, guidance, generators, device)
    with pipeline.progress_bar(total=len(levels_below(times, given.start, objective)) - 1) as bar:
        if source is None:
            x_BMF = sample_given(
                target, objective, times, noise_BMF, generators, given, pull=pull, observer=lambda *_: bar.update()
            )
        else:
            x_BMF = restyled(
                target, source, objective, times, noise_BMF, generators, given, observer=lambda *_: bar.update()
            )
    changed = (x_BMF != x0_BMF).any(2).any(1).cpu().tolist()
    return x_BMF * std_M + mean_M, changed, name, seen


def _bound(
    pipeline: Any, prompt: Prompt, timeline: Timeline, guidance: Guidance, generators: Sequence[torch.Generator],
    device: torch.device,
) -> tuple[str | None, list[asked.Seen], StepFn, StepFn | None]:  # fmt: skip
    """The closer's name, what each sound is made for, and the network with that bound, and with `from_text`."""
    parts, count, num_windows = pipeline._parts, len(generators), len(timeline.starts)
    name, closer = asked.closers_of(prompt.kind, prompt.closer, prompt.is_text, parts)

    @cache  # the same words are the same picture
    def spoken(text: str) -> list[asked.Seen]:
        return asked.close(
            name, [text] * count, asked.embed("text", [text], parts, timeline) * count, generators, parts
        )

    def bound(seen: list[asked.Seen], away: Condition | None = None) -> StepFn:
        condition = asked.condition_of(seen, num_windows, pooled=prompt.video_tokens == "pooled")
        away = condition.null_like() if away is None else away
        return bound_to(pipeline.denoiser, condition.to(device), away.to(device), guidance, timeline)

    if prompt.kind is None:
        nothing = [[asked.timeless(torch.zeros(pipeline.segment.embed_width))]] * count
        null = asked.condition_of(nothing, num_windows).null_like().to(device)
        return None, nothing, bound_to(pipeline.denoiser, null, null, guidance, timeline), None
    if prompt.kind == "text":
        seen = spoken(prompt.value)
    else:
        seen = (
            asked.embed(prompt.kind, [prompt.value], parts, timeline, prompt.start_s, prompt.frame_times_s, closer)
            * count
        )
    away = None if prompt.negative_text is None else asked.condition_of(spoken(prompt.negative_text), num_windows)
    target = bound(seen, away)
    source = None if prompt.from_text is None else bound(spoken(prompt.from_text), away)
    return (None if closer == "none" else closer), seen, target, source


def _joined(wish: Edit, work: Work, heard: Sound, made_T: Any, spec: Any, fill: bool) -> Samples:
    """The given sound with what was made of it."""
    before = round(wish.before_s * spec.sample_rate_hz)
    length = before + len(heard.wave_T) + round(wish.extend_s * spec.sample_rate_hz)
    first = work.first * spec.hop_length
    whole_T = np.zeros(length, np.float32)
    part_T = whole_T[first : first + len(made_T)]
    part_T[:] = made_T[: len(part_T)] / heard.gain
    if wish.is_by_time:
        return placed(
            heard.samples_CT, heard.rate_hz, whole_T, spec.sample_rate_hz, wish.remake,
            before_s=wish.before_s, extend_s=wish.extend_s, fill=fill,
        )  # fmt: skip
    ceiling_db = max(_CEILING_DB, 20.0 * float(np.log10(np.abs(heard.samples_CT).max())))
    whole_T = limit(whole_T[None], spec.sample_rate_hz, ceiling_db)[0]
    return crossed(
        heard.samples_CT, heard.rate_hz, whole_T, spec.sample_rate_hz, work.asked_MF.numpy(), spec, fill=fill
    )


def _unchanged(heard: Sound, num_sounds: int) -> EditOutput:
    """The given sound itself, so often."""
    return EditOutput(
        audios=np.stack([heard.samples_CT] * num_sounds), sample_rate_hz=heard.rate_hz, mels=None, made=None,
        start_s=0.0, seconds=heard.samples_CT.shape[1] / heard.rate_hz, kept=1.0, gain_db=0.0,
        notes=("nothing was to be made anew, so the sound is the given one",),
    )  # fmt: skip


def _notes(wish: Edit, heard: Sound, model_hz: int, kind: str | None, fill: bool) -> tuple[str, ...]:
    notes = []
    if heard.rate_hz > model_hz:
        how = "filled after the given sound's own" if fill else "left empty"
        notes.append(f"what is made ends at the model's {model_hz / 2:g} Hz; the band above it was {how}")
    if kind is None:
        notes.append("made without a prompt: what is made follows less surely from the given sound alone")
    return tuple(notes)
