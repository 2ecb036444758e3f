"""From a wish to its answer, step by step: the one path that the page and the service share.

Guarantee: equal wishes get equal sounds, whichever way they came; who is no longer there is not served. Price: the
calling thread waits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsonic.demo.looker import Heard, Seen, Upload
from clipsonic.demo.made import Made, Result
from clipsonic.demo.refusals import DemoError, LateError
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import EditWish, Wish, checked, checked_edit

Tell = Callable[[float, str], None]
"""Called now and then with the share that is done, 0 to 1, and what is going on."""

_TICK_S = 0.1


@dataclass(frozen=True)
class Answer:
    """Sounds, how they were made, a word of caution; of a video, it with these sounds or why it is not; of an edit, the
    sound before it."""

    sounds: tuple[Made, ...]
    facts: dict[str, Any]
    notice: str | None
    videos: tuple[Path, ...] = ()
    no_video: str | None = None
    before: Made | None = None


def answer(
    studio: Studio,
    wish: Wish,
    upload: Upload | None,
    tell: Tell = lambda share, words: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Answer:
    """Make what was wished for; the caller holds a place.

    Raises:
        DemoError: the wish cannot be met, or is no longer wanted.
    """
    checked(wish, None if upload is None else upload.kind, studio.limits)
    studio.folder.tidy()
    seen = None
    if upload is not None:
        tell(0.0, f"looking at {upload.name}")
        seen = studio.look(wish, upload)
    no_video = None if seen is None else seen.no_video
    if no_video is not None:
        tell(0.0, f"making the sound alone: {no_video}")
    result = _made(studio, wish, seen, None if upload is None else upload.name, tell, is_wanted)
    videos: tuple[Path, ...] = ()
    if upload is not None and upload.kind == "video" and no_video is None:
        tell(1.0, "putting the sound to the video")
        videos, no_video = _with_sounds(studio, wish, upload, result)
    return Answer(result.sounds, result.facts, result.notice, videos, no_video)


def answer_edit(
    studio: Studio,
    wish: EditWish,
    upload: Upload | None,
    tell: Tell = lambda share, words: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Answer:
    """Change the sound that was sent, or one that was made here, as wished; the caller holds a place.

    Raises:
        DemoError: the wish cannot be met, or is no longer wanted.
    """
    sound = _sound_of(studio, wish, upload)
    studio.folder.tidy()
    tell(0.0, f"listening to {sound.name}")
    heard = studio.looker.listen(sound)
    checked_edit(wish, heard.seconds, studio.limits)
    result = _made(studio, wish, heard, sound.name, tell, is_wanted)
    return Answer(result.sounds, result.facts, result.notice, before=result.before)


def _sound_of(studio: Studio, wish: EditWish, upload: Upload | None) -> Upload:
    if (wish.sound is None) == (upload is None):
        found = "no sound" if upload is None else "a file and the name of a sound"
        raise DemoError(f"{found} given: send a sound as a file, or give the name of one that was made here")
    if upload is not None:
        return upload
    path = studio.folder.find(str(wish.sound))
    if path is None or path.suffix != ".wav":
        raise DemoError(f"sound {str(wish.sound)!r} is not here any more: make it again, or send it as a file")
    return Upload(path, "the sound", "sound")


def _made(
    studio: Studio,
    wish: Wish | EditWish,
    seen: Seen | Heard | None,
    name: str | None,
    tell: Tell,
    is_wanted: Callable[[], bool],
) -> Result:
    """What the model makes of a wish and its file, once it is its turn.

    Raises:
        DemoError: it cannot be made, or is no longer wanted.
    """
    ticket = studio.begin(wish, seen, name)
    while True:
        try:
            return ticket.future.result(timeout=_TICK_S)
        except CancelledError:
            raise LateError("nobody waits for this sound any more: ask again") from None
        except TimeoutError:
            if ticket.future.done():  # it was the model's
                raise
        if not is_wanted():
            ticket.future.cancel()
            raise LateError("nobody waits for this sound any more: ask again")
        ahead = studio.ahead_of(ticket)
        tell(ticket.share, f"waiting, {ahead} ahead of you" if ahead else "making the sound")


def _with_sounds(studio: Studio, wish: Wish, upload: Upload, result: Result) -> tuple[tuple[Path, ...], str | None]:
    videos: list[Path] = []
    for made in result.sounds:
        out = studio.folder.new(".mp4")
        why = studio.looker.add_sound(upload, made.wave, out, wish.start_s)
        if why is not None:
            return (), why
        videos.append(out)
    return tuple(videos), None
