"""Decoding in processes that can be killed, and what may cross from one into its parent: segments, an end, a refusal.

Guarantee: each job ends exactly once, with ("done", None, None) or ("refused", reason, detail), whatever its file does
to the decoder (`workers` says what that costs). A process that a file has taken over can give its parent nothing but a
segment that a video could have given: of this job, of the lengths and sizes that were asked for, later than the one
before, its key (the name of a tar's member) made of the job's own, its facts finite numbers and short words. Everything
else is a `MalformedError`.
Not guarded: whether such a segment is true, of this file or of those that the same process reads after it; and such a
process still has the rights of its user.
Price: 0.1 ms a segment; the process imports NumPy, SciPy's filters, PyAV, Pillow, soxr and, when a file wants it,
decord; never torch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from clipsonic.ingest.jobs import Job, Part
from clipsonic.ingest.probe import MAX_HOURS
from clipsonic.ingest.segments import Fit, ReadSettings, Segment, read_segments
from clipsonic.refusals import MalformedError, RefusedError
from clipsonic.specs import CorpusSpec
from clipsonic.wire import Message
from clipsonic.workers import Call, Event, Limits, Pool, Read

NUMBERS = frozenset(
    [
        *("start_s", "seconds", "valid_seconds", "lufs", "rms_db", "peak", "silence_share", "clipped_share"),
        *("still_share", "black_share", "shot_changes", "width", "height", "fps"),
    ]
)
"""Facts that every segment has, as numbers; others may be added, of the kinds that `_is_plain` knows."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORD = re.compile(r"[\x20-\x7e]{0,200}")
_HASH = re.compile(r"[0-9a-f]{16}")
_MOST = 2.0**53
_MAX_FACTS = 100
_THUMBNAIL_BYTES = 2**17
_JPEG = b"\xff\xd8"
_ROUNDING_S = 0.001


def told_job(job: Job, settings: ReadSettings) -> dict[str, Any]:
    """The job as arguments of `read`; its caption, which no decoder needs, stays here."""
    told = dataclasses.replace(job, caption=None)
    asked = dataclasses.replace(settings, max_copy_gb=min(settings.max_copy_gb, _MOST))  # JSON knows no infinity
    return {"job": dataclasses.asdict(told), "settings": dataclasses.asdict(asked)}


def job_in(head: dict[str, Any]) -> tuple[Job, ReadSettings]:
    """What `told_job` told."""
    job, settings = head["job"], head["settings"]
    part = job["part"] and Part(**job["part"])
    fit = settings["fit"] and Fit(**settings["fit"])
    return Job(**{**job, "part": part}), ReadSettings(
        **{**settings, "spec": CorpusSpec(**settings["spec"]), "fit": fit}
    )


def told_segment(segment: Segment) -> Message:
    """The segment as a message."""
    files = [*([] if segment.thumbnail is None else [segment.thumbnail]), *segment.kept]
    head = {"kind": "segment", "key": segment.key, "facts": segment.facts}
    return Message(head, [segment.sound, *segment.pictures, *(np.frombuffer(file, np.uint8) for file in files)])


def read(**told: Any) -> Iterator[Message]:
    """In the decoding process: the segments of a job that `told_job` told, as messages; raises as `read_segments`."""
    yield from map(told_segment, read_segments(*job_in(told)))


def most_bytes(settings: ReadSettings, memory_mb: int) -> int:
    """What the arrays of one segment may take: where pictures are fitted all that there can be, else what the process
    may hold, which is `memory_mb`."""
    if settings.fit is None or settings.keep_frames is not None:
        return memory_mb * 2**20
    spec = settings.spec
    pictures = CorpusSpec.num_frames(spec.seconds) * 3 * settings.fit.side**2
    return 2 * spec.num_samples() + pictures + _THUMBNAIL_BYTES


class WorkerPool(Pool):
    """Processes that decode.

    Args:
        num_workers: how many.
        timeout_s: a file that gives nothing for so long is refused (`timeout`).
        memory_mb: what one process may take for a file (`memory`); enforced on Linux.
    """

    def __init__(self, num_workers: int, *, timeout_s: float = 120.0, memory_mb: int = 2048) -> None:
        limits = Limits(timeout_s, memory_mb, file_mb=None)
        super().__init__((__name__, "pyloudnorm"), num_workers, limits, "the decoder's process")
        self._memory_mb = memory_mb

    def run(self, jobs: Iterable[Job], settings: ReadSettings) -> Generator[tuple[int, Event], None, None]:
        """(number of the job, event) for all jobs, in their order.

        Raises:
            ClipsonicError: a decoding process cannot start.
        """
        most = most_bytes(settings, self._memory_mb)
        return self.events(Call("read", told_job(job, settings), partial(_reader, job, settings), most) for job in jobs)


def _reader(job: Job, settings: ReadSettings) -> Read:
    return Border(job, settings).event


