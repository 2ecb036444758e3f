"""`clipsonic generate`: a sound from a text, a picture, a video or ready embeddings.

Guarantee: the options are checked and the prompt is read before a model is loaded, only what the prompt needs is
loaded, and every file is written whole. Price: loading takes seconds, most of it imports.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from clipsonic.generate.checks import check_options, is_video_file
from clipsonic.generate.options import build_parser
from clipsonic.options import device_of

if TYPE_CHECKING:
    from clipsonic.pipeline import ClipSonicPipeline

__all__ = ["build_parser", "run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the sounds, write the files, and say what was made."""
    if args.list_kinds:
        from clipsonic.generate.known import kinds_text

        return {"message": kinds_text(), "kinds": kinds_text().splitlines()}
    if args.batch is not None:
        from clipsonic.generate.batch import run_batch

        return run_batch(args, load_pipeline)
    started = time.perf_counter()
    kind = check_options(args)
    from clipsonic.generate.making import make, read_prompt

    asked = read_prompt(kind, args)
    pipeline = load_pipeline(args)
    pipeline.load_parts(kind, args.closer)
    facts = {"loading_s": round(time.perf_counter() - started, 2), **make(args, asked, pipeline)}
    if facts["notice"]:
        print(facts["notice"], file=sys.stderr)
    return {"message": message_of(facts, args), **facts}


def load_pipeline(args: argparse.Namespace) -> ClipSonicPipeline:
    """The pipeline on its device, with the prior and the vocoder that were asked for."""
    from clipsonic.pipeline import ClipSonicPipeline

    device = device_of(args.device)
    pipeline = ClipSonicPipeline.from_pretrained(args.model).to(device)
    pipeline.set_progress_bar_config(desc="denoise", file=sys.stderr, mininterval=0.5)  # type: ignore[no-untyped-call]
    if args.prior is not None:
        pipeline.set_prior(args.prior)
    if args.vocoder is not None:
        pipeline.set_vocoder(args.vocoder)
    pipeline.set_few_steps(args.few_steps)
    return pipeline


def message_of(facts: dict[str, Any], args: argparse.Namespace) -> str:
    """What was made, for a person."""
    files = facts["files"]
    many = f"{len(files)} sounds" if len(files) > 1 else "1 sound"
    closed = f", text to picture by {facts['closer']}" if facts["closer"] else ""
    lines = [
        f"made {many} of {facts['seconds']:.2f} s in {facts['making_s']:.1f} s "
        f"(loading took {facts['loading_s']:.1f} s{closed}): {', '.join(files)}"
    ]
    if "chosen" in facts:
        surely = ", ".join(f"{share:.0%}" for share in facts["agreement"])
        lines.append(f"the best of {args.best_of}: the judge hears {facts['wanted']} in what is kept with {surely}")
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
