"""The options of `clipsonic generate`, and the refusal of those that do not go together.

Guarantee: nothing heavy is imported, so the help and a refusal come at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipsonic.errors import UsageError
from clipsonic.options import add_few_steps, check_few_steps, command_parser
from clipsonic.prior.closer_names import CHOICES, unknown

PROMPTS = ("text", "image", "video", "embeds")
SUFFIXES = (".wav", ".flac", ".mp4")
EXAMPLE = """\
example:
  clipsonic generate --text "a small glass bell ringing" --out bell.wav
  clipsonic generate --model PIPELINE --image dog.jpg --num-sounds 3 --out dog.flac
  clipsonic generate --model PIPELINE --video street.mp4 --start-s 4 --out street_with_sound.mp4
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
    prompt = parser.add_argument_group("prompt (exactly one)").add_argument
    prompt("--text", metavar="T", help="what to hear, in words")
    prompt("--image", metavar="FILE", help="a picture of what sounds")
    prompt("--video", metavar="FILE", help="a video, of which four frames are looked at")
    prompt("--embeds", metavar="FILE.npy", help="ready CLIP embeddings: (E,), or (S, E) for the frames of a segment")
    add("--list-kinds", action="store_true", help="say what the bundled model knows, and do nothing else")
    add("--out", metavar="FILE", help=".wav, .flac, or for a video .mp4: its picture with the new sound")
    add(
        "--closer",
        default="auto",
        metavar="|".join(CHOICES),
        help="from a text's embedding to a picture's (default: the prior if there is one, else neighbours)",
    )
    add("--prior", metavar="FOLDER", help="a text prior instead of the pipeline's own")
    add(
        "--vocoder",
        metavar="NAME",
        help="griffin-lim, or a vocoder's folder or hub id, ours or published (default: the pipeline's own)",
    )
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
    add("--start-s", type=float, default=0.0, metavar="T", help="where in the video the sound begins (default: 0)")
    add(
        "--duration-s",
        type=float,
        metavar="D",
        help="length of the sound, at most an hour (default: the model's segment; of a video all that is left)",
    )
    add("--num-sounds", type=int, default=1, metavar="K", help="several different sounds: FILE-1.wav, FILE-2.wav, ...")
    add("--video-tokens", default="timed", metavar="timed|pooled", help="frames at their times, or their mean")
    add("--spectrogram", metavar="FILE.png", help="also draw the mel spectrogram")
    add("--device", default="auto", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    return parser


def check_options(args: argparse.Namespace) -> str:
    """The kind of prompt.

    Raises:
        UsageError: options that do not go together.
    """
    if args.out is None:
        raise UsageError("--out is missing: give the .wav, .flac or .mp4 file to write")
    given = [kind for kind in PROMPTS if getattr(args, kind) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{kind}" for kind in given) or "no prompt"
        raise UsageError(f"{found} given: give exactly one of --text, --image, --video and --embeds")
    suffix = Path(args.out).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--out {args.out} must end in one of {', '.join(SUFFIXES)}")
    if suffix == ".mp4" and given[0] != "video":
        raise UsageError(f"--out {args.out} needs --video, whose picture it takes: give --video or end --out in .wav")
    if suffix == ".mp4" and Path(args.out).resolve() == Path(args.video).resolve():
        raise UsageError(f"--out {args.out} is the video itself: give another name")
    if args.spectrogram is not None and Path(args.spectrogram).suffix.lower() != ".png":
        raise UsageError(f"--spectrogram {args.spectrogram} must end in .png")
    check_closer(args)
    check_few_steps(args)
    if args.num_sounds < 1:
        raise UsageError(f"--num-sounds {args.num_sounds} must be at least 1")
    if args.start_s != 0.0 and given[0] != "video":
        raise UsageError(f"--start-s {args.start_s:g} is a time in a video: give it with --video")
    return given[0]


def check_closer(args: argparse.Namespace) -> None:
    """Raises UsageError for an unknown closer, or one that would have no effect."""
    if args.closer not in CHOICES:
        raise UsageError(unknown(args.closer, "--closer"))
    has_text = args.text is not None or args.negative_text is not None
    if not has_text and (args.prior is not None or args.closer != "auto"):
        raise UsageError("--closer and --prior are for texts, and there is none: leave them out or give --text")
    if args.prior is not None and args.closer in ("zero-shot", "neighbours"):
        raise UsageError(f"--prior has no effect with --closer {args.closer}: leave one of them out")
