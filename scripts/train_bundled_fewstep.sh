#!/usr/bin/env bash
# Teach the bundled sound model to need four calls of its network or one, and put the adapter into priors/tiny/fewstep/.
#
#   scripts/train_bundled_fewstep.sh [WORK_FOLDER]       default out/bundled; CLIPSONIC_TRAIN_MINUTES (default 60)
#
# After scripts/train_bundled_pipeline.sh, whose corpora it uses: the adapter belongs to the weights in priors/tiny.
# An interrupted run continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}/sound
OMP_NUM_THREADS=1 clipsonic train --config tiny --config long --config adapter --config fewstep --init tiny \
    --corpus "$work/corpus" --out "$work/fewstep" --max-minutes "${CLIPSONIC_TRAIN_MINUTES:-60}" --max-steps 100000
for calls in 1 2 3 4; do
    clipsonic evaluate --model "$work/fewstep" --few-steps "$calls" --corpus "$work/held-out" \
        --videos "$work/held-out-videos" --out "$work/fewstep-report-$calls" --num-scenes 500 --prompts image
done
python scripts/bundle_fewstep.py "$work/fewstep" "$work"/fewstep-report-{1,2,3,4} --bank 1024
