"""`clipsonic embed-pairs`: pictures and captions to embeddings that a prior is trained on, sharded and resumable."""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import add_device, command_parser

_EPILOG = """example:
  clipsonic embed-pairs world/train --clip my-clip --out world-embeds
  clipsonic train --config prior --pairs world-embeds --out my-prior

The same command again goes on where the last one stopped. The folder has clip-retrieval's layout: img_emb/img_emb_0.npy
and text_emb/text_emb_0.npy hold row by row a caption and its picture.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(prog, "Embed pictures and captions with a CLIP, once, to train a prior on.", _EPILOG)
    parser.add_argument(
        "pairs",
        nargs="+",
        metavar="TARS",
        help="img2dataset-style tars, folders of them, or corpora whose records carry captions",
    )
    parser.add_argument(
        "--clip", default="tiny", metavar="NAME", help="the CLIP, as for ingest (default: the bundled one)"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the embeddings are written")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes, each with the CLIP (default: one per core)"
    )
    parser.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="who embeds (default: %(default)s)"
    )
    parser.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a running Ray cluster, or auto (default: one is started here)"
    )
    add_device(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed; returns the numbers, and a message for people."""
    from clipsonic.ingest.embed_pairs import embed_pairs

    index = embed_pairs(
        args.pairs, args.out, args.clip, workers=args.workers, executor=args.executor, ray_address=args.ray_address,
        device=args.device,
    )  # fmt: skip
    left_out = f"; {index['unusable']} samples could not be used" if index["unusable"] else ""
    return {
        "message": f"{index['rows']} pairs of {len(index['tars'])} tars are in {args.out}, in the space of {args.clip} "
        f"({index['fingerprint']}){left_out}",
        "out": str(args.out),
        **{name: index[name] for name in ("rows", "unusable", "fingerprint")},
    }
