"""The options of `clipsonic generate`, by what they are about.

Guarantee: nothing heavy is imported, so the help comes at once.
"""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.generate.checks import MIXES, PROMPTS, SOUND_SUFFIXES, VIDEO_SUFFIXES, check_options
from clipsonic.options import add_device, add_few_steps, command_parser
from clipsonic.prior.closer_names import CHOICES

__all__ = ["PROMPTS", "build_parser", "check_options", "off_or_number"]

EXAMPLE = """\
example:
  clipsonic generate --text "a small glass bell ringing" --out bell.wav
  clipsonic generate --text "a dog barking" --best-of 8 --loudness -23 --stereo --out dog.mp3
  clipsonic generate --model PIPELINE --image dog.jpg --num-sounds 3 --out dog.flac
  clipsonic generate --model PIPELINE --video street.mp4 --start-s 4 --mix duck --out street_with_sound.mp4
  clipsonic generate --model PIPELINE --batch prompts.csv --out SOUNDS
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Make a sound from a text, a picture, a video or ready CLIP embeddings.", EXAMPLE)
    add = parser.add_argument
    add(
        "--model",
        default="tiny",
        metavar="PIPELINE",
        help="pipeline folder, hub id, or tiny, the bundled one (default)",
    )
    _add_prompt(parser)
    add("--list-kinds", action="store_true", help="say what the bundled model knows, and do nothing else")
    add(
        "--out",
        metavar="FILE",
        help=f"{', '.join(SOUND_SUFFIXES)}, or for a video {', '.join(VIDEO_SUFFIXES)}: its picture with the new "
        "sound; with --batch a folder",
    )
    add(
        "--closer",
        default="auto",
        metavar="|".join(CHOICES),
        help="from a text's embedding to a picture's (default: the prior if there is one, else neighbours)",
    )
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
    add(
        "--duration-s",
        type=float,
        metavar="D",
        help="length of the sound, at most an hour (default: the model's segment; of a video all that is left)",
    )
    add("--spectrogram", metavar="FILE.png", help="also draw the mel spectrogram")
    add_device(parser)
    _add_several(parser)
    _add_level(parser)
    _add_video(parser)
    return parser


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("prompt (exactly one)").add_argument
    add("--text", metavar="T", help="what to hear, in words")
    add("--image", metavar="FILE", help="a picture of what sounds")
    add("--video", metavar="FILE", help="a video, whose frames are looked at")
    add("--embeds", metavar="FILE.npy", help="ready CLIP embeddings: (E,), or (S, E) for the frames of a segment")
    add(
        "--batch",
        metavar="FILE|FOLDER",
        help="many prompts: a .csv or .jsonl file of rows with columns named like these options (text, image, video, "
        "embeds, out, seed, ...), or a folder of videos; continues where it was stopped",
    )


def _add_several(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("several sounds").add_argument
    add("--num-sounds", type=int, default=1, metavar="K", help="different sounds: FILE-1.wav, FILE-2.wav, ...")
    add(
        "--best-of",
        type=int,
        metavar="N",
        help="make N and keep those that the judge names most surely as what was asked for (bundled CLIP only)",
    )


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


def _add_video(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("video").add_argument
    add("--start-s", type=float, default=0.0, metavar="T", help="where in the video the sound begins (default: 0)")
    add("--video-tokens", default="timed", metavar="timed|pooled", help="frames at their times, or their mean")
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
