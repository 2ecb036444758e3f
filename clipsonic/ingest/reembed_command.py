"""`clipsonic reembed`: a corpus in the space of another CLIP, from the pictures that it keeps."""

from __future__ import annotations

import argparse
from typing import Any

from clipsonic.options import add_device, command_parser

_EPILOG = """example:
  clipsonic ingest VIDEOS --out corpus --keep-frames 256
  clipsonic reembed corpus --clip ViT-L-14:openai --out corpus-l14
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = command_parser(
        prog, "Embed the kept pictures of a corpus with another CLIP; no video is opened again.", _EPILOG
    )
    parser.add_argument("corpus", metavar="CORPUS", help="folder made by clipsonic ingest with --keep-frames")
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder of the new corpus")
    parser.add_argument("--clip", required=True, metavar="NAME", help="the new CLIP, named as for clipsonic ingest")
    parser.add_argument(
        "--thumbnails", action="store_true", help="use the thumbnails: one picture for each record, that of its middle"
    )
    add_device(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed again; returns the numbers, and a message for people."""
    from clipsonic.ingest.reembed import reembed
    from clipsonic.ingest.run import load_embedder
    from clipsonic.shards.writer import CorpusIndex

    CorpusIndex.load(args.corpus)  # before a large CLIP is
    embedder = load_embedder(args.clip, "reembed", args.device)
    num_pictures = reembed(args.corpus, args.out, embedder, args.clip, thumbnails=args.thumbnails)
    index = CorpusIndex.load(args.out)
    return {
        "message": f"{index.num_records} records are in {args.out}, in the space of {args.clip} ({index.fingerprint}); "
        f"{num_pictures} pictures were embedded",
        "corpus": str(args.out),
        "records": index.num_records,
        "pictures": num_pictures,
        "fingerprint": index.fingerprint,
    }
