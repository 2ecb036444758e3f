#!/usr/bin/env bash
# Train the bundled vocoder on the sound model's corpus; measure and bundle it.
#
#   scripts/train_bundled_vocoder.sh [WORK_FOLDER] [RECORDINGS]      default out/bundled; about two hours on one core
#
# What is bundled has this shape and came to it by way of twice as many blocks (its card).
# RECORDINGS is a folder of real sounds to measure it on: it learns from none, so that all of them are held out.
# The corpus comes first (scripts/train_bundled_pipeline.sh). An interrupted run continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
[ -e "$work/vocoder/card.md" ] ||
    clipsonic train --config vocoder --corpus "$work/sound/corpus" --max-steps 40000 --max-minutes 120 --out "$work/vocoder"
python scripts/bench_vocoder.py "$work/vocoder" --corpus "$work/sound/held-out" ${2:+--unheard "$2"} >"$work/vocoder/bench.md"
python scripts/bundle_vocoder.py "$work/vocoder"
