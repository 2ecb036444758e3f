#!/usr/bin/env bash
# Train the bundled sound model from nothing, by the ordinary commands, and put it into priors/tiny/.
#
#   scripts/train_bundled_pipeline.sh [WORK_FOLDER]      default out/bundled; CLIPSONIC_TRAIN_MINUTES sets the training
#
# It is the quickstart's own run; CLIP and prior come first (scripts/train_bundled_clip_prior.sh) and are not touched.
# A bundled file is replaced only when the new one measures better: compare the two tables (git diff) and keep the better.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
CLIPSONIC_OUT="$work/sound" scripts/quickstart
python - "$work/sound" priors/tiny README.md <<'PYTHON'
import re
import shutil
import sys
from pathlib import Path

from clipsonic import ClipSonicPipeline

source, target, readme = map(Path, sys.argv[1:])
pipeline = ClipSonicPipeline.from_pretrained(source / "pipeline")
pipeline.denoiser.half().save_pretrained(target / "denoiser")  # half the bytes; loaded back to float32
config = target / "denoiser" / "config.json"  # diffusers notes the folder it was loaded from: nobody else's affair
config.write_text(re.sub(r'\n *"_name_or_path": .*', "", config.read_text()))
pipeline.scheduler.save_pretrained(target / "scheduler")
shutil.copy(source / "pipeline" / "model_index.json", target / "model_index.json")
shutil.copytree(source / "pipeline" / "bank", target / "bank", dirs_exist_ok=True)
table = (source / "table.md").read_text(encoding="utf-8")
for page in (target / "card.md", readme):
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"\| prompt \|.*?\n(?=\n)", lambda _: table, text, count=1, flags=re.DOTALL), encoding="utf-8")
PYTHON
echo "priors/tiny holds the new sound model, its card and README.md the new table: check the words around it"
