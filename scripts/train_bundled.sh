#!/usr/bin/env bash
# Rebuild everything that is bundled from nothing, by the ordinary commands: CLIP and prior, the sound model,
# its few-step adapter, the vocoder, the ear.
#
#   scripts/train_bundled.sh [WORK_FOLDER] [RECORDINGS]      default out/bundled; several hours on 2 cores without a GPU;
#                                                            RECORDINGS measure the vocoder
#
# An interrupted run continues. The judge is not touched: it is retrained only when the synthesis changes
# (clipsonic train --config judge --out FOLDER; what is bundled is the folder's card.md, config.json, model.safetensors).
# A bundled file is replaced only when the new one measures better: compare by git diff.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/train_bundled_clip_prior.sh "${1:-out/bundled}"
scripts/train_bundled_pipeline.sh "${1:-out/bundled}"
scripts/train_bundled_fewstep.sh "${1:-out/bundled}"
scripts/train_bundled_vocoder.sh "${1:-out/bundled}" "${2:-}"
scripts/train_bundled_ear.sh "${1:-out/bundled}"
