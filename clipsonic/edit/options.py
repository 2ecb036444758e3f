"""The options of `clipsonic edit`, and the refusal of those that do not go together.

Guarantee: nothing heavy is imported for the help, and what can be refused is refused before a model is loaded. What a
prompt is and how it is understood are `generate`'s options.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsonic.errors import UsageError
from clipsonic.generate.options import (
    PROMPTS,
    SOUND_SUFFIXES,
    TEXTS,
    VIDEO_SUFFIXES,
    add_looking,
    add_model,
    add_prompt,
    add_sampling,
    add_several,
    check_closer,
    check_number,
    check_spectrogram,
    check_texts,
    is_video_file,
)
from clipsonic.generate.rows import has_frames
from clipsonic.options import add_device, check_few_steps, command_parser

if TYPE_CHECKING:
    from clipsonic.pipeline.given import Edit

EXAMPLE = """\
example:
  clipsonic edit rain.wav --remake 2:3.5 --text "a dog barking" --out rain_and_dog.wav
  clipsonic edit bell.flac --extend-s 3 --out longer.flac
  clipsonic edit bell.flac --strength 0.4 --num-sounds 4 --out like_it.flac
  clipsonic edit dull.wav --above-hz 2400 --image bell.jpg --out bright.wav
  clipsonic edit street.mp4 --remake 0:1.5 --out street_edited.mp4
  clipsonic edit --batch rows.csv --out EDITED

Regions and added seconds: outside of them the file's samples come back as they are, bit for bit in WAV and FLAC.
Without a prompt a sound is continued less surely than with one; a video is edited under its own frames.
"""
ALL_TEXTS = (*TEXTS, "from_text")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Change a sound that is there: parts of it, what follows it, or all of it.", EXAMPLE)
    add = parser.add_argument
    add(
        "sound", nargs="?", metavar="SOUND", help="a sound file, or a video, whose own track is edited under its frames"
    )
    add(
        "--out",
        metavar="FILE",
        help=f"{', '.join(SOUND_SUFFIXES)}, in the given rate, channels and depth; or of a video "
        f"{', '.join(VIDEO_SUFFIXES)}; with --batch a folder",
    )
    _add_what(parser)
    prompt = add_prompt(parser, "prompt (one or none)")
    prompt.add_argument(
        "--from-text", metavar="T", help="what the sound is, in words, for --strength: keeps more of it"
    )
    prompt.add_argument(
        "--batch",
        metavar="FILE|FOLDER",
        help="many edits: a .csv or .jsonl file of rows with columns named like these options (sound, out, remake, "
        "text, strength, ...), or a folder of sounds; continues where it was stopped",
    )
    add_model(parser)
    add_sampling(parser)
    add("--spectrogram", metavar="FILE.png", help="also draw the mel spectrogram of what came out")
    add(
        "--canvas",
        metavar="FILE.png",
        help="draw the given sound, to be painted white where it is to change and given as --mask, and do nothing else",
    )
    add_device(parser)
    add_several(parser)
    add_looking(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is made anew").add_argument
    add("--remake", type=region, action="append", metavar="FROM:TO", help="these seconds; may be given several times")
    add("--extend-s", type=float, default=0.0, metavar="T", help="seconds after the end")
    add("--before-s", type=float, default=0.0, metavar="T", help="seconds before the beginning")
    add("--above-hz", type=float, metavar="F", help="all above this frequency")
    add("--below-hz", type=float, metavar="F", help="all below this frequency")
    add(
        "--mask",
        metavar="FILE.png",
        help="what is white in this picture, laid over the whole spectrogram (low frequencies below)",
    )
    add(
        "--strength",
        type=float,
        metavar="S",
        help="how far to leave the sound, above 0 to 1; alone all of it varies, with a prompt it is restyled, with one "
        "of the others these parts only",
    )
    add(
        "--pull",
        type=float,
        default=0.0,
        metavar="Z",
        help="lead what is made by the gradient of what is known: 3 to 10",
    )
    add("--no-fill", dest="fill", action="store_false", help="leave empty what the model's sample rate cannot hold")


def region(word: Any) -> tuple[float, float]:
    """FROM:TO, as seconds.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        start_s, end_s = (float(part) for part in str(word).split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not FROM:TO in seconds, such as 1.5:2") from None
    return start_s, end_s


def check_options(args: argparse.Namespace) -> str:
    """What of a pipeline the edit needs, as `load_parts` has it: the kind of prompt, or of one that needs nothing.

    Raises:
        UsageError: options that do not go together.
    """
    if args.sound is None:
        raise UsageError("no sound is given: name the file to edit, or many with --batch")
    if args.out is None:
        raise UsageError("--out is missing: give the .wav, .flac, .mp3 or .mp4 file to write")
    given = [kind for kind in PROMPTS if getattr(args, kind) is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(f'--{kind}' for kind in given)} given: give one prompt, or none")
    check_texts(args, ALL_TEXTS)
    check_out(args)
    check_spectrogram(args)
    check_closer(args, ALL_TEXTS)
    check_number(args)
    check_few_steps(args)
    if args.start_s != 0.0 and args.video is None and args.audio is None:
        raise UsageError(
            f"--start-s {args.start_s:g} is a time in the prompt's video or sound: give it with --video or --audio"
        )
    check_beginning(args)
    wish_of(args)
    if any(getattr(args, name) is not None for name in ALL_TEXTS):
        return "text"
    return "video" if looked_at(args) is not None else given[0] if given else "embeds"


def check_out(args: argparse.Namespace) -> None:
    """Raises UsageError for a file of no kind that is written here, the given one, or a picture that is not there."""
    suffixes = (*SOUND_SUFFIXES, *VIDEO_SUFFIXES)
    if Path(args.out).suffix.lower() not in suffixes:
        raise UsageError(f"--out {args.out} must end in one of {', '.join(suffixes)}")
    if Path(args.out).resolve() == Path(args.sound).resolve():
        raise UsageError(f"--out {args.out} is the given sound itself: give another name")
    if is_video_file(args.out) and not has_frames(args.sound):
        raise UsageError(f"--out {args.out} needs a video as SOUND, whose picture it takes: end --out in .wav")


def check_beginning(args: argparse.Namespace) -> None:
    """Raises UsageError for seconds before the first picture of a video."""
    if args.before_s <= 0.0:
        return
    if is_video_file(args.out):
        raise UsageError(f"--before-s {args.before_s:g} is before the picture begins: end --out in .wav")
    if looked_at(args) is not None and args.start_s < args.before_s:
        raise UsageError(
            f"--before-s {args.before_s:g} begins before the first picture that is looked at: give another prompt, or "
            f"--video with a --start-s of at least {args.before_s:g}"
        )


def looked_at(args: argparse.Namespace) -> str | None:
    """The video whose frames are the prompt: the one that is named, or without a prompt the edited one."""
    named: str | None = args.video
    if named is not None or any(getattr(args, kind) is not None for kind in PROMPTS):
        return named
    return str(args.sound) if has_frames(args.sound) else None


def wish_of(args: argparse.Namespace, mask: Any = None) -> Edit:
    """What is to be made anew; `mask` is the picture that `--mask` names, once it is read.

    Raises:
        UsageError: nothing is asked for, or what does not go together.
    """
    from clipsonic.pipeline.given import Edit  # imports torch

    mask = args.mask if mask is None else mask
    return Edit(args.remake or (), mask, args.above_hz, args.below_hz, args.extend_s, args.before_s, args.strength)
