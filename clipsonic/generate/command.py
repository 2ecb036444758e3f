"""`clipsonic generate`: a prompt read, sounds made of it, the best kept, levelled, written, and the facts of it all.

Guarantee: the options are checked and the prompt is read before a model is loaded, only what the prompt needs is
loaded, sound k depends on the seed and k alone, however many are made, and every file is written whole. Price: loading
takes seconds, most of it imports; then the pipeline's own, and with `--best-of` N times that.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsonic.errors import UsageError
from clipsonic.generate.options import build_parser, check_options, is_video_file, level_of, numbered
from clipsonic.options import device_of, naming_options

if TYPE_CHECKING:
    import numpy as np

    from clipsonic.audio.loudness import LevelReport
    from clipsonic.generate.best import Choice
    from clipsonic.generate.copying import Copying
    from clipsonic.pipeline import AudioPipelineOutput, ClipSonicPipeline

__all__ = ["build_parser", "run"]

MAX_BATCH = 16


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the sounds, write the files, and say what was made."""
    if args.list_kinds:
        from clipsonic.generate.known import kinds_text

        return {"message": kinds_text(), "kinds": kinds_text().splitlines()}
    if args.batch is not None:
        from clipsonic.generate.batch import Task, run_batch

        return run_batch(args, load_pipeline, Task(make_prompt))
    started = time.perf_counter()
    with naming_options(args):
        kind = check_options(args)
        asked = read_prompt(kind, args)
        pipeline = load_pipeline(args)
        pipeline.load_parts(kind, args.closer)
        facts = {"loading_s": round(time.perf_counter() - started, 2), **make(args, asked, pipeline)}
    if facts["notice"]:
        print(facts["notice"], file=sys.stderr)
    return {"message": message_of(facts, args), **facts}


def load_pipeline(args: argparse.Namespace) -> ClipSonicPipeline:
    """The pipeline on its device, with the prior and the vocoder that were asked for."""
    from clipsonic.pipeline.pipeline import ClipSonicPipeline

    device = device_of(args.device)
    pipeline = ClipSonicPipeline.from_pretrained(args.model).to(device)
    pipeline.set_progress_bar_config(desc="denoise", file=sys.stderr, mininterval=0.5)  # type: ignore[no-untyped-call]
    if args.prior is not None:
        pipeline.set_prior(args.prior)
    if args.ear is not None:
        pipeline.set_ear(args.ear)
    if args.vocoder is not None:
        pipeline.set_vocoder(args.vocoder)
    pipeline.set_few_steps(args.few_steps)
    return pipeline


def message_of(facts: dict[str, Any], args: argparse.Namespace) -> str:
    """What was made, for a person."""
    files = facts["files"]
    many = f"{len(files)} sounds" if len(files) > 1 else "1 sound"
    closed = f", {'sound' if args.audio else 'text'} to picture by {facts['closer']}" if facts["closer"] else ""
    lines = [
        f"made {many} of {facts['seconds']:.2f} s in {facts['making_s']:.1f} s "
        f"(loading took {facts['loading_s']:.1f} s{closed}): {', '.join(files)}"
    ]
    if "chosen" in facts:
        cosines = ", ".join(f"{cosine:.2f}" for cosine in facts["cosines"])
        lines.append(f"the best of {args.best_of} by the ear: cosine to what was asked for {cosines}")
    if is_video_file(args.out):
        lines.append(_video_line(facts, args.mix))
    lines += facts["notes"]
    if facts["spectrograms"]:
        lines.append(f"spectrogram: {', '.join(facts['spectrograms'])}")
    return "\n".join(lines)


def _video_line(facts: dict[str, Any], mix: str) -> str:
    where = f"from {facts['start_s']:.2f} to {facts['start_s'] + facts['seconds']:.2f} s"
    return (
        "the whole picture is kept; "
        + {
            "replace": f"it has sound {where}, silence elsewhere",
            "mix": f"the new sound is added to its own {where}",
            "duck": f"the new sound is added to its own {where}, which is lowered where the new one is loud",
        }[mix]
    )


class Asked(NamedTuple):
    """A prompt as the pipeline takes it; of a video the seconds after `--start-s`, a word if it is damaged, and how its
    picture is copied if a video is to be written."""

    kind: str
    prompt: Any
    left_s: float | None = None
    damage: str | None = None
    copying: Copying | None = None


@dataclass(frozen=True)
class Sounds:
    """The sounds to write, (T,) each, with their mels (M, F), and what all have in common."""

    pairs: list[tuple[np.ndarray, np.ndarray]]
    first: AudioPipelineOutput
    choice: Choice | None


def make_prompt(kind: str, args: argparse.Namespace, pipeline: ClipSonicPipeline) -> dict[str, Any]:
    """What `make` does of the prompt of these options."""
    return make(args, read_prompt(kind, args), pipeline)


def read_prompt(kind: str, args: argparse.Namespace) -> Asked:
    """The prompt of these options.

    Raises:
        UsageError: it cannot be read, or the video that is to be written of it cannot be.
    """
    if kind == "text":
        return Asked(kind, args.text)
    if kind == "video":
        from clipsonic.generate.damage import damage_of
        from clipsonic.generate.video import check_video
        from clipsonic.pipeline.videos import seconds_left

        left_s = seconds_left(args.video, args.start_s)
        copying = check_video(args.video, args.out, args.mix) if is_video_file(args.out) else None
        return Asked(kind, args.video, left_s, damage_of(args.video), copying)
    from clipsonic.generate.prompt import read_embeds, read_picture

    if kind == "audio":
        from clipsonic.generate.track import read_sound

        return Asked(kind, read_sound(args.audio))
    if kind == "image":
        return Asked(kind, read_picture(args.image))
    embeds = read_embeds(args.embeds)
    return Asked(kind, embeds if embeds.ndim == 1 else embeds[None])


