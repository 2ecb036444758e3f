#!/usr/bin/env bash
# Train the bundled CLIP and its prior from nothing, by the ordinary commands, and put them into priors/tiny/.
#
#   scripts/train_bundled_clip_prior.sh [WORK_FOLDER]      default out/bundled; about 2 hours on 2 cores
#
# An interrupted run continues: pictures, checkpoints and embeddings in WORK_FOLDER are kept and reused.
# The seeds of this picture world are used nowhere else, so no picture of a sound corpus is ever seen here.
# The fingerprint of the CLIP changes with its weights: corpora and pipelines made with the old one must be made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh
use_environment "" clipsonic

work=${1:-out/bundled}

clipsonic soundstage --out "$work/world/train" --num-pictures 40000 --seed 20101 --split train
clipsonic soundstage --out "$work/world/heldout" --num-pictures 1200 --seed 20102 --split heldout

[ -e "$work/clip-first/card.md" ] ||
    clipsonic train --config clip --pairs "$work/world/train" --val-pairs "$work/world/heldout" --out "$work/clip-first"
[ -e "$work/clip/card.md" ] ||
    clipsonic train --config clip --pairs "$work/world/train" --val-pairs "$work/world/heldout" \
        --init "$work/clip-first" --max-steps 2500 --optim.lr 7e-4 --out "$work/clip"
for part in train heldout; do
    clipsonic embed-pairs "$work/world/$part" --clip "$work/clip" --out "$work/embeds/$part"
done
[ -e "$work/prior/card.md" ] ||
    clipsonic train --config prior --pairs "$work/embeds/train" --val-pairs "$work/embeds/heldout" --out "$work/prior"

mkdir -p priors/tiny/clip priors/tiny/prior
cp "$work"/clip/{open_clip_model.safetensors,merges.txt.gz,card.md,open_clip_config.json} priors/tiny/clip/
cp "$work"/prior/{prior.safetensors,card.md,prior_config.json} priors/tiny/prior/
echo "priors/tiny holds the new CLIP and prior: make the bundled pipeline again, since the CLIP space has changed"