class Border:
    """Lets through what a process may say of one job."""

    def __init__(self, job: Job, settings: ReadSettings) -> None:
        self._job, self._settings = job, settings
        self._next_s, self._left = job.start_s or 0.0, settings.max_segments

    def event(self, message: Message) -> Event:
        """The event in a message.

        Raises:
            MalformedError: there is none that is allowed.
        """
        kind = message.head.get("kind")
        if kind == "segment":
            return "segment", self._segment(message), None
        if message.arrays or kind not in ("done", "refused"):
            raise MalformedError("a message of a kind that is not taken")
        if kind == "done":
            return "done", None, None
        refused = RefusedError.told(message.head)
        return "refused", refused.reason, refused.detail

    def _segment(self, message: Message) -> Segment:
        facts: Any = message.head.get("facts")
        key: Any = message.head.get("key")
        self._check_facts(facts)
        self._check_place(facts["start_s"], key)
        sound, *others = message.arrays or [np.zeros(0)]
        self._check_sound(sound, facts["seconds"])
        times_s, settings = facts["frame_times_s"], self._settings
        count, has_thumbnail = len(times_s), settings.thumbnails
        num_kept = 0 if settings.keep_frames is None else count
        if len(others) != count + has_thumbnail + num_kept:
            raise MalformedError(f"{len(others)} pictures and files for {count} times")
        pictures, files = others[:count], [_jpeg(array) for array in others[count:]]
        self._check_pictures(pictures)
        thumbnail = files.pop(0) if has_thumbnail else None
        return Segment(key, sound, pictures, facts, thumbnail, tuple(files))

    def _check_facts(self, facts: Any) -> None:
        """Plain, whole, and of this job."""
        if type(facts) is not dict or len(facts) > _MAX_FACTS or not all(map(_NAME.fullmatch, facts)):
            raise MalformedError("facts of another layout")
        own = {
            "source": self._job.source,
            "source_id": self._job.source_id,
            "sample_rate": self._settings.spec.sample_rate_hz,
        }
        for name, value in own.items():
            if type(facts.get(name)) is not type(value) or facts[name] != value:
                raise MalformedError(f"a segment whose {name} is not the job's")
        for name in (facts.keys() | NUMBERS) - own.keys():
            if not _is_fact(name, facts.get(name)):
                raise MalformedError(f"a fact {name} that cannot be ({str(facts.get(name))[:40]!r})")
        if not 0.0 <= facts["valid_seconds"] <= facts["seconds"] + _ROUNDING_S:
            raise MalformedError("more seconds that are valid than there are")
        self._check_times(facts.get("frame_times_s"), facts["seconds"])

    def _check_times(self, times_s: Any, seconds: float) -> None:
        """Of the pictures: rising, within the segment, as many as the spec allows."""
        if type(times_s) is not list or not 0 < len(times_s) <= CorpusSpec.num_frames(self._settings.spec.seconds):
            raise MalformedError("as many times of pictures as no segment has")
        if not all(map(_is_number, times_s)) or not 0.0 <= times_s[0] <= times_s[-1] <= seconds + _ROUNDING_S:
            raise MalformedError("times of pictures that lie outside of the segment")
        if sorted(times_s) != times_s:
            raise MalformedError("times of pictures that do not rise")

    def _check_place(self, start_s: float, key: Any) -> None:
        """Later than the one before it, within the job, and the key says so."""
        last_s = 3600.0 * MAX_HOURS if self._job.end_s is None else self._job.end_s
        if not self._next_s - _ROUNDING_S <= start_s <= last_s:
            raise MalformedError(f"a segment at {start_s:g} s, outside of its place in the job")
        milliseconds = re.fullmatch(f"{re.escape(self._job.entry_id)}-([0-9]{{8,10}})", str(key)[:200])
        if type(key) is not str or milliseconds is None or abs(int(milliseconds[1]) - 1000.0 * start_s) > 1.0:
            raise MalformedError("a key that is not the job's")
        if self._left is not None and self._left < 1:
            raise MalformedError("more segments than were asked for")
        self._next_s, self._left = start_s + self._settings.stride_s, self._left and self._left - 1

    def _check_sound(self, sound: np.ndarray, seconds: float) -> None:
        spec = self._settings.spec
        if sound.dtype != np.int16 or sound.ndim != 1:
            raise MalformedError(f"a sound of {sound.dtype} {sound.shape}")
        if not spec.num_samples(spec.min_seconds) <= len(sound) <= spec.num_samples():
            raise MalformedError(f"a sound of {len(sound)} samples")
        if abs(seconds * spec.sample_rate_hz - len(sound)) > 1.0:
            raise MalformedError(f"a sound of {len(sound)} samples that is told to last {seconds:g} s")

    def _check_pictures(self, pictures: list[np.ndarray]) -> None:
        fit = self._settings.fit
        for picture in pictures:
            fits = picture.shape == (fit.side, fit.side, 3) if fit else picture.shape[2:] == (3,)
            if picture.dtype != np.uint8 or not fits or not picture.size:
                raise MalformedError(f"a picture of {picture.dtype} {picture.shape}")


def _is_fact(name: str, value: Any) -> bool:
    if name in NUMBERS:
        return _is_number(value)
    if name.endswith("_hash"):
        return type(value) is str and _HASH.fullmatch(value) is not None
    return _is_plain(value) or (type(value) is list and all(map(_is_plain, value)))


def _is_plain(value: Any) -> bool:
    """A number, yes or no, a short word, or nothing."""
    return value is None or type(value) is bool or _is_number(value) or _is_word(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _MOST


def _is_word(value: Any) -> bool:
    return type(value) is str and _WORD.fullmatch(value) is not None


def _jpeg(array: np.ndarray) -> bytes:
    data = array.tobytes()
    if array.dtype != np.uint8 or array.ndim != 1 or not data.startswith(_JPEG):
        raise MalformedError("a file that is no JPEG")
    return data
