"""`clipsonic generate`: a sound from a text, a picture, a video or ready embeddings.

Guarantee: the options are checked and the prompt is read before a model is loaded, only what the prompt needs is
loaded, and every file is written whole. Price: loading takes seconds, most of it imports.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsonic import __version__
from clipsonic.errors import UsageError
from clipsonic.generate.options import build_parser, check_options

if TYPE_CHECKING:
    import numpy as np

    from clipsonic.pipeline import AudioPipelineOutput, ClipSonicPipeline

__all__ = ["build_parser", "run"]

MAX_BATCH = 16


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the sounds, write the files, and say what was made."""
    started = time.perf_counter()
    if args.list_kinds:
        from clipsonic.generate.known import kinds_text

        return {"message": kinds_text(), "kinds": kinds_text().splitlines()}
    kind = check_options(args)
    prompt, left_s = read_prompt(kind, args)
    pipeline = load_pipeline(args)
    pipeline.load_parts(kind, args.closer)
    loaded = time.perf_counter()
    duration_s = duration_of(args, left_s)
    outputs = make_sounds(pipeline, {kind: prompt}, duration_s, args)
    files, pictures = write_files(args, pipeline, outputs)
    done = time.perf_counter()
    from clipsonic.generate.known import notice_for

    notice = notice_for(pipeline, kind, prompt, outputs[0].embeds[0])
    if notice:
        print(notice, file=sys.stderr)
    facts = {
        "files": files,
        "spectrograms": pictures,
        "seconds": outputs[0].seconds,
        "sample_rate_hz": outputs[0].sample_rate_hz,
        "closer": outputs[0].closer,
        "start_s": args.start_s,
        "seed": args.seed,
        "loading_s": round(loaded - started, 2),
        "making_s": round(done - loaded, 2),
        "notice": notice,
    }
    return {"message": message_of(facts, Path(args.out).suffix.lower() == ".mp4"), **facts}


def read_prompt(kind: str, args: argparse.Namespace) -> tuple[Any, float | None]:
    """The prompt as the pipeline takes it, and of a video the seconds after `--start-s`."""
    if kind == "text":
        return args.text, None
    if kind == "video":
        from clipsonic.pipeline.prompts import seconds_left

        return args.video, seconds_left(args.video, args.start_s)
    from clipsonic.generate.prompt import read_embeds, read_picture

    if kind == "image":
        return read_picture(args.image), None
    embeds = read_embeds(args.embeds)
    return (embeds if embeds.ndim == 1 else embeds[None]), None


def load_pipeline(args: argparse.Namespace) -> ClipSonicPipeline:
    """The pipeline on its device, with the prior and the vocoder that were asked for."""
    import torch

    from clipsonic.pipeline import ClipSonicPipeline

    name = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = ClipSonicPipeline.from_pretrained(args.model)
    try:
        pipeline.to(name)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): give cpu or auto"
        ) from None
    pipeline.set_progress_bar_config(desc="denoise", file=sys.stderr, mininterval=0.5)  # type: ignore[no-untyped-call]
    if args.prior is not None:
        pipeline.set_prior(args.prior)
    if args.vocoder is not None:
        pipeline.set_vocoder(args.vocoder)
    pipeline.set_few_steps(args.few_steps)
    return pipeline


def duration_of(args: argparse.Namespace, left_s: float | None) -> float | None:
    """Seconds of sound: as asked; of a video all that is left of it.

    Raises:
        UsageError: an MP4 whose sound would outlast its picture.
    """
    if args.duration_s is None:
        from clipsonic.pipeline.timeline import MAX_DURATION_S

        return None if left_s is None else min(left_s, MAX_DURATION_S)
    if left_s is not None and args.duration_s > left_s + 1e-3 and Path(args.out).suffix.lower() == ".mp4":
        raise UsageError(
            f"--duration-s {args.duration_s:g} from --start-s {args.start_s:g} passes the end of the video at "
            f"{args.start_s + left_s:.2f} s: give at most {left_s:.2f}"
        )
    return float(args.duration_s)


