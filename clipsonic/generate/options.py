"""The options of `clipsonic generate`, by what they are about, and the refusal of those that do not go together.

Guarantee: nothing heavy is imported, so help and refusals come at once, before a prompt is read or a model is loaded.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsonic.errors import UsageError
from clipsonic.options import add_device, add_few_steps, check_few_steps, command_parser, option_of
from clipsonic.prior.closer_names import CHOICES, unknown
from clipsonic.text import check_text

if TYPE_CHECKING:
    from clipsonic.audio.loudness import LevelOptions

PROMPTS = ("text", "image", "video", "audio", "embeds")
TEXTS = ("text", "negative_text")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
MIXES = ("replace", "mix", "duck")
MAX_SOUNDS = 256
EXAMPLE = """\
example:
  clipsonic generate --text "a small glass bell ringing" --out bell.wav
  clipsonic generate --text "a dog barking" --best-of 8 --loudness -23 --stereo --out dog.mp3
  clipsonic generate --audio like_this.wav --num-sounds 4 --out like_it.wav
  clipsonic generate --model PIPELINE --image dog.jpg --num-sounds 3 --out dog.flac
  clipsonic generate --model PIPELINE --video street.mp4 --start-s 4 --mix duck --out street_with_sound.mp4
  clipsonic generate --model PIPELINE --batch prompts.csv --out SOUNDS
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        prog, "Make a sound from a text, a picture, a video, a sound or ready CLIP embeddings.", EXAMPLE
    )
    add = parser.add_argument
    add_model(parser)
    add_prompt(parser, "prompt (exactly one)").add_argument(
        "--batch",
        metavar="FILE|FOLDER",
        help="many prompts: a .csv or .jsonl file of rows with columns named like these options (text, image, video, "
        "embeds, out, seed, ...), or a folder of videos; continues where it was stopped",
    )
    add("--list-kinds", action="store_true", help="say what the bundled model knows, and do nothing else")
    add(
        "--out",
        metavar="FILE",
        help=f"{', '.join(SOUND_SUFFIXES)}, or for a video {', '.join(VIDEO_SUFFIXES)}: its picture with the new "
        "sound; with --batch a folder",
    )
    add_sampling(parser)
    add(
        "--duration-s",
        type=float,
        metavar="D",
        help="length of the sound, at most an hour (default: the model's segment; of a video all that is left)",
    )
    add("--spectrogram", metavar="FILE.png", help="also draw the mel spectrogram")
    add_device(parser)
    add_several(parser).add_argument(
        "--best-of",
        type=int,
        metavar="N",
        help="make N and keep those in which the pipeline's ear hears best what was asked for",
    )
    _add_level(parser)
    _add_mix(add_looking(parser).add_argument)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`, the same for every command that makes sounds."""
    parser.add_argument(
        "--model",
        default="tiny",
        metavar="PIPELINE",
        help="pipeline folder, hub id, or tiny, the bundled one (default)",
    )


def add_prompt(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """A prompt of every kind, in a group of this title."""
    group = parser.add_argument_group(title)
    group.add_argument("--text", metavar="T", help="what to hear, in words")
    group.add_argument("--image", metavar="FILE", help="a picture of what sounds")
    group.add_argument("--video", metavar="FILE", help="a video, whose frames are looked at")
    group.add_argument("--audio", metavar="FILE", help="a sound, or a video's own track, whose like is made")
    group.add_argument(
        "--embeds", metavar="FILE.npy", help="ready CLIP embeddings: (E,), or (S, E) for the frames of a segment"
    )
    return group


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How a prompt is understood and a sound made of it."""
    add = parser.add_argument
    add(
        "--closer",
        default="auto",
        metavar="|".join(CHOICES),
        help="from a text's embedding to a picture's (default: the prior if there is one, else neighbours), or from a "
        "sound's (neighbours or zero-shot)",
    )
    add("--ear", metavar="FOLDER", help="what hears sounds, instead of the pipeline's own ear")
    add("--prior", metavar="FOLDER", help="a text prior instead of the pipeline's own")
    add("--vocoder", metavar="NAME", help="griffin-lim, or a vocoder folder (default: the pipeline's own)")
    add("--negative-text", metavar="T", help="what to move away from")
    add("--steps", type=int, metavar="N", help="solver steps (default: the model's)")
    add_few_steps(parser)
    add(
        "--guidance",
        type=float,
        metavar="G",
        help="how closely to follow the prompt; 1 = no guidance (default: the model's)",
    )
    add("--seed", type=int, default=0, metavar="S", help="another seed, another sound (default: 0)")


def add_several(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """`--num-sounds`, in a group of its own."""
    group = parser.add_argument_group("several sounds")
    group.add_argument(
        "--num-sounds", type=int, default=1, metavar="K", help="different sounds: FILE-1.wav, FILE-2.wav, ..."
    )
    return group


def _add_level(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("level").add_argument
    add(
        "--loudness",
        type=off_or_number,
        default=-14.0,
        metavar="off|LUFS",
        help="loudness of the sound: -14 is usual on the web (default), -23 in broadcasting; off leaves it",
    )
    add(
        "--true-peak",
        type=off_or_number,
        default=-1.0,
        metavar="off|DBTP",
        help="no true peak above this in what is written (default: -1)",
    )
    add("--fade-in-s", type=float, default=0.0, metavar="T", help="seconds of fading in (default: 0)")
    add("--fade-out-s", type=float, default=0.0, metavar="T", help="seconds of fading out (default: 0)")
    add("--stereo", action="store_true", help="two decorrelated channels that add up to the mono sound")


def add_looking(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Which of a video's frames are looked at, in a group of its own."""
    group = parser.add_argument_group("video")
    group.add_argument(
        "--start-s", type=float, default=0.0, metavar="T", help="where in the video or in --audio to begin (default: 0)"
    )
    group.add_argument(
        "--video-tokens", default="timed", metavar="timed|pooled", help="frames at their times, or their mean"
    )
    return group


def _add_mix(add: Callable[..., Any]) -> None:
    add(
        "--mix",
        default="replace",
        metavar="|".join(MIXES),
        help="what becomes of the video's own sound: gone (default); as it is, the new one added; or lowered by 12 dB "
        "where the new one is loud",
    )
    add("--mix-db", type=float, default=0.0, metavar="DB", help="the new sound so much louder in a mix (default: 0)")


def off_or_number(word: Any) -> float | None:
    """`off` as None, else the number.

    Raises:
        ArgumentTypeError: neither.
    """
    if str(word).strip().lower() == "off":
        return None
    try:
        return float(word)
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"{word!r} is neither off nor a number") from None


def is_video_file(path: str | Path) -> bool:
    """Whether a file of this name holds a picture too."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def check_options(args: argparse.Namespace) -> str:
    """The kind of prompt.

    Raises:
        UsageError: options that do not go together.
    """
    if args.out is None:
        raise UsageError("--out is missing: give the .wav, .flac, .mp3 or .mp4 file to write")
    given = [kind for kind in PROMPTS if getattr(args, kind) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{kind}" for kind in given) or "no prompt"
        raise UsageError(f"{found} given: give exactly one of {', '.join(f'--{kind}' for kind in PROMPTS)}")
    check_texts(args)
    check_out(args, given[0])
    check_spectrogram(args)
    check_closer(args)
    check_counts(args)
    check_few_steps(args)
    if args.start_s != 0.0 and given[0] not in ("video", "audio"):
        raise UsageError(f"--start-s {args.start_s:g} is a time in a video or a sound: give it with --video or --audio")
    check_mix(args)
    level_of(args)
    return given[0]


def check_out(args: argparse.Namespace, kind: str) -> None:
    """Raises UsageError for a file of no kind that is written here, or a picture without a video to take it from."""
    suffix = Path(args.out).suffix.lower()
    if suffix not in (*SOUND_SUFFIXES, *VIDEO_SUFFIXES):
        raise UsageError(f"--out {args.out} must end in one of {', '.join((*SOUND_SUFFIXES, *VIDEO_SUFFIXES))}")
    if is_video_file(args.out) and kind != "video":
        raise UsageError(f"--out {args.out} needs --video, whose picture it takes: give --video or end --out in .wav")
    if is_video_file(args.out) and Path(args.out).resolve() == Path(args.video).resolve():
        raise UsageError(f"--out {args.out} is the video itself: give another name")


def check_texts(args: argparse.Namespace, names: Sequence[str] = TEXTS) -> None:
    """Raises UsageError for texts that are none."""
    for name in names:
        if (text := getattr(args, name)) is not None:
            check_text(text, option_of(name))


def check_spectrogram(args: argparse.Namespace) -> None:
    """Raises UsageError for a picture that is no PNG."""
    if args.spectrogram is not None and Path(args.spectrogram).suffix.lower() != ".png":
        raise UsageError(f"--spectrogram {args.spectrogram} must end in .png")


def check_closer(args: argparse.Namespace, names: Sequence[str] = TEXTS) -> None:
    """Raises UsageError for an unknown closer, one that would have no effect, or a prior that is not there.

    Args:
        names: of options with texts.
    """
    if args.closer not in CHOICES:
        raise UsageError(unknown(args.closer, "--closer"))
    has_text = any(getattr(args, name) is not None for name in names)
    if not has_text and (args.prior is not None or (args.closer != "auto" and args.audio is None)):
        raise UsageError("--closer and --prior are for texts, and there is none: leave them out or give --text")
    if args.ear is not None and args.audio is None and getattr(args, "best_of", None) is None:  # an edit has no such
        raise UsageError(f"--ear {args.ear} hears the sound of --audio, and there is none: leave it out")
    if args.prior is not None and args.closer in ("zero-shot", "neighbours"):
        raise UsageError(f"--prior has no effect with --closer {args.closer}: leave one of them out")
    if args.prior is not None and not Path(args.prior).is_dir():
        raise UsageError(f"--prior {args.prior} is not a folder: give what clipsonic train --config prior wrote")


def check_number(args: argparse.Namespace) -> None:
    """Raises UsageError for no sound."""
    if args.num_sounds < 1:
        raise UsageError(f"--num-sounds {args.num_sounds} must be at least 1")


def check_counts(args: argparse.Namespace) -> None:
    """Raises UsageError for no sound, or fewer to choose from than are to be kept."""
    check_number(args)
    if args.best_of is not None and not args.num_sounds <= args.best_of <= MAX_SOUNDS:
        raise UsageError(
            f"--best-of {args.best_of} must be from --num-sounds {args.num_sounds}, which are kept, to {MAX_SOUNDS}"
        )


def check_mix(args: argparse.Namespace) -> None:
    """Raises UsageError for an unknown mix, or one with nothing to mix with."""
    if args.mix not in MIXES:
        raise UsageError(f"--mix {args.mix} is unknown: choose one of {', '.join(MIXES)}")
    if args.mix != "replace" and not is_video_file(args.out):
        raise UsageError(
            f"--mix {args.mix} needs a video to write: end --out in {', '.join(VIDEO_SUFFIXES)}, or leave --mix out"
        )
    if not (math.isfinite(args.mix_db) and abs(args.mix_db) <= 40.0):
        raise UsageError(f"--mix-db {args.mix_db:g} must be from -40 to 40")
    if args.mix_db != 0.0 and args.mix == "replace":
        raise UsageError(f"--mix-db {args.mix_db:g} has no effect with --mix replace: give --mix mix or duck")


def level_of(args: argparse.Namespace) -> LevelOptions:
    """The level asked for.

    Raises:
        UsageError: a value out of its range.
    """
    from clipsonic.audio.loudness import LevelOptions  # imports numpy

    return LevelOptions(
        loudness_lufs=args.loudness,
        true_peak_db=args.true_peak,
        fade_in_s=args.fade_in_s,
        fade_out_s=args.fade_out_s,
        stereo=args.stereo,
    )


def numbered(path: Path, count: int) -> list[Path]:
    """`path` itself, or name-1.suffix, name-2.suffix, ..."""
    return [path] if count == 1 else [path.with_name(f"{path.stem}-{index + 1}{path.suffix}") for index in range(count)]
