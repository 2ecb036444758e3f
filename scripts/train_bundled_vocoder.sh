#!/usr/bin/env bash
# Train the bundled vocoder on the sound model's corpus and, if there are any, on real recordings; measure and bundle it.
#
#   scripts/train_bundled_vocoder.sh [WORK_FOLDER] [RECORDINGS]      default out/bundled; about two hours on one core
#
# RECORDINGS is a folder of CC0 and CC BY sounds; beside it, MEDIA.csv (path, licence, notes) is what the card credits.
# The corpus comes first (scripts/train_bundled_pipeline.sh). An interrupted run continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
real=()
[ -z "${2:-}" ] || real=(--recordings "$2")
train=(clipsonic train --config vocoder --corpus "$work/sound/corpus" "${real[@]}" --max-steps 20000)

[ -e "$work/vocoder-first/card.md" ] || "${train[@]}" --max-minutes 55 --out "$work/vocoder-first"
[ -e "$work/vocoder/card.md" ] ||
    "${train[@]}" --config adversary --init "$work/vocoder-first" --run.seed 1 --optim.lr 5e-4 --max-minutes 60 \
        --out "$work/vocoder"
python scripts/bench_vocoder.py "$work/vocoder" --corpus "$work/sound/held-out" "${real[@]}" >"$work/vocoder/bench.md"
python scripts/bundle_vocoder.py "$work/vocoder" ${2:+"$(dirname "$2")/MEDIA.csv"}
