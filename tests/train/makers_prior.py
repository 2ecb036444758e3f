"""A toy run of the lesson prior."""

from __future__ import annotations

from pathlib import Path

from makers_pairs import rotated_pairs, write_embeds


def tiny_prior(folder: Path) -> list[str]:
    """Words of `clipsonic train` for a run that takes well under a second per ten steps."""
    pairs = write_embeds(folder / "pairs", rotated_pairs(120, 1), rotated_pairs(80, 2))
    words = f"--config prior --pairs {pairs} --prior.depth 1 --prior.heads 2 --prior.timesteps 10 --data.val_share 0.1"
    return [*words.split(), "--optim.batch_size", "16"]
