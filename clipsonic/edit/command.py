"""`clipsonic edit`: a sound read, parts of it made anew under a prompt or none, and written as it was.

Guarantee: options, files and prompt are checked and read before a model is loaded; edit k depends on the seed and k
alone; what was kept comes out as it went in, bit for bit in WAV and FLAC of the given depth; every file is written
whole. Price: loading takes seconds; then the pipeline's own.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsonic.edit.options import build_parser, check_options, looked_at, wish_of
from clipsonic.errors import UsageError
from clipsonic.files import write_whole
from clipsonic.generate.options import is_video_file, numbered
from clipsonic.options import naming_options

if TYPE_CHECKING:
    import numpy as np

    from clipsonic.audio.exact import ExactSound
    from clipsonic.generate.copying import Copying
    from clipsonic.pipeline import ClipSonicPipeline
    from clipsonic.pipeline.editing import EditOutput

__all__ = ["build_parser", "run"]

AI_COMMENT = "AI-edited sound"
_MARGIN_S = 0.05  # that sound and picture of a video may differ at their ends


class Asked(NamedTuple):
    """The given sound, the prompt by its kind (or none), the mask, and how a video's picture is copied."""

    sound: ExactSound
    prompt: dict[str, Any]
    mask: Any = None
    copying: Copying | None = None


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Edit the sound, write the files, and say what was made."""
    from clipsonic.generate.command import load_pipeline

    if args.canvas is not None:
        return draw_canvas(args)
    if args.batch is not None:
        from clipsonic.edit.rows import TABLE
        from clipsonic.generate.batch import Task, run_batch

        task = Task(lambda _, options, pipeline: make(options, read(options), pipeline), check_options, TABLE,
                    ("spectrogram",), "edit")  # fmt: skip
        return run_batch(args, load_pipeline, task)
    started = time.perf_counter()
    with naming_options(args):
        kind = check_options(args)
        asked = read(args)
        pipeline = load_pipeline(args)
        pipeline.load_parts(kind, args.closer)
        facts = {"loading_s": round(time.perf_counter() - started, 2), **make(args, asked, pipeline)}
    if facts["notice"]:
        print(facts["notice"], file=sys.stderr)
    return {"message": message_of(facts), **facts}


def read(args: argparse.Namespace) -> Asked:
    """What the options name.

    Raises:
        UsageError: it cannot be read, or the video that is to be written cannot be.
    """
    from clipsonic.edit.given import read_given, read_mask

    sound = read_given(args.sound)
    mask = None if args.mask is None else read_mask(args.mask)
    copying = None
    if is_video_file(args.out):
        from clipsonic.generate.video import check_video
        from clipsonic.pipeline.videos import seconds_left

        seconds, left_s = sound.wave_CT.shape[1] / sound.rate_hz, seconds_left(args.sound, 0.0)
        if args.extend_s > 0.0 and seconds + args.extend_s > left_s + _MARGIN_S:
            raise UsageError(
                f"--extend-s {args.extend_s:g} leads from {seconds:.2f} s beyond the end of the picture at "
                f"{left_s:.2f} s: give less, or end --out in .wav"
            )
        copying = check_video(args.sound, args.out)
    return Asked(sound, read_prompt(args), mask, copying)


def read_prompt(args: argparse.Namespace) -> dict[str, Any]:
    """The prompt by its kind; empty without one.

    Raises:
        UsageError: it cannot be read.
    """
    from clipsonic.generate.prompt import read_embeds, read_picture

    if (video := looked_at(args)) is not None:
        return {"video": video, "start_s": args.start_s, "video_tokens": args.video_tokens}
    if args.text is not None:
        return {"text": args.text}
    if args.audio is not None:
        from clipsonic.generate.track import read_sound

        return {"audio": read_sound(args.audio), "start_s": args.start_s}
    if args.image is not None:
        return {"image": read_picture(args.image)}
    if args.embeds is not None:
        embeds = read_embeds(args.embeds)
        return {"embeds": embeds if embeds.ndim == 1 else embeds[None], "video_tokens": args.video_tokens}
    return {}


def make(args: argparse.Namespace, asked: Asked, pipeline: ClipSonicPipeline) -> dict[str, Any]:
    """Edit one sound and write the files; returns the facts.

    Raises:
        ClipsonicError: what was asked for cannot be made or written.
    """
    started = time.perf_counter()
    outputs = call_pipeline(args, asked, pipeline)
    first, audios = outputs[0], [audio for output in outputs for audio in output.audios]
    outs = numbered(Path(args.out), len(audios))
    for index, (audio, path) in enumerate(zip(audios, outs, strict=True)):
        write_one(args, path, audio, asked, {} if len(audios) == 1 else {"sound": index + 1})
    pictures = draw(args, pipeline, audios, asked.sound.rate_hz)
    return {
        "files": [str(path) for path in outs],
        "spectrograms": [str(path) for path in pictures],
        "seconds": first.seconds,
        "sample_rate_hz": first.sample_rate_hz,
        "channels": len(audios[0]),
        "kept": round(first.kept, 4),
        "gain_db": round(first.gain_db, 2),
        "closer": first.closer,
        "edited": what_of(args),
        "seed": args.seed,
        "making_s": round(time.perf_counter() - started, 2),
        "notes": [*first.notes, *notes_of(args, asked)],
        "notice": notice_of(pipeline, asked.prompt, first),
    }


def call_pipeline(args: argparse.Namespace, asked: Asked, pipeline: ClipSonicPipeline) -> list[EditOutput]:
    """All edits, in batches; edit k depends on the seed and k alone."""
    from clipsonic.generate.command import MAX_BATCH
    from clipsonic.seeding import torch_generator

    wish = wish_of(args, asked.mask)
    generators = [torch_generator(args.seed, "edit", 0, index) for index in range(args.num_sounds)]
    return [
        pipeline.edit(
            asked.sound.wave_CT,
            asked.sound.rate_hz,
            **asked.prompt,
            **vars(wish),
            from_text=args.from_text,
            pull=args.pull,
            fill=args.fill,
            negative_text=args.negative_text,
            closer="prior" if args.prior is not None and args.closer == "auto" else args.closer,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            num_sounds=len(batch),
            generator=batch,
        )
        for batch in (generators[at : at + MAX_BATCH] for at in range(0, len(generators), MAX_BATCH))
    ]


def write_one(args: argparse.Namespace, path: Path, audio_CT: np.ndarray, asked: Asked, more: dict[str, Any]) -> None:
    """One edit, as a sound file in the given depth, a lossy one, or the video with that sound.

    Raises:
        UsageError: more channels than the file can hold.
    """
    from clipsonic.audio.exact import write_exact
    from clipsonic.audio.formats import LOSSLESS, encode_sound
    from clipsonic.generate.write import tags_for

    sound, given = asked.sound, Path(args.sound).name
    tags = tags_for(
        Path(args.model).name or args.model, prompt_name(args) or given, args.seed,
        comment=AI_COMMENT, given=given, edited=what_of(args), **more,
    )  # fmt: skip
    if path.suffix.lower() in LOSSLESS:
        write_exact(path, audio_CT, sound.rate_hz, sound.depth, tags)
        return
    if len(audio_CT) > 2:
        raise UsageError(f"--out {path} holds two channels at most, the sound has {len(audio_CT)}: end it in .wav")
    if not is_video_file(path):
        write_whole(path, encode_sound(audio_CT, sound.rate_hz, path.suffix, tags))
        return
    from clipsonic.generate.mux import replace_sound

    replace_sound(args.sound, path, audio_CT.astype("float32"), sound.rate_hz, 0.0, tags, asked.copying)


def draw(args: argparse.Namespace, pipeline: ClipSonicPipeline, audios: list[np.ndarray], rate_hz: int) -> list[Path]:
    """A spectrogram of every edit, if asked for; returns their paths."""
    if args.spectrogram is None:
        return []
    from clipsonic.audio.picture import save_spectrogram

    paths = numbered(Path(args.spectrogram), len(audios))
    for audio_CT, path in zip(audios, paths, strict=True):
        title = f"{Path(args.sound).name}: {what_of(args)}"
        save_spectrogram(path, mel_of(audio_CT, rate_hz, pipeline), pipeline.segment.mel, title)
    return paths


def draw_canvas(args: argparse.Namespace) -> dict[str, Any]:
    """The given sound as a dark picture of its cells, which becomes a mask where it is painted white."""
    from clipsonic.audio.picture import canvas_png
    from clipsonic.edit.given import read_given
    from clipsonic.generate.command import load_pipeline

    if args.sound is None or args.batch is not None or Path(args.canvas).suffix.lower() != ".png":
        raise UsageError(f"--canvas {args.canvas} must end in .png, and is drawn of one SOUND: name it")
    sound, pipeline = read_given(args.sound), load_pipeline(args)
    write_whole(Path(args.canvas), canvas_png(mel_of(sound.wave_CT, sound.rate_hz, pipeline), pipeline.segment.mel))
    return {
        "message": f"drawn: {args.canvas}; paint white over it what is to be made anew, and give it as --mask",
        "file": args.canvas,
    }


def mel_of(audio_CT: np.ndarray, rate_hz: int, pipeline: ClipSonicPipeline) -> np.ndarray:
    """Log-mel (M, F) of a sound (C, T), as the pipeline hears it."""
    from clipsonic.audio.mel import LogMel
    from clipsonic.audio.splice import mixed
    from clipsonic.audio.wave import resample
    from clipsonic.pipeline.given import log_mel_of

    mel = pipeline.segment.mel
    wave_T = resample(mixed(audio_CT), rate_hz, mel.sample_rate_hz)
    return log_mel_of(LogMel(mel), wave_T, mel.num_mel_frames(len(wave_T))).numpy()


def prompt_name(args: argparse.Namespace) -> str:
    """The text, or the name of the file that was the prompt; empty without one."""
    return args.text or Path(str(args.image or looked_at(args) or args.audio or args.embeds or "")).name


def what_of(args: argparse.Namespace) -> str:
    """What was made anew, in the words of the options."""
    words = [f"remake {start_s:g}:{end_s:g}" for start_s, end_s in args.remake or ()]
    words += [] if args.mask is None else [f"mask {Path(args.mask).name}"]
    values = {name: getattr(args, name) for name in ("above_hz", "below_hz", "extend_s", "before_s", "strength")}
    words += [f"{name.replace('_', '-')} {value:g}" for name, value in values.items() if value]
    return ", ".join([*words, *([] if args.from_text is None else [f"from {args.from_text!r}"])])


def notes_of(args: argparse.Namespace, asked: Asked) -> list[str]:
    """Sentences on what was kept otherwise than bit for bit."""
    from clipsonic.audio.exact import is_held_exactly
    from clipsonic.audio.formats import LOSSLESS
    from clipsonic.generate.damage import damage_of

    suffix, notes = Path(args.out).suffix.lower(), []
    if suffix not in LOSSLESS:
        notes.append(f"{suffix} is lossy: what was kept is as near to the given sound as its codec comes")
    elif not is_held_exactly(suffix, asked.sound.depth):
        notes.append(
            f"{suffix} holds 24 bits at most: what was kept is rounded to them; .wav would keep it bit for bit"
        )
    damage = None if looked_at(args) is None else damage_of(str(looked_at(args)))
    return [*notes, *([damage] if damage else [])]


def notice_of(pipeline: ClipSonicPipeline, prompt: dict[str, Any], made: EditOutput) -> str | None:
    """What the bundled model does not know of the prompt, if anything."""
    from clipsonic.generate.known import notice_for

    kind = next(iter(prompt), None)
    return None if kind is None or made.embeds is None else notice_for(pipeline, kind, prompt[kind], made.embeds[0])


def message_of(facts: dict[str, Any]) -> str:
    """What was made, for a person."""
    files = facts["files"]
    many = f"{len(files)} sounds" if len(files) > 1 else "1 sound"
    lines = [
        f"edited {many} of {facts['seconds']:.2f} s, {facts['kept']:.0%} of it kept, in {facts['making_s']:.1f} s "
        f"(loading took {facts['loading_s']:.1f} s): {', '.join(files)}",
        *facts["notes"],
    ]
    if facts["spectrograms"]:
        lines.append(f"spectrogram: {', '.join(facts['spectrograms'])}")
    return "\n".join(lines)
