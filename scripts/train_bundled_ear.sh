#!/usr/bin/env bash
# Train the bundled ear on the sound model's corpus, and bundle it.
#
#   scripts/train_bundled_ear.sh [WORK_FOLDER]      default out/bundled; about twelve minutes on one core
#
# What is bundled has heard the first 3,000 videos of that corpus (its card).
# The corpus comes first (scripts/train_bundled_pipeline.sh). An interrupted run continues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}
[ -e "$work/ear/card.md" ] || clipsonic train --config ear --corpus "$work/sound/corpus" --max-steps 1200 --out "$work/ear"
mkdir -p priors/tiny/ear
install -m 644 "$work/ear/card.md" "$work/ear/config.json" "$work/ear/diffusion_pytorch_model.safetensors" priors/tiny/ear
