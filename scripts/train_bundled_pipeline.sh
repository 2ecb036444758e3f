#!/usr/bin/env bash
# Train the bundled sound model from nothing, by the ordinary commands, and put it into priors/tiny/.
#
#   scripts/train_bundled_pipeline.sh [WORK_FOLDER]      default out/bundled; CLIPSONIC_TRAIN_MINUTES (default 80),
#                                                        for each of two runs, the second from the first's weights
#
# CLIP and prior come first (scripts/train_bundled_clip_prior.sh) and are not touched. An interrupted run continues.
# A bundled file is replaced only when the new one measures better: compare the two tables (git diff) and keep the better.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}/sound
clipsonic soundstage --out "$work/videos" --num-videos 8000 --seed 1
clipsonic soundstage --out "$work/held-out-videos" --num-videos 660 --seed 2 --split heldout
clipsonic ingest "$work/videos" --out "$work/corpus" --min-seconds 4.096
clipsonic ingest "$work/held-out-videos" --out "$work/held-out" --seconds 4.096
train=(clipsonic train --config tiny --config long --run.devices 2 --corpus "$work/corpus"
    --max-minutes "${CLIPSONIC_TRAIN_MINUTES:-80}")
OMP_NUM_THREADS=1 "${train[@]}" --out "$work/pipeline-first"
OMP_NUM_THREADS=1 "${train[@]}" --init "$work/pipeline-first" --optim.lr 1e-3 --out "$work/pipeline"
clipsonic evaluate --model "$work/pipeline" --corpus "$work/held-out" --out "$work/report" \
    --videos "$work/held-out-videos" --num-scenes 500 --num-others 240
python scripts/bundle_pipeline.py "$work"
