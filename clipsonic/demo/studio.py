"""The model at work: one thread, one wish after another, and so many places to wait in.

Guarantee: the model is called by one thread only; nobody waits who has no place; a wish whose owner has gone is not
made; sound k of a wish is the one that `clipsonic generate` makes with that `--seed` and `--best-of`, at the wished
loudness. Price: one at a time.
"""

from __future__ import annotations

import itertools
import queue
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clipsonic.demo.changing import changed
from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.limits import Limits
from clipsonic.demo.looker import Heard, Looker, Seen, Upload
from clipsonic.demo.made import Made, Result
from clipsonic.demo.refusals import BusyError
from clipsonic.demo.wish import GUIDANCE_AWAY, Asked, EditWish, Wish


@dataclass
class Ticket:
    """A wish that waits or is being made; `share` is how much of it is done, 0 to 1."""

    wish: Wish | EditWish
    seen: Seen | Heard | None
    name: str
    number: int
    future: Future[Result] = field(default_factory=Future)
    share: float = 0.0


class Studio:
    """Makes sounds with one pipeline.

    Args:
        pipeline: a ClipSonicPipeline on its device.
        name: what the pipeline is called.
    """

    def __init__(self, pipeline: Any, name: str, limits: Limits, folder: DemoFolder, looker: Looker) -> None:
        self.pipeline, self.name, self.limits, self.folder, self.looker = pipeline, name, limits, folder, looker
        self._places = threading.BoundedSemaphore(limits.places)
        self._queue: queue.Queue[Ticket | None] = queue.Queue()
        self._numbers, self._done = itertools.count(), 0
        self._current: Ticket | None = None
        pipeline.progress_bar = self._progress_bar
        threading.Thread(target=self._work, name="studio", daemon=True).start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, for the length of a request.

        Raises:
            BusyError: there is none left.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(f"all {self.limits.places} places are taken by others: try again in a few seconds")
        try:
            yield
        finally:
            self._places.release()

    def look(self, wish: Wish, upload: Upload) -> Seen:
        """What the upload shows, of a video in the seconds that the sound may last; takes time.

        Raises:
            DemoError: it cannot be opened.
        """
        seconds = max(self.segment_s, wish.duration_s or self.limits.max_duration_s)
        return self.looker.look(upload, wish.start_s, seconds, self.segment_s)

    def begin(self, wish: Wish | EditWish, seen: Seen | Heard | None = None, name: str | None = None) -> Ticket:
        """Put a wish in the queue, with what its file holds and is called; its ticket's future will hold the result."""
        ticket = Ticket(wish, seen, name or wish.text or "", next(self._numbers))
        self._queue.put(ticket)
        return ticket

    def ahead_of(self, ticket: Ticket) -> int:
        """How many wishes are to be made before this one."""
        return max(0, ticket.number - self._done)

    @property
    def segment_s(self) -> float:
        """The length of the model's segment in seconds."""
        return float(self.pipeline.segment.seconds)

    @property
    def is_bundled(self) -> bool:
        """Whether its CLIP is the bundled one, which knows only what the soundstage shows."""
        return bool(getattr(self.pipeline.clip, "is_bundled", False))

    @property
    def has_ear(self) -> bool:
        """Whether it can choose the best of several sounds."""
        return self.pipeline.ear is not None

    def close(self) -> None:
        """Let the thread end after the wish at hand."""
        self._queue.put(None)

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            if ticket.future.set_running_or_notify_cancel():
                self._current = ticket
                try:
                    ticket.future.set_result(self._become(ticket))
                except Exception as error:
                    if not hasattr(error, "exit_code"):  # no refusal of ours: whoever runs the demo should see it
                        traceback.print_exc()
                    ticket.future.set_exception(error)
            self._done = ticket.number + 1

    def _become(self, ticket: Ticket) -> Result:
        wish, seen = ticket.wish, ticket.seen
        if isinstance(wish, EditWish) and isinstance(seen, Heard):
            return changed(self.pipeline, self.folder, self.name, wish, self.guidance(wish), seen, ticket.name)
        assert isinstance(wish, Wish)
        assert not isinstance(seen, Heard)
        return self._make(wish, seen, ticket.name)

    def _make(self, wish: Wish, seen: Seen | None, name: str) -> Result:
        from clipsonic.generate.best import choose_best, ear_for

        guidance, duration_s = self.guidance(wish), self._duration_s(wish, seen)
        ear = None if wish.best_of is None else ear_for(self.pipeline, wish.best_of, duration_s)
        output = self.pipeline(
            **_prompt_of(wish, seen),
            negative_text=wish.negative_text,
            closer=wish.closer if wish.text or wish.negative_text else "auto",
            num_inference_steps=wish.steps,
            guidance_scale=guidance,
            duration_s=duration_s,
            num_sounds=wish.best_of or wish.num_sounds,
            seed=wish.seed,
        )
        choice, places = None, tuple(range(wish.num_sounds))
        if ear is not None:
            choice = choose_best(ear, output.embeds, output.audios, output.sample_rate_hz, wish.num_sounds)
            places = choice.places
        sounds = tuple(self._write(wish, name, output, place) for place in places)
        config = self.pipeline.config
        facts = {
            "seconds": output.seconds,
            "sample_rate_hz": output.sample_rate_hz,
            "seed": wish.seed,
            "steps": wish.steps or config["num_inference_steps"],
            "guidance": config["guidance_scale"] if guidance is None else guidance,
            "closer": output.closer,
            "start_s": wish.start_s,
            "model": self.name,
            **({} if choice is None else {"best_of": wish.best_of, **choice.facts()}),
        }
        return Result(sounds, facts, self._notice(wish, seen, output))

    def _duration_s(self, wish: Wish, seen: Seen | None) -> float | None:
        """As wished; else the model's segment, of a video what is left of it, and no more than is allowed."""
        if wish.duration_s is not None:
            return wish.duration_s
        left_s = None if seen is None else seen.left_s
        longest_s = min(self.segment_s if left_s is None else left_s, self.limits.max_duration_s)
        return None if longest_s == self.segment_s else longest_s

    def guidance(self, wish: Asked) -> float | None:
        """As wished; a negative text needs some."""
        if wish.guidance is None and wish.negative_text is not None and self.pipeline.config["guidance_scale"] == 1.0:
            return GUIDANCE_AWAY
        return wish.guidance

    def _write(self, wish: Wish, name: str, output: Any, index: int) -> Made:
        from clipsonic.audio.loudness import LevelOptions
        from clipsonic.audio.picture import save_spectrogram
        from clipsonic.generate.write import tags_for, write_sound

        wave = output.audios[index]
        path, tags = self.folder.new(".wav"), tags_for(self.name, name, wish.seed)
        level = LevelOptions(None, None) if wish.loudness == "off" else LevelOptions(wish.loudness)
        report = write_sound(path, wave, output.sample_rate_hz, level, tags)
        made = Made(path, self.folder.new(".png"), round(report.lufs, 1))
        mel = self.pipeline.segment.mel
        save_spectrogram(made.spectrogram, output.mels[index][:, : mel.enough_mel_frames(wave.size)], mel)
        return made

    def _notice(self, wish: Wish, seen: Seen | None, output: Any) -> str | None:
        from clipsonic.generate.known import notice_for

        kind = "text" if seen is None else "video" if seen.times_s else "image"
        words = notice_for(self.pipeline, kind, wish.text, output.embeds[0])
        return words and words.removeprefix("note: ")

    @contextmanager
    def _progress_bar(self, iterable: Any = None, total: int | None = None) -> Iterator[_Steps]:
        """What the pipeline takes for its progress bar."""
        yield _Steps(self._current, total or 1)


class _Steps:
    def __init__(self, ticket: Ticket | None, total: int) -> None:
        self._ticket, self._total, self._count = ticket, total, 0

    def update(self, steps: int = 1) -> None:
        self._count += steps
        if self._ticket is not None:
            self._ticket.share = min(1.0, self._count / self._total)


def _prompt_of(wish: Wish, seen: Seen | None) -> dict[str, Any]:
    """The prompt as the pipeline takes it."""
    if seen is None:
        return {"text": wish.text}
    if not seen.times_s:
        return {"image": seen.pictures[0]}
    return {"frames": list(seen.pictures), "frame_times_s": list(seen.times_s)}