def make_sounds(
    pipeline: ClipSonicPipeline, prompt: dict[str, Any], duration_s: float | None, args: argparse.Namespace
) -> list[AudioPipelineOutput]:
    """All sounds, in batches; sound k depends on the seed and k alone."""
    from clipsonic.seeding import torch_generator

    generators = [torch_generator(args.seed, "generate", 0, index) for index in range(args.num_sounds)]
    return [
        pipeline(
            **prompt,
            negative_text=args.negative_text,
            closer="prior" if args.prior is not None and args.closer == "auto" else args.closer,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            duration_s=duration_s,
            start_s=args.start_s,
            video_tokens=args.video_tokens,
            num_sounds=len(batch),
            generator=batch,
        )
        for batch in (generators[start : start + MAX_BATCH] for start in range(0, len(generators), MAX_BATCH))
    ]


def write_files(
    args: argparse.Namespace, pipeline: ClipSonicPipeline, outputs: list[AudioPipelineOutput]
) -> tuple[list[str], list[str]]:
    """Write every sound and, if asked for, its spectrogram; returns their paths."""
    sounds = [pair for output in outputs for pair in zip(output.audios, output.mels, strict=True)]
    outs = numbered(Path(args.out), len(sounds))
    for (wave, _), path in zip(sounds, outs, strict=True):
        write_sound(args, path, wave, outputs[0])
    if args.spectrogram is None:
        return [str(path) for path in outs], []
    from clipsonic.audio.picture import save_spectrogram

    mel = pipeline.segment.mel
    num_columns = -(-sounds[0][0].size // mel.hop_length)
    pictures = numbered(Path(args.spectrogram), len(sounds))
    for (_, log_mel), path in zip(sounds, pictures, strict=True):
        save_spectrogram(path, log_mel[:, :num_columns], mel, title=args.text or Path(_source(args)).name)
    return [str(path) for path in outs], [str(path) for path in pictures]


def write_sound(args: argparse.Namespace, path: Path, wave: np.ndarray, output: AudioPipelineOutput) -> None:
    """One sound as WAV or FLAC, or as the video with that sound."""
    if path.suffix.lower() == ".mp4":
        from clipsonic.generate.mux import replace_sound

        return replace_sound(args.video, path, wave, output.sample_rate_hz, args.start_s)
    from clipsonic.audio.wave import write_audio

    about = {
        "software": f"clipsonic {__version__}",
        "prompt": args.text or Path(_source(args)).name,
        "seed": str(args.seed),
    }
    return write_audio(path, wave, output.sample_rate_hz, metadata=about)


def numbered(path: Path, count: int) -> list[Path]:
    """`path` itself, or name-1.suffix, name-2.suffix, ..."""
    return [path] if count == 1 else [path.with_name(f"{path.stem}-{index + 1}{path.suffix}") for index in range(count)]


def message_of(facts: dict[str, Any], is_video: bool) -> str:
    """What was made, for a person."""
    files = facts["files"]
    many = f"{len(files)} sounds" if len(files) > 1 else "1 sound"
    closed = f", text to picture by {facts['closer']}" if facts["closer"] else ""
    lines = [
        f"made {many} of {facts['seconds']:.2f} s in {facts['making_s']:.1f} s "
        f"(loading took {facts['loading_s']:.1f} s{closed}): {', '.join(files)}"
    ]
    if is_video:
        end_s = facts["start_s"] + facts["seconds"]
        lines.append(
            f"the whole picture is kept; it has sound from {facts['start_s']:.2f} to {end_s:.2f} s, silence elsewhere"
        )
    if facts["spectrograms"]:
        lines.append(f"spectrogram: {', '.join(facts['spectrograms'])}")
    return "\n".join(lines)


def _source(args: argparse.Namespace) -> str:
    return str(args.image or args.video or args.embeds)
