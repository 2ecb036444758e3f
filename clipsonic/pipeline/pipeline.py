"""ClipSonicPipeline: from a text, a picture, a video or ready CLIP embeddings to sound.

Guarantee: a pure function of the prompts, the options and one generator per sound, so a batch gives what its items
give alone; what must go together (CLIP space, mel space, scheduler, weights) is checked, and a mismatch is refused
with both sides named. Price: CLIP and the prior are loaded when a prompt first needs them, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from safetensors import SafetensorError
from torch import Tensor

from clipsonic.diffusion.guidance import EVERYWHERE, Guidance
from clipsonic.diffusion.objective import check_scheduler
from clipsonic.diffusion.sampling import initial_noise, num_network_steps, sample
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.models.lowrank import without_adapters
from clipsonic.pipeline import folder as saved
from clipsonic.pipeline import prompts as asked
from clipsonic.pipeline.adapters import WithAdapters
from clipsonic.pipeline.card import default_card
from clipsonic.pipeline.denoising import bound_to
from clipsonic.pipeline.embedding import condition_of, embeds_of
from clipsonic.pipeline.memory import Memory
from clipsonic.pipeline.origin import ROUNDED_FILE
from clipsonic.pipeline.seeing import SeesPrompts
from clipsonic.pipeline.share import push
from clipsonic.pipeline.timeline import Timeline
from clipsonic.pipeline.vocoding import vocode
from clipsonic.specs import SegmentSpec


@dataclass
class AudioPipelineOutput(BaseOutput):
    """What a call made.

    Args:
        audios: (N, T) float32 in [-1, 1], T = seconds * rate; None for `output_type="mel"`.
        sample_rate_hz: of the audios.
        mels: (N, M, F) log-mels of the mel space `segment.mel`, float32, of the whole segment, or of a longer sound;
            `segment.mel.db(mels)` are decibels.
        seconds: length of each sound.
        closer: how the gap between text and picture was closed, None where there was no text.
        embeds: what the sounds were made for, in the CLIP's picture space: N of (S, E), one row for each frame.
    """

    audios: Any
    sample_rate_hz: int
    mels: Any
    seconds: float
    closer: str | None = None
    embeds: Any = None


class ClipSonicPipeline(WithAdapters, SeesPrompts, DiffusionPipeline):
    """A denoiser of mels with its scheduler, CLIP, text prior and vocoder.

    Args:
        denoiser: DiT1D or MelUNet.
        scheduler: a diffusers scheduler of the denoiser's prediction type.
        segment: the SegmentSpec, or it as a dict.
        mel_mean, mel_std: per mel bin, of the log-mels trained on; the denoiser works on (log_mel - mean) / std.
        clip_name: where the CLIP is when the pipeline folder has none: `tiny`, a folder, or ARCH:WEIGHTS.
        num_inference_steps, guidance_scale, guidance_interval, guidance_rescale: what a call uses unless told
            otherwise; for the last three see `Guidance`.

    On a GPU, `pipeline.to("cuda", torch.bfloat16)` halves the denoiser's memory, and `pipeline.denoiser =
    torch.compile(pipeline.denoiser)` is for many calls of one shape. On a CPU neither pays (measured: within the noise
    after a minute of compiling, and 2.4 times slower), so nothing is done by itself.

    Raises:
        SpecError: parts that do not go together.
        UsageError: an impossible guidance.
    """

    model_cpu_offload_seq = "denoiser"  # type: ignore[assignment]

    def __init__(
        self,
        denoiser: Any,
        scheduler: Any,
        segment: Any = None,
        mel_mean: Any = (),
        mel_std: Any = (),
        clip_name: str = "tiny",
        num_inference_steps: int = 24,
        guidance_scale: float = 1.5,
        guidance_interval: Any = EVERYWHERE,
        guidance_rescale: float = 0.0,
    ) -> None:
        super().__init__()
        spec = segment if isinstance(segment, SegmentSpec) else SegmentSpec.from_dict(dict(segment or {}))
        mean, std = [float(value) for value in mel_mean], [float(value) for value in mel_std]
        saved.check_parts(denoiser, spec, mean, std)
        check_scheduler(scheduler, denoiser.config.prediction_type)
        guidance = Guidance(guidance_scale, tuple(guidance_interval), guidance_rescale)
        self.register_modules(denoiser=denoiser, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.register_to_config(  # type: ignore[no-untyped-call]
            segment=spec.to_dict(), mel_mean=mean, mel_std=std, clip_name=str(clip_name),
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            guidance_interval=list(guidance.interval), guidance_rescale=guidance_rescale,
        )  # fmt: skip
        self._spec, self._memory = spec, Memory()
        self.card: str | None = None

    @torch.no_grad()
    def __call__(
        self,
        text: Any = None,
        image: Any = None,
        video: Any = None,
        frames: Any = None,
        embeds: Any = None,
        *,
        negative_text: str | None = None,
        closer: str = "auto",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: Sequence[float] | None = None,
        guidance_rescale: float | None = None,
        duration_s: float | None = None,
        start_s: float = 0.0,
        frame_times_s: Sequence[float] | None = None,
        video_tokens: str = "timed",
        num_sounds: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int = 0,
        output_type: str = "np",
    ) -> AudioPipelineOutput:
        """Make `num_sounds` sounds for each prompt; prompts are one or several of one kind.

        Args:
            text, image, video: a caption; a picture, (H, W, 3) uint8 RGB or PIL; a file; or a list of them.
            frames: the pictures of one sound in order, (S, H, W, 3) or a list; or a list of such.
            embeds: (E,), (N, E), or (N, S, E) for S frames of N sounds each; only their directions count.
            negative_text: what to move away from, instead of from "nothing".
            closer: what makes a picture's embedding of a text's: zero-shot, mean-shift, neighbours, prior, or auto (the
                prior if there is one, else neighbours if there is a bank).
            num_inference_steps, guidance_scale, guidance_interval, guidance_rescale: instead of the pipeline's own.
            duration_s: seconds of sound, at most an hour (default: the segment's). More than a segment is made in
                windows that overlap and are denoised together, each of which sees the frames of its own seconds.
            start_s: where in the video the sound begins.
            frame_times_s: for `frames` and (N, S, E) embeds, seconds from the sound's start; default: bin centres.
            video_tokens: `timed` (frames at their times) or `pooled` (their mean for the whole window).
            generator: one per sound, prompt by prompt, or one for all, drawn from in turn; default: made from `seed`.
            output_type: `np`, `pt`, or `mel` (no vocoder).

        Raises:
            UsageError: not exactly one kind of prompt, or an option out of its range.
            SpecError, FingerprintError: a scheduler that does not fit the model; a CLIP or a prior of another space.
        """
        # 1. Check the call.
        kind, prompts = asked.the_prompts(text=text, image=image, video=video, frames=frames, embeds=embeds)
        steps, guidance = self.sampling(num_inference_steps, guidance_scale, guidance_interval, guidance_rescale)
        asked.check_options(guidance.scale, negative_text, video_tokens, output_type)
        check_scheduler(self.scheduler, self.denoiser.config.prediction_type)
        timeline = Timeline.of(duration_s, self.segment)
        closer = self._closer_name(closer) if kind == "text" or negative_text is not None else "none"
        # 2. Noise, each sound's from its own generator (drawn first, so that it is the same for every kind of prompt).
        generators = asked.generators_for(len(prompts), num_sounds, generator, seed)
        noise_BMF = initial_noise((self.segment.mel.num_mels, timeline.num_columns), generators)
        # 3. Embed the prompts: what each window of each sound sees.
        seen = self._embed(kind, prompts, timeline, start_s, frame_times_s)
        seen = [item for item in seen for _ in range(num_sounds)]
        # 4. Close the gap between texts and pictures.
        if kind == "text":
            seen = self._close(closer, [text for text in prompts for _ in range(num_sounds)], seen, generators)
        # 5. Make the condition, and what guidance moves away from: nothing, or the negative text.
        condition = condition_of(seen, len(timeline.starts), pooled=video_tokens == "pooled")
        away = self._away(condition, negative_text, closer, generators, timeline)
        # 6. Denoise all windows together.
        device = self._execution_device
        denoise = bound_to(self.denoiser, condition.to(device), away.to(device), guidance, timeline)
        with self.progress_bar(total=num_network_steps(self.solver, steps)) as bar:
            x_BMF = sample(
                denoise, self.solver, noise_BMF.to(device), steps,
                generators=generators, observer=lambda *_: bar.update(),
            )  # fmt: skip
        # 7. Back to log-mel.
        mean_M, std_M = self.mel_statistics
        log_mel_BMF = x_BMF.cpu() * std_M[:, None] + mean_M[:, None]
        # 8. Vocoder, and 9. the exact length.
        wave_BT = None
        if output_type != "mel":
            wave_BT = vocode(self.vocoder, log_mel_BMF, device)[:, : timeline.num_samples]
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        given = asked.as_numpy if output_type != "pt" else asked.as_it_is
        return AudioPipelineOutput(
            audios=given(wave_BT),
            sample_rate_hz=self.segment.mel.sample_rate_hz,
            mels=given(log_mel_BMF),
            seconds=timeline.num_samples / self.segment.mel.sample_rate_hz,
            closer=None if closer == "none" else closer,
            embeds=[embeds_of(item) for item in seen],
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """Load `tiny`, a folder or a hub id; other arguments as in diffusers.

        Raises:
            UsageError: no such model, or an argument that would have code of a folder run.
            CheckpointError: a folder that is incomplete, damaged, or has other weights than its config says.
        """
        if asked_for := [name for name in saved.NEVER_ASKED if kwargs.get(name)]:
            raise UsageError(f"{asked_for[0]} is not possible: no code of a model's folder is run, leave it out")
        hub_options = {name: kwargs.pop(name) for name in saved.HUB_OPTIONS if name in kwargs}
        folder = saved.find_pipeline(pretrained_model_name_or_path, hub_options)
        saved.check_index(folder)
        try:
            pipeline = super().from_pretrained(str(folder), **{**kwargs, "use_safetensors": True})
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise CheckpointError(
                f"pipeline folder {folder} cannot be loaded ({saved.first_line(error)}): bring it again"
            ) from None
        if "denoiser" not in kwargs:
            saved.check_weights(pipeline.denoiser, folder / "denoiser", kwargs.get("variant"))
        pipeline._folder, pipeline._variant, pipeline.card = folder, kwargs.get("variant"), saved.read_card(folder)
        pipeline._load_own_adapter()
        return pipeline

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the pipeline folder, whole, with its card and parts; a published CLIP stays a name in the config.

        What cannot be written (a few-step adapter of other weights, a vocoder of no kind of ours) is said in a warning.

        Raises:
            UsageError: `push_to_hub`, which would leave half of it behind.
        """
        if kwargs.pop("push_to_hub", False):
            raise UsageError(
                "save_pretrained(push_to_hub=True) is not possible: call pipeline.push_to_hub('OWNER/NAME')"
            )
        with saved.written_whole(Path(save_directory)) as folder, without_adapters(self._network):
            super().save_pretrained(folder, **{**kwargs, "safe_serialization": True})
            (folder / saved.CARD_FILE).write_text(self.card or default_card(self), encoding="utf-8")
            self._save_parts(folder)
            self._save_adapters(folder)
            self._save_names(folder)
            is_rounded = (folder / ROUNDED_FILE).is_file()
        self._remove_stale(Path(save_directory))
        if not is_rounded:
            (Path(save_directory) / ROUNDED_FILE).unlink(missing_ok=True)

    def push_to_hub(  # type: ignore[override]  # diffusers' own could leave parts out
        self, repo_id: str, *, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the pipeline's folder, parts and card included, to the repository OWNER/NAME; returns its address.

        Raises:
            UsageError: a name that is not OWNER/NAME.
            ClipsonicError: the hub refuses, or cannot be reached.
        """
        return push(self, repo_id, private=private, token=token)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the denoiser, and the other parts that are loaded, to a device; only the denoiser takes a dtype."""
        wanted = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)), None)
        with self._names_kept(wanted):
            super().to(*args, **kwargs)
        self._move_parts(self.device)
        return self

    @property
    def segment(self) -> SegmentSpec:
        """Geometry and CLIP space of what this model makes."""
        return self._spec

    @property
    def mel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (M,) of the mels it was trained on; model space is (log_mel - mean) / std."""
        return torch.tensor(self.config["mel_mean"]), torch.tensor(self.config["mel_std"])

    def sampling(
        self,
        steps: int | None = None,
        scale: float | None = None,
        interval: Sequence[float] | None = None,
        rescale: float | None = None,
    ) -> tuple[int, Guidance]:
        """Steps and guidance as asked, each the pipeline's own where it is not; the scheduler is `solver`.

        Raises:
            UsageError: an impossible guidance.
        """
        own = self.config
        guidance = Guidance(
            self.default_guidance if scale is None else scale,
            tuple(own["guidance_interval"] if interval is None else interval),
            own["guidance_rescale"] if rescale is None else rescale,
        )
        return self.default_steps if steps is None else steps, guidance


# Plain `diffusers.DiffusionPipeline.from_pretrained(folder)` looks for the class of a folder among its own names.
diffusers.ClipSonicPipeline = ClipSonicPipeline  # type: ignore[attr-defined]
