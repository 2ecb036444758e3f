"""Put a trained and measured vocoder into priors/tiny/vocoder, with a card that credits the recordings it learned from.

python scripts/bundle_vocoder.py VOCODER [MEDIA.csv]      VOCODER has bench.md, what scripts/bench_vocoder.py printed
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path

TARGET = Path("priors/tiny/vocoder")


def main(source: Path, media: Path | None) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copyfile(source / name, TARGET / name)
    config = TARGET / "config.json"  # diffusers notes the folder it was loaded from: nobody else's affair
    config.write_text(re.sub(r'\n *"_name_or_path": .*', "", config.read_text()))
    card = (source / "card.md").read_text(encoding="utf-8")
    bench = (source / "bench.md").read_text(encoding="utf-8").strip()
    parts = [card.strip(), f"Beside Griffin-Lim (`scripts/bench_vocoder.py`):\n\n{bench}"]
    if media is not None:
        parts.append(f"## Recordings\n\n{credits_of(media)}")
    (TARGET / "card.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def credits_of(media: Path) -> str:
    """A line for each recording that asks for one, and the number of the others."""
    with media.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "audio"]
    owed = [row for row in rows if "BY" in row["licence"]]
    lines = [f"- {Path(row['path']).stem} ({row['licence']}): {row['notes'] or row['source']}" for row in owed]
    return "\n".join(
        [
            f"{len(rows)} real recordings, {len(rows) - len(owed)} of them CC0 or public domain, the others CC BY:",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print(f"{TARGET} holds the new vocoder: evaluate the pipeline again, its table names the vocoder")
