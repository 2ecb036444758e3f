"""Put a trained few-step adapter into priors/tiny/fewstep, and what it was measured at into the card.

    python scripts/bundle_fewstep.py PIPELINE REPORT... [--bank N]

PIPELINE is what `clipsonic train --config tiny --config long --config adapter --config fewstep --init tiny` wrote, each
REPORT a folder of `clipsonic evaluate --model PIPELINE --few-steps N`. An adapter that was trained on other weights
than the bundled ones is refused. `--bank N` keeps N pictures of the bundled bank, if the bundle is too large otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from clipsonic import ClipSonicPipeline
from clipsonic.errors import CheckpointError, UsageError
from clipsonic.pipeline.adapter_folder import FEW_STEPS, Adapter, inside
from clipsonic.prior.bank import EmbedBank

MAX_BYTES = 48_000_000
"""Of all that is bundled."""

PARAGRAPH = re.compile(r"\n\*\*Few steps\.\*\* .*\n(?:.+\n)*")


def main(trained: Path, reports: list[Path], target: Path, num_pictures: int | None) -> str:
    """Write the adapter, the card and perhaps the bank; the result is the card's new paragraph."""
    found = Adapter.from_folder(inside(trained, FEW_STEPS))
    bundled = ClipSonicPipeline.from_pretrained(target)
    if not found.steps or not found.fits(bundled.denoiser, bundled.weight_names()):
        raise CheckpointError(
            f"{trained} has no few-step adapter of the weights in {target}: train one with --init tiny"
        )
    said = paragraph(found, [json.loads((report / "report.json").read_text(encoding="utf-8")) for report in reports])
    if num_pictures is not None and bundled.bank is not None:
        EmbedBank(bundled.bank.images[:num_pictures], bundled.bank.fingerprint).save(target / "bank")
    found.save(target / FEW_STEPS)
    card = target / "card.md"
    kept = PARAGRAPH.sub("", card.read_text(encoding="utf-8")).rstrip("\n")
    card.write_text(f"{kept}\n\n{said}\n", encoding="utf-8")
    if (size := num_bytes(target.parent)) > MAX_BYTES:
        raise UsageError(f"the bundle has {size} bytes, at most {MAX_BYTES} may be: give --bank with fewer pictures")
    return said


def paragraph(found: Adapter, reports: list[dict[str, Any]]) -> str:
    """What the adapter is and what was measured, for the card."""
    count = sum(weight.numel() for weight in found.weights.values())
    measured = ";\n".join(f"{report['steps']}: {figures(report)}" for report in reports)
    return (
        f"**Few steps.** `fewstep/`: an adapter of rank {found.shape.rank} ({count / 1e6:.2f} M weights, float16) for\n"
        f"1 to {found.steps} calls of the network, without guidance (`--few-steps N`), taught in {found.steps} and in "
        "1. By calls, from one picture:\n"
        f"{measured}."
    )


def figures(report: dict[str, Any]) -> str:
    """The picture row of one report."""
    row = next(row["figures"] for row in report["rows"] if row["name"] == "image")
    share, far = row["accuracy"], row["frechet"]["value"]
    interval = f"{share['low']:.0%} to {share['high']:.0%}, {report['num_items']} scenes"
    return f"{share['value']:.1%} named rightly ({interval}), Fréchet {far:.1f}"


def num_bytes(folder: Path) -> int:
    """Of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Bundle a few-step adapter.")
    parser.add_argument("trained", type=Path)
    parser.add_argument("reports", type=Path, nargs="*")
    parser.add_argument("--bank", type=int)
    args = parser.parse_args()
    print(main(args.trained, args.reports, Path("priors/tiny"), args.bank))
