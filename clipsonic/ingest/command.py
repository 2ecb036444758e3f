"""`clipsonic ingest`: raw videos to a corpus of shards.

Guarantee: exit 0 when every listed file is ingested or refused with its reason, 1 where this machine could not read
some of them (the corpus is whole without them); the same command tries these again, takes in what has come or changed
since, and goes on with what an interrupted one has begun.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsonic.options import add_device, command_parser

if TYPE_CHECKING:
    from clipsonic.ingest.lists import Entry
    from clipsonic.ingest.sources import Remarks

_EPILOG = """examples:
  clipsonic ingest my_videos --out corpus
  clipsonic ingest clips.csv talks/ trailer.mkv --out corpus --seconds 5.12 --clip ViT-L-14:openai

The same command again goes on where the last one stopped, and takes in files that have come or changed since. Bad
files never stop it: corpus/refused.jsonl lists them with reasons, and clipsonic inspect corpus shows what is there.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The options of the command; None stands for "as the recipe says, or else the default"."""
    parser = command_parser(
        prog, "Turn raw videos into a corpus: sound, and CLIP embeddings of the pictures of the same seconds.", _EPILOG
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="folders (searched to the bottom), media files, tars of them, manifests (.txt .csv .jsonl .parquet with "
        "path, start_s, end_s), or addresses (s3:// gs:// hf:// http://)",
    )
    parser.add_argument(
        "--out", required=True, metavar="CORPUS", help="folder of the corpus, or an address: s3:// gs:// hf://"
    )
    parser.add_argument(
        "--recipe", metavar="NAME", help="YAML: bundled (folder, vggsound, audioset, music) or your own"
    )
    parser.add_argument("--list", metavar="FILE", help="the publisher's own list, for a recipe that reads one")
    parser.add_argument("--split", metavar="NAME", help="take only this split of the list")
    parser.add_argument(
        "--clip", metavar="NAME", help="CLIP: tiny (bundled), a folder, ARCH:TAG such as ViT-L-14:openai, or ARCH:FILE"
    )
    cut = parser.add_argument_group("how videos are cut")
    cut.add_argument("--seconds", type=float, metavar="S", help="length of a record (default: 10.24)")
    cut.add_argument("--min-seconds", type=float, metavar="S", help="shortest tail or short video (default: 2.56)")
    cut.add_argument("--stride-s", type=float, metavar="S", help="from start to start (default: end to end)")
    cut.add_argument("--max-segments", type=int, metavar="N", help="most records of one video (default: all)")
    cut.add_argument("--sample-rate-hz", type=int, metavar="HZ", help="rate of the stored sound (default: 16000)")
    cut.add_argument(
        "--thumbnails", action=argparse.BooleanOptionalAction, default=None, help="keep a small picture (default: yes)"
    )
    cut.add_argument(
        "--keep-frames", type=int, metavar="PIXELS",
        help="keep all embedded pictures too, so many pixels along the shortest side, for clipsonic reembed",
    )  # fmt: skip
    cut.add_argument(
        "--frame-tolerance-s", type=float, metavar="S",
        help="how far from its time a picture may be where that saves decoding (default: 0.25; 0 = exact)",
    )  # fmt: skip
    cut.add_argument("--shard-files", type=int, metavar="N", help="videos per shard (default: 64)")
    cut.add_argument("--shard-records", type=int, metavar="N", help="most records per shard (default: 1000)")
    work = parser.add_argument_group("how the work is done")
    work.add_argument("--workers", type=int, metavar="N", help="decoding processes (default: one per core)")
    work.add_argument(
        "--timeout-s", type=float, metavar="S", help="patience with a file that gives nothing (default: 120)"
    )
    work.add_argument("--memory-mb", type=int, metavar="N", help="memory of a decoding process (default: 2048)")
    work.add_argument(
        "--max-copy-gb", type=float, metavar="G", help="largest file out of a tar or from an address (default: 16)"
    )
    work.add_argument("--executor", choices=("local", "ray"), help="who builds the shards (default: local)")
    work.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a running Ray cluster, or auto (default: one is started here)"
    )
    add_device(parser)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Ingest; returns the numbers, and a message for people."""
    from clipsonic.errors import SpecError, UsageError
    from clipsonic.ingest.plan import MISSING_NAME, REFUSED_NAME, length_in_words
    from clipsonic.ingest.recipe import OPTION_KINDS, load_recipe
    from clipsonic.ingest.run import IngestOptions, ingest
    from clipsonic.ingest.sources import Remarks, comments_in_words, passed_over_in_words
    from clipsonic.specs import CorpusSpec

    given = {name: value for name in OPTION_KINDS if (value := getattr(args, name)) is not None}
    chosen = {**(load_recipe(args.recipe) if args.recipe else {}), **given}
    rate_hz, seconds, least = (chosen.pop(name, default) for name, default in CorpusSpec().to_dict().items())
    try:
        spec = CorpusSpec(rate_hz, seconds, min(least, seconds))
    except SpecError as error:
        raise UsageError(str(error)) from None
    remarks = Remarks()
    entries = _listed(args, remarks)
    clip, options = chosen.pop("clip", "tiny"), IngestOptions(spec=spec, device=args.device, **chosen)
    result = ingest(args.sources, args.out, options, clip=clip, entries=entries, remarks=remarks)

    listed, refused, reasons = result.listed, result.num_refused, result.reasons
    message = (
        f"{result.index.num_records} records, {length_in_words(result.seconds)}, from {listed - refused} of {listed} "
        f"listed sources are in {args.out}"
    )
    if refused:
        words = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        message += f"\nrefused: {words} (see {args.out}/{REFUSED_NAME})"
    if result.num_missing:
        message += f"\nmissing: {result.num_missing} of {len(entries or ())} listed (see {args.out}/{MISSING_NAME})"
    if result.num_open:
        message += (
            f"\nnot read: {result.num_open} sources, by this machine's trouble and not their own (reason trouble); "
            "the same command tries them again"
        )
    if result.num_changed:
        message += f"\nread again: {result.num_changed} sources that have changed since they were ingested"
    for words in (passed_over_in_words(result.passed_over), comments_in_words(result.num_comments)):
        message += f"\n{words}" if words else ""
    return {
        "message": message,
        "exit_code": 1 if result.num_open else 0,
        "missing": result.num_missing,
        "not_read": result.num_open,
        "changed": result.num_changed,
        "passed_over": result.passed_over,
        "comments": result.num_comments,
        "corpus": str(args.out),
        "listed": listed,
        "ingested": listed - refused,
        "refused": refused,
        "reasons": reasons,
        "records": result.index.num_records,
        "seconds": round(result.seconds, 3),
        "shards": len(result.index.shards),
        "fingerprint": result.index.fingerprint,
    }


def _listed(args: argparse.Namespace, remarks: Remarks) -> list[Entry] | None:
    """The entries of the publisher's list; None where the recipe reads none."""
    from clipsonic.errors import UsageError
    from clipsonic.ingest.lists import read_list
    from clipsonic.ingest.recipe import load_list_format

    layout = load_list_format(args.recipe) if args.recipe else None
    if (layout is None) != (args.list is None):
        wants = f"--recipe {args.recipe} reads a list" if layout else "--list needs a recipe that reads one"
        raise UsageError(f"{wants}: give both, such as --recipe vggsound --list vggsound.csv")
    if layout is None:
        if args.split:
            raise UsageError(f"--split {args.split} is of a list: give --recipe and --list")
        return None
    return read_list(Path(args.list), layout, args.split, remarks)
