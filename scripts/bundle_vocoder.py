"""Put a trained and measured vocoder into priors/tiny/vocoder, its measures at the end of its card.

python scripts/bundle_vocoder.py VOCODER      VOCODER has bench.md, what scripts/bench_vocoder.py printed
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

TARGET = Path("priors/tiny/vocoder")


def main(source: Path) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copyfile(source / name, TARGET / name)
    config = TARGET / "config.json"  # diffusers notes the folder it was loaded from: nobody else's affair
    config.write_text(re.sub(r'\n *"_name_or_path": .*', "", config.read_text()))
    card = (source / "card.md").read_text(encoding="utf-8")
    bench = (source / "bench.md").read_text(encoding="utf-8").strip()
    parts = [card.strip(), f"Beside Griffin-Lim (`scripts/bench_vocoder.py`):\n\n{bench}"]
    (TARGET / "card.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print(f"{TARGET} holds the new vocoder: evaluate the pipeline again, its table names the vocoder")
