"""How far a run is: its steps, its time over all sessions, and how fast it goes.

Price of a limit in minutes: the learning rate then depends on the clock, so such a run cannot be repeated bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from clipsonic.train.engine.config import RunConfig


class Clock:
    """The time of a run.

    Args:
        config: its limits.
        state: what `state_dict` gave in an earlier session.
    """

    def __init__(self, config: RunConfig, state: dict[str, float] | None = None) -> None:
        state = {"elapsed_s": 0.0, "paused_s": 0.0, "waited_s": 0.0, "samples": 0, **(state or {})}
        self._config = config
        self._before_s, self._paused_s, self._samples = state["elapsed_s"], state["paused_s"], state["samples"]
        self.waited_s = state["waited_s"]
        self._started_s: float | None = None
        self._looked_s = self._before_s

    def state_dict(self) -> dict[str, float]:
        """What the next session needs to know."""
        times = {"elapsed_s": self.elapsed_s, "paused_s": self._paused_s, "waited_s": self.waited_s}
        return {**times, "samples": self._samples}

    def start(self) -> None:
        """Training begins now."""
        self._started_s = time.perf_counter()

    def stop(self) -> None:
        """Training has ended; what follows does not count."""
        self._before_s, self._started_s = self.elapsed_s, None

    def look(self, elapsed_s: float | None = None) -> None:
        """Take the time for `progress`: this process's own, or that of the first of several ranks."""
        self._looked_s = self.elapsed_s if elapsed_s is None else elapsed_s

    def count(self, num_samples: int) -> None:
        """So many records were trained on."""
        self._samples += num_samples

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What happens inside is no training step: it counts as time of the run, not for its speed."""
        begin_s = time.perf_counter()
        try:
            yield
        finally:
            self._paused_s += time.perf_counter() - begin_s

    @contextmanager
    def wait(self) -> Iterator[None]:
        """What happens inside is waiting for data; before `start` it does not count."""
        begin_s = time.perf_counter()
        yield
        if self._started_s is not None:
            self.waited_s += time.perf_counter() - begin_s

    @property
    def elapsed_s(self) -> float:
        """Training time over all sessions."""
        return self._before_s + (0.0 if self._started_s is None else time.perf_counter() - self._started_s)

    @property
    def stepping_s(self) -> float:
        """Time of the training steps, waiting for data included, over all sessions."""
        return self.elapsed_s - self._paused_s

    @property
    def num_samples(self) -> int:
        """Records trained on, over all sessions and processes."""
        return int(self._samples)

    @property
    def samples_per_s(self) -> float:
        """Speed of the training steps, over all sessions."""
        return self._samples / self.stepping_s if self.stepping_s > 0 else 0.0

    @property
    def waited_share(self) -> float:
        """Share of the steps' time spent waiting for data, over all sessions."""
        return self.waited_s / self.stepping_s if self.stepping_s > 0 else 0.0

    def progress(self, step: int) -> float:
        """Share of the run that is done after `step` steps, by the limit that is nearer; 1 or more is the end.

        By the last `look` at the time, so it is the same wherever it is asked within a step and on all ranks.
        """
        by_steps = step / self._config.max_steps
        minutes = self._config.max_minutes
        return by_steps if minutes is None else max(by_steps, self._looked_s / (60.0 * minutes))
