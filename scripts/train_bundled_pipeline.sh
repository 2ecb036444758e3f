#!/usr/bin/env bash
# Train the bundled sound model from nothing, by the ordinary commands, and put it into priors/tiny/.
#
#   scripts/train_bundled_pipeline.sh [WORK_FOLDER]      default out/bundled; CLIPSONIC_TRAIN_MINUTES sets the training
#
# It is the quickstart's own run; CLIP and prior come first (scripts/train_bundled_clip_prior.sh) and are not touched.
# A bundled file is replaced only when the new one measures better: compare report.json with the table in the card.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
CLIPSONIC_OUT="$work/sound" scripts/quickstart
python - "$work/sound/pipeline" priors/tiny <<'PYTHON'
import shutil
import sys
from pathlib import Path

from clipsonic import ClipSonicPipeline

source, target = map(Path, sys.argv[1:])
pipeline = ClipSonicPipeline.from_pretrained(source)
pipeline.denoiser.half().save_pretrained(target / "denoiser")  # half the bytes; loaded back to float32
pipeline.scheduler.save_pretrained(target / "scheduler")
shutil.copy(source / "model_index.json", target / "model_index.json")
PYTHON
echo "priors/tiny holds the new sound model: copy the table of $work/sound/report.json into priors/tiny/card.md"
