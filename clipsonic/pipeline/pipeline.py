"""ClipSonicPipeline: from a text, a picture, a video or ready CLIP embeddings to sound.

Guarantee: a pure function of the prompts, the options and one generator per sound, so a batch gives what its items
give alone; what must go together (CLIP space, mel space, scheduler, weights) is checked, and a mismatch is refused
with both sides named. Price: CLIP and the prior are loaded when a prompt first needs them, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors import SafetensorError
from torch import Tensor

import clipsonic.pipeline.folder as saved
import clipsonic.pipeline.prompts as asked
from clipsonic.audio.vocoder import Vocoder
from clipsonic.clip.embedder import ClipEmbedder
from clipsonic.diffusion.objective import check_scheduler
from clipsonic.diffusion.sampling import EVERYWHERE, Guidance, initial_noise, num_network_steps, sample
from clipsonic.diffusion.schedulers import make_scheduler
from clipsonic.ear.tower import Ear
from clipsonic.errors import CheckpointError, UsageError, first_line
from clipsonic.models.conditioner import Condition
from clipsonic.models.lowrank import without_adapters
from clipsonic.pipeline.adapter_folder import Adapter
from clipsonic.pipeline.adapters import ROUNDED_FILE, Adapters
from clipsonic.pipeline.card import default_card
from clipsonic.pipeline.denoising import Timeline, bound_to
from clipsonic.pipeline.editing import edit
from clipsonic.pipeline.parts import Parts
from clipsonic.pipeline.prompts import AudioPipelineOutput
from clipsonic.pipeline.share import push
from clipsonic.pipeline.vocoding import vocode
from clipsonic.prior.adapter import TextPrior
from clipsonic.prior.bank import EmbedBank
from clipsonic.specs import SegmentSpec


class ClipSonicPipeline(DiffusionPipeline):
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
        self._loaded, self._acting = Parts(spec, str(clip_name)), Adapters()
        self._folder: Path | None = None
        self.card: str | None = None

    @torch.no_grad()
    def __call__(
        self, text: Any = None, image: Any = None, video: Any = None, frames: Any = None, embeds: Any = None, *,
        audio: Any = None, negative_text: str | None = None, closer: str = "auto",
        num_inference_steps: int | None = None, guidance_scale: float | None = None,
        guidance_interval: Sequence[float] | None = None, guidance_rescale: float | None = None,
        duration_s: float | None = None, start_s: float = 0.0, frame_times_s: Sequence[float] | None = None,
        video_tokens: str = "timed", num_sounds: int = 1, seed: int = 0, output_type: str = "np",
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> AudioPipelineOutput:  # fmt: skip
        """Make `num_sounds` sounds for each prompt; prompts are one or several of one kind.

        Args:
            text, image, video: a caption; a picture, (H, W, 3) uint8 RGB or PIL; a file; or a list of them.
            audio: a sound file, or (samples (T,) or (C, T), rate), whose like is made; or a list of them.
            frames: the pictures of one sound in order, (S, H, W, 3) or a list; or a list of such.
            embeds: (E,), (N, E), or (N, S, E) for S frames of N sounds each; only their directions count.
            negative_text: what to move away from, instead of from "nothing".
            closer: from a text's or sound's embedding to a picture's: zero-shot, mean-shift, neighbours, prior, auto.
            num_inference_steps, guidance_scale, guidance_interval, guidance_rescale: instead of the pipeline's own.
            duration_s: seconds of sound, at most an hour (default: the segment's); more than that is made in windows.
            start_s: where in the video or the sound the new one begins.
            frame_times_s: for `frames` and (N, S, E) embeds, seconds from the sound's start; default: bin centres.
            video_tokens: `timed` (frames at their times) or `pooled` (their mean for the whole window).
            generator: one per sound, prompt by prompt, or one for all, drawn from in turn; default: made from `seed`.
            output_type: `np`, `pt`, or `mel` (no vocoder).

        Raises:
            UsageError: not exactly one kind of prompt, or an option out of its range.
            SpecError, FingerprintError: a scheduler that does not fit the model; a CLIP or a prior of another space.
        """
        given = {"text": text, "image": image, "video": video, "frames": frames, "audio": audio, "embeds": embeds}
        kind, prompts = asked.the_prompts(**given)
        steps, guidance = self.sampling(num_inference_steps, guidance_scale, guidance_interval, guidance_rescale)
        asked.check_options(guidance.scale, negative_text, video_tokens, output_type)
        check_scheduler(self.scheduler, self.denoiser.config.prediction_type)
        timeline = Timeline.of(duration_s, self.segment)
        spoken, closer = asked.closers_of(kind, closer, kind == "text" or negative_text is not None, self._parts)
        # 1. Noise, each sound's from its own generator (drawn first, so that it is the same for every kind of prompt).
        generators = asked.generators_for(len(prompts), num_sounds, generator, seed)
        noise_BMF = initial_noise((self.segment.mel.num_mels, timeline.num_columns), generators)
        # 2. What each window of each sound sees; of texts, pictures that could belong to them.
        seen = asked.embed(kind, prompts, self._parts, timeline, start_s, frame_times_s, closer)
        seen = [item for item in seen for _ in range(num_sounds)]
        if kind == "text":
            captions = [text for text in prompts for _ in range(num_sounds)]
            seen = asked.close(closer, captions, seen, generators, self._parts)
        # 3. The condition, and what guidance moves away from: nothing, or the negative text.
        condition = asked.condition_of(seen, len(timeline.starts), pooled=video_tokens == "pooled")
        away = asked.away_from(condition, negative_text, spoken, generators, self._parts, timeline)
        # 4. Denoise all windows together. 5. Back to log-mel. 6. Vocoder, and 7. the exact length.
        x_BMF = self._denoised(noise_BMF, condition, away, guidance, timeline, steps, generators)
        log_mel_BMF = self._from_model_space(x_BMF)
        wave_BT = None if output_type == "mel" else vocode(self.vocoder, log_mel_BMF)[:, : timeline.num_samples]
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        return AudioPipelineOutput.of(wave_BT, log_mel_BMF, timeline, self.segment, closer, seen, output_type)

    edit = edit  # a sound that is there, instead of noise alone

    def _denoised(
        self, noise_BMF: Tensor, condition: Condition, away: Condition, guidance: Guidance, timeline: Timeline,
        steps: int, generators: Sequence[torch.Generator],
    ) -> Tensor:  # fmt: skip
        """From noise to x0 (B, M, F), on the device."""
        device, solver = self._execution_device, self.solver
        denoise = bound_to(self.denoiser, condition.to(device), away.to(device), guidance, timeline)
        with self.progress_bar(total=num_network_steps(solver, steps)) as bar:
            return sample(
                denoise, solver, noise_BMF.to(device), steps, generators=generators, observer=lambda *_: bar.update()
            )

    def _from_model_space(self, x_BMF: Tensor) -> Tensor:
        """Log-mels of what the denoiser works on."""
        mean_M, std_M = (values.to(x_BMF.device) for values in self.mel_statistics)
        return x_BMF * std_M[:, None] + mean_M[:, None]

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
                f"pipeline folder {folder} cannot be loaded ({first_line(error)}): bring it again"
            ) from None
        if "denoiser" not in kwargs:
            saved.check_weights(pipeline.denoiser, folder / "denoiser", kwargs.get("variant"))
        pipeline._folder, pipeline.card = folder, saved.read_card(folder)
        pipeline._acting.variant = kwargs.get("variant")
        pipeline._adapters.load_own()
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
        with saved.written_whole(Path(save_directory)) as folder, without_adapters(self._adapters.network):
            super().save_pretrained(folder, **{**kwargs, "safe_serialization": True})
            (folder / saved.CARD_FILE).write_text(self.card or default_card(self), encoding="utf-8")
            self._parts.save(folder)
            self._adapters.save(folder)
            self._adapters.save_names(folder)
            is_rounded = (folder / ROUNDED_FILE).is_file()
        self._adapters.remove_stale(Path(save_directory))
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
        with self._adapters.names_kept(wanted):
            super().to(*args, **kwargs)
        self._parts.move(self.device)
        return self

    @property
    def segment(self) -> SegmentSpec:
        """Geometry and CLIP space of what this model makes."""
        return self._loaded.spec

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

    @property
    def solver(self) -> Any:
        """The scheduler that a call uses: the pipeline's, or the one that few steps were learned with."""
        acting = self._acting
        if acting.few_steps is None or acting.few is None:
            return self.scheduler
        return make_scheduler("flow", flow_shift=acting.few.flow_shift)

    @property
    def default_steps(self) -> int:
        """Solver steps of a call that names none."""
        return int(self.config["num_inference_steps"] if self.few_steps is None else self.few_steps)

    @property
    def default_guidance(self) -> float:
        """Guidance of a call that names none: few steps have it in their weights."""
        return float(self.config["guidance_scale"]) if self.few_steps is None else 1.0

    @property
    def _home(self) -> Path | None:
        """The folder it was loaded from, by us or by plain diffusers; None for one that was made in memory."""
        name = self._folder or self.config.get("_name_or_path")
        return Path(name) if name and (Path(name) / saved.INDEX_FILE).is_file() else None

    @property
    def _parts(self) -> Parts:
        return self._loaded.of(self._home, self._execution_device)

    @property
    def _adapters(self) -> Adapters:
        return self._acting.of(saved.uncompiled(self.denoiser), self._home)

    # Its parts, each loaded on first use; what is refused of them is said at `Parts`.

    @property
    def vocoder(self) -> Vocoder:
        """Log-mel to wave: the folder's, else the bundled one of its mel space, else Griffin-Lim; may be assigned."""
        return self._parts.vocoder

    @vocoder.setter
    def vocoder(self, vocoder: Vocoder) -> None:
        self._parts.vocoder = vocoder

    def set_vocoder(self, name: str | Path) -> None:
        """Use `griffin-lim`, or the vocoder in this folder or of this hub id, ours or a published one."""
        self._parts.set_vocoder(name)

    @property
    def clip(self) -> ClipEmbedder:
        """The CLIP, of the pipeline's folder or by its name."""
        return self._parts.clip

    def set_clip(self, clip: ClipEmbedder) -> None:
        """Use this CLIP, of the space that the model was trained in."""
        self._parts.set_clip(clip)

    @property
    def prior(self) -> TextPrior | None:
        """The text prior, or None where there is none."""
        return self._parts.prior

    def set_prior(self, prior: TextPrior | str | Path) -> None:
        """Use this text prior, or the one in this folder."""
        self._parts.set_prior(prior)

    @property
    def bank(self) -> EmbedBank | None:
        """Picture embeddings of the corpus, or None where there are none."""
        return self._parts.bank

    def set_bank(self, bank: EmbedBank) -> None:
        """Use these picture embeddings."""
        self._parts.set_bank(bank)

    @property
    def ear(self) -> Ear | None:
        """From sounds to the CLIP space, or None where there is none."""
        return self._parts.ear

    def set_ear(self, ear: Ear | str | Path) -> None:
        """Use this ear, or the one in this folder."""
        self._parts.set_ear(ear)

    def load_parts(self, kind: str, closer: str = "auto") -> None:
        """Load now what prompts of this kind (text, image, video, frames, audio, embeds) need."""
        self._parts.load(kind, closer)

    def why_no_closer(self, name: str) -> str | None:
        """Why this pipeline cannot close the gap that way, as a sentence, or None."""
        return self._parts.why_no_closer(name)

    # Its adapters; what is refused of them is said at `Adapters`.

    def load_adapter(self, folder: str | Path, weight: float = 1.0) -> None:
        """Use the adapter in this folder, so strongly, instead of any other one loaded before."""
        self._adapters.load(folder, weight)

    def put_adapter(self, adapter: Adapter, where: str | Path) -> None:
        """Use this adapter, which came from `where`; one for few steps waits for `set_few_steps`."""
        self._adapters.put(adapter, where)

    def unload_adapter(self) -> None:
        """The pipeline without its adapter; without one, nothing."""
        self._adapters.unload()

    @property
    def adapter_name(self) -> str | None:
        """What its weights are, by their content, and how strongly it acts; None without one."""
        return self._adapters.name

    def load_few_steps(self, folder: str | Path | None = None) -> None:
        """Load what lets few steps do, from a folder or the pipeline's own; `set_few_steps` puts it to use."""
        self._adapters.load_few(folder)

    def set_few_steps(self, steps: int | None) -> None:
        """From now on make sounds in so many calls of the network, without guidance; None is as without."""
        self._adapters.set_steps(steps)

    @property
    def few_steps(self) -> int | None:
        """The number that was set, or None."""
        return self._acting.few_steps

    def weight_names(self) -> frozenset[str]:
        """The name of the denoiser's own weights, and those of the weights that they were rounded from."""
        return self._adapters.weight_names()


# Plain `diffusers.DiffusionPipeline.from_pretrained(folder)` looks for the class of a folder among its own names.
diffusers.ClipSonicPipeline = ClipSonicPipeline  # type: ignore[attr-defined]
