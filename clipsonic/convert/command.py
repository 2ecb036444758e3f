"""`clipsonic convert`: a published text prior or vocoder into a folder of ours.

Guarantee: every key is mapped or refused by name, nothing of the source is executed, and the result is safetensors,
a config and a card. Price: the weights are read whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError
from clipsonic.options import command_parser

KINDS = ("prior", "vocoder")
EXAMPLE = """\
example:
  clipsonic convert vocoder nvidia/bigvgan_v2_22khz_80band_256x --out bigvgan
  clipsonic convert vocoder DOWNLOADED_FOLDER --out vocos
  clipsonic convert prior DOWNLOADED_FOLDER --out laion-prior
  clipsonic generate --model PIPELINE --vocoder bigvgan --image dog.jpg --out dog.wav

vocoders: BigVGAN (config.json, bigvgan_generator.pt), HiFi-GAN of transformers (AudioLDM's, SpeechT5's) or of the first
repository, Vocos for mels (config.yaml, pytorch_model.bin). A pipeline can also use such a folder as it is.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Turn a published text prior or vocoder into a folder that clipsonic loads.", EXAMPLE)
    parser.add_argument("kind", metavar="prior|vocoder", help="what it is")
    parser.add_argument("source", metavar="SRC", help="the publisher's folder, or for a vocoder a hub id OWNER/NAME")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write; files of the same names go")
    prior = parser.add_argument_group("for a prior").add_argument
    prior("--family", metavar="NAME", help="laion, karlo, kandinsky, eclipse or ours (default: its config says so)")
    prior("--clip", metavar="ARCH:WEIGHTS", help="the CLIP whose space it lives in, where its config does not say")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convert, and say what was mapped.

    Raises:
        UsageError: neither a prior nor a vocoder, options of the other kind, or no such source.
        CheckpointError: a source that cannot be loaded strictly.
    """
    if args.kind not in KINDS:
        raise UsageError(f"{args.kind!r} cannot be converted: choose one of {', '.join(KINDS)}")
    if args.kind == "vocoder":
        for name in ("family", "clip"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} {getattr(args, name)} is for priors: leave it out for a vocoder")
        from clipsonic.convert.vocoder import convert_vocoder

        return convert_vocoder(args.source, Path(args.out))
    return _convert_prior(args)


def _convert_prior(args: argparse.Namespace) -> dict[str, Any]:
    """The prior's own reader decides what the source is."""
    from clipsonic.prior.convert import convert_prior

    facts = convert_prior(Path(args.source), Path(args.out), kind=args.family or "auto", clip=args.clip)
    return {"message": f"written to {args.out}: clipsonic generate --prior {args.out} ...", "out": args.out, **facts}
