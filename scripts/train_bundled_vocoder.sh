#!/usr/bin/env bash
# Train the bundled vocoder on the sound model's corpus and, if there are any, on real recordings; measure and bundle it.
#
#   scripts/train_bundled_vocoder.sh [WORK_FOLDER] [RECORDINGS]      default out/bundled; about 90 minutes on one core
#
# RECORDINGS is a folder of CC0 and CC BY sounds; beside it, MEDIA.csv (path, licence, notes) is what the card credits.
# The corpus comes first (scripts/train_bundled_pipeline.sh). An interrupted run continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
real=()
[ -z "${2:-}" ] || real=(--real-audio "$2")
train=(clipsonic train-vocoder --corpus "$work/sound/corpus" --max-hours 8 --steps 20000)

[ -e "$work/vocoder-first/card.md" ] || "${train[@]}" "${real[@]}" --max-minutes 55 --out "$work/vocoder-first"
[ -e "$work/vocoder/card.md" ] ||
    "${train[@]}" "${real[@]}" --init "$work/vocoder-first" --seed 1 --lr 6e-4 --max-minutes 30 --out "$work/vocoder"
python scripts/bench_vocoder.py "$work/vocoder" --corpus "$work/sound/held-out" "${real[@]}" >"$work/vocoder/bench.md"
python scripts/bundle_vocoder.py "$work/vocoder" ${2:+"$(dirname "$2")/MEDIA.csv"}
