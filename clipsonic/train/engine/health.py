"""What can go wrong in a run without stopping it, said early, in words, and once.

Guarantee: a warning names what was measured, what it should be, and what to try. Price: none; others measure.
"""

from __future__ import annotations

import sys

from tqdm import tqdm

SETTLED_STEPS = 1000
"""Steps after which something is expected of a network."""
MOST_WAITING = 0.05


class Health:
    """Judges a run's measurements.

    Args:
        speaking: whether this process says what it finds; of several only the first does.
        settled: steps before which nothing is expected of the network.
    """

    def __init__(self, speaking: bool = True, settled: int = SETTLED_STEPS) -> None:
        self.speaking, self.settled = speaking, settled
        self.warnings: dict[str, str] = {}

    def look_at_waiting(self, step: int, share: float) -> None:
        """`share` of the time of the last steps that was spent waiting for a batch."""
        if share > MOST_WAITING:
            self.warn(
                "waiting",
                f"at step {step} {100 * share:.0f} % of the time was spent waiting for data (it should be at most "
                f"{100 * MOST_WAITING:g} %): raise data.num_workers, give data.cache_mb more memory, or put the corpus "
                "on a faster disk",
            )

    def warn(self, name: str, sentence: str) -> None:
        """Say a sentence once for each name."""
        if name in self.warnings:
            return
        self.warnings[name] = sentence
        if self.speaking:
            tqdm.write(f"clipsonic train: warning: {sentence}", file=sys.stderr)