def make(args: argparse.Namespace, asked: Asked, pipeline: ClipSonicPipeline) -> dict[str, Any]:
    """Make the sounds of one prompt and write their files; returns the facts.

    Raises:
        ClipsonicError: what was asked for cannot be made or written.
    """
    started = time.perf_counter()
    duration_s = duration_of(args, asked.left_s)
    sounds = make_sounds(pipeline, asked, duration_s, args)
    outs = numbered(Path(args.out), len(sounds.pairs))
    reports = [
        write_one(args, path, wave, sounds.first.sample_rate_hz, index, asked.copying)
        for index, ((wave, _), path) in enumerate(zip(sounds.pairs, outs, strict=True))
    ]
    pictures = draw(args, pipeline, sounds)
    done = time.perf_counter()
    from clipsonic.generate.known import notice_for

    return {
        "files": [str(path) for path in outs],
        "spectrograms": [str(path) for path in pictures],
        "seconds": sounds.first.seconds,
        "sample_rate_hz": sounds.first.sample_rate_hz,
        "closer": sounds.first.closer,
        "start_s": args.start_s,
        "seed": args.seed,
        "making_s": round(done - started, 2),
        "levels": [report.facts() for report in reports],
        **({} if sounds.choice is None else sounds.choice.facts()),
        "notes": notes_of(reports, asked),
        "notice": notice_for(pipeline, asked.kind, asked.prompt, sounds.first.embeds[0]),
    }


def duration_of(args: argparse.Namespace, left_s: float | None) -> float | None:
    """Seconds of sound: as asked; of a video all that is left of it.

    Raises:
        UsageError: a video whose sound would outlast its picture.
    """
    if args.duration_s is None:
        from clipsonic.pipeline.denoising import MAX_DURATION_S

        return None if left_s is None else min(left_s, MAX_DURATION_S)
    if left_s is not None and args.duration_s > left_s + 1e-3 and is_video_file(args.out):
        raise UsageError(
            f"--duration-s {args.duration_s:g} from --start-s {args.start_s:g} passes the end of the video at "
            f"{args.start_s + left_s:.2f} s: give at most {left_s:.2f}"
        )
    return float(args.duration_s)


def make_sounds(
    pipeline: ClipSonicPipeline, asked: Asked, duration_s: float | None, args: argparse.Namespace
) -> Sounds:
    """All sounds that are to be written: as many as asked for, or the best of more."""
    from clipsonic.generate.best import choose_best, ear_for

    ear = None if args.best_of is None else ear_for(pipeline, args.best_of, duration_s)
    outputs = call_pipeline(pipeline, asked, duration_s, args, args.best_of or args.num_sounds)
    pairs = [pair for output in outputs for pair in zip(output.audios, output.mels, strict=True)]
    if ear is None:
        return Sounds(pairs, outputs[0], None)
    embeds, waves = [item for output in outputs for item in output.embeds], [wave for wave, _ in pairs]
    choice = choose_best(ear, embeds, waves, outputs[0].sample_rate_hz, args.num_sounds)
    return Sounds([pairs[place] for place in choice.places], outputs[0], choice)


def call_pipeline(
    pipeline: ClipSonicPipeline, asked: Asked, duration_s: float | None, args: argparse.Namespace, count: int
) -> list[AudioPipelineOutput]:
    """`count` sounds, in batches; sound k depends on the seed and k alone."""
    from clipsonic.seeding import torch_generator

    generators = [torch_generator(args.seed, "generate", 0, index) for index in range(count)]
    return [
        pipeline(
            **{asked.kind: asked.prompt},
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
        for batch in (generators[start : start + MAX_BATCH] for start in range(0, count, MAX_BATCH))
    ]


def write_one(
    args: argparse.Namespace, path: Path, wave: np.ndarray, rate_hz: int, index: int, copying: Copying | None = None
) -> LevelReport:
    """One sound as a sound file, or as the video with that sound."""
    from clipsonic.generate.write import tags_for, write_sound

    more = {} if args.num_sounds == 1 else {"sound": index + 1}
    tags = tags_for(Path(args.model).name or args.model, prompt_name(args), args.seed, **more)
    if not is_video_file(path):
        return write_sound(path, wave, rate_hz, level_of(args), tags)
    from clipsonic.generate.video import Mix, write_video

    mix = Mix(args.mix, args.mix_db)
    return write_video(args.video, path, wave, rate_hz, args.start_s, level_of(args), mix, tags, copying)


def draw(args: argparse.Namespace, pipeline: ClipSonicPipeline, sounds: Sounds) -> list[Path]:
    """A spectrogram of every sound, if asked for; returns their paths."""
    if args.spectrogram is None:
        return []
    from clipsonic.audio.picture import save_spectrogram

    mel = pipeline.segment.mel
    num_columns = mel.enough_mel_frames(sounds.pairs[0][0].size)
    paths = numbered(Path(args.spectrogram), len(sounds.pairs))
    for (_, log_mel), path in zip(sounds.pairs, paths, strict=True):
        save_spectrogram(path, log_mel[:, :num_columns], mel, title=prompt_name(args))
    return paths


def prompt_name(args: argparse.Namespace) -> str:
    """The text, or the name of the file that was the prompt."""
    return args.text or Path(str(args.image or args.video or args.audio or args.embeds)).name


def notes_of(reports: list[LevelReport], asked: Asked) -> list[str]:
    """Sentences on what came out otherwise than it was wanted."""
    notes = [f"sound {index + 1}: {report.note}" for index, report in enumerate(reports) if report.note]
    if len(reports) == 1:
        notes = [report.note for report in reports if report.note]
    return [*notes, *([asked.damage] if asked.damage else [])]
