"""What can go wrong in a run without stopping it, said early, in words, and once.

Guarantee: a warning names what was measured, what it should be, and what to try. Price: none; others measure.
"""

from __future__ import annotations

import sys

from tqdm import tqdm

SETTLED_STEPS = 1000
"""Steps after which a network that sees its frames should be better with the right ones."""
LEAST_GAIN = 0.005
MOST_WAITING = 0.05
LARGEST_LEVEL_ERROR_DB = 12.0
LEAST_SPREAD = 0.3


class Health:
    """Judges a run's measurements.

    Args:
        speaking: whether this process says what it finds; of several only the first does.
        settled: steps before which nothing is expected of the network.
    """

    def __init__(self, speaking: bool = True, settled: int = SETTLED_STEPS) -> None:
        self.speaking, self._settled = speaking, settled
        self.warnings: dict[str, str] = {}

    def look_at_gain(self, step: int, gain: float) -> None:
        """`gain`: share by which the validation loss is lower with the right frames than with another record's."""
        if step >= self._settled and gain < LEAST_GAIN:
            self._warn(
                "conditions",
                f"after {step} steps the validation loss is only {100 * gain:.2f} % lower with the right frames than "
                f"with another record's (it should be {100 * LEAST_GAIN:g} % or more): the network does not use what "
                "it sees; check with clipsonic inspect that pictures and sounds belong together, and lower "
                "condition.dropout or condition.embed_noise_std",
            )

    def look_at_levels(self, step: int, level_db: float, true_level_db: float, spread: float) -> None:
        """Mean level of the previews against that of the true sounds, and the spread of their levels over theirs."""
        if step < self._settled:
            return
        if abs(level_db - true_level_db) > LARGEST_LEVEL_ERROR_DB:
            self._warn(
                "level",
                f"after {step} steps the previews' mean level is {level_db:.0f} dB where the true sounds have "
                f"{true_level_db:.0f} dB (it should be within {LARGEST_LEVEL_ERROR_DB:g} dB): the loudness has "
                "collapsed; look at the previews in the log, and lower optim.lr",
            )
        elif spread < LEAST_SPREAD:
            self._warn(
                "spread",
                f"after {step} steps the levels of the previews spread only {spread:.2f} times as far as those of the "
                f"true sounds (it should be {LEAST_SPREAD:g} or more): all sounds are becoming one; look at the "
                "previews in the log, and lower optim.lr",
            )

    def look_at_waiting(self, step: int, share: float) -> None:
        """`share` of the time of the last steps that was spent waiting for a batch."""
        if share > MOST_WAITING:
            self._warn(
                "waiting",
                f"at step {step} {100 * share:.0f} % of the time was spent waiting for data (it should be at most "
                f"{100 * MOST_WAITING:g} %): raise data.num_workers, give data.cache_mb more memory, or put the corpus "
                "on a faster disk",
            )

    def _warn(self, name: str, sentence: str) -> None:
        if name in self.warnings:
            return
        self.warnings[name] = sentence
        if self.speaking:
            tqdm.write(f"clipsonic train: warning: {sentence}", file=sys.stderr)
