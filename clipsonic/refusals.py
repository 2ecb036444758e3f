"""Why a file is not taken: a closed list of reasons, and the exception that carries one out of where it was read.

Guarantee: what a file provokes ends with one reason and one printable line. What is this machine's trouble and not the
file's has a reason of its own.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Any

from clipsonic.errors import ClipsonicError
from clipsonic.files import is_trouble, printable

_MAX_DETAIL = 300


class RefusalReason(StrEnum):
    """All reasons there are."""

    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    TOO_SHORT = "too_short"
    DECODE_ERROR = "decode_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    TOO_LARGE = "too_large"
    NOT_MEDIA = "not_media"
    CRASHED = "crashed"
    UNSAFE_NAME = "unsafe_name"
    BAD_ROW = "bad_row"
    TROUBLE = "trouble"


MEANING = {
    RefusalReason.NO_VIDEO: "no moving picture in it",
    RefusalReason.NO_AUDIO: "no sound in it",
    RefusalReason.TOO_SHORT: "picture and sound together last less than --min-seconds",
    RefusalReason.DECODE_ERROR: "a media file that is damaged, missing, or of a codec that cannot be read",
    RefusalReason.TIMEOUT: "gave nothing for --timeout-s",
    RefusalReason.MEMORY: "needed more than --memory-mb",
    RefusalReason.TOO_LARGE: "of an archive or behind an address, and larger than --max-copy-gb",
    RefusalReason.NOT_MEDIA: "no media file, whatever its name says",
    RefusalReason.CRASHED: "ended the decoder's process",
    RefusalReason.UNSAFE_NAME: "its name in the archive leads out of a folder, or is an address",
    RefusalReason.BAD_ROW: "a line of a manifest or list that cannot be used",
    RefusalReason.TROUBLE: "this machine could not read it (a disk, permission, too many open files): run it again",
}
"""What each reason says to a person."""


class MalformedError(Exception):
    """What a decoding process has sent is no message, or none that it may send; said for people."""


class RefusedError(ClipsonicError):
    """A file cannot be ingested: the reason, and in `detail` the decoder's own words, one printable line of them."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, one_line(detail)

    def head(self) -> dict[str, str]:
        """As the head of a message."""
        return {"kind": "refused", "reason": self.reason, "detail": self.detail}

    @classmethod
    def told(cls, head: dict[str, Any]) -> RefusedError:
        """The refusal in the head of a message.

        Raises:
            MalformedError: there is none.
        """
        reason, detail = head.get("reason"), head.get("detail")
        if type(reason) is not str or reason not in MEANING or type(detail) is not str:
            raise MalformedError("a refusal without one of the reasons that there are")
        return cls(RefusalReason(reason), detail)


def one_line(text: str) -> str:
    """The first 300 letters in one line, what no terminal and no file should get as escapes."""
    line = " ".join(printable(text).split())[:_MAX_DETAIL]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def refusal_of(error: Exception) -> RefusedError:
    """What any error that a file provokes says of it: trouble of this machine, memory, or the file's own fault."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return RefusedError(RefusalReason.MEMORY, str(error) or "an allocation failed")
    words = getattr(error, "strerror", None) or str(error)  # strerror: without the paths of this machine
    if is_trouble(error):
        return RefusedError(RefusalReason.TROUBLE, words)
    return RefusedError(RefusalReason.DECODE_ERROR, f"{type(error).__name__}: {words}")
