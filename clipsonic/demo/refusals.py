"""Refusals of the demo: one sentence each, with the HTTP status that says whose turn it is.

Guarantee: every refusal that a visitor can cause has a status from 400 to 503; everything else is a 500. Price: none.
"""

from __future__ import annotations

from clipsonic.errors import ClipsonicError


class DemoError(ClipsonicError):
    """A wish that cannot be met; `status` is HTTP's."""

    status = 422


class MalformedError(DemoError):
    """The request itself cannot be read."""

    status = 400


class LateError(DemoError):
    """The request took too long to arrive."""

    status = 408


class TooLargeError(DemoError):
    """The request is larger than allowed."""

    status = 413


class WrongTypeError(DemoError):
    """The request or its file is of a type that is not taken."""

    status = 415


class BusyError(DemoError):
    """All places are taken."""

    status = 429


class FullError(DemoError):
    """The disk space that the demo may use is full."""

    status = 503


def status_of(error: BaseException) -> int:
    """The HTTP status of an error: a refusal's own, 422 for wrong usage of the model, else 500."""
    if isinstance(error, DemoError):
        return error.status
    return 422 if isinstance(error, ClipsonicError) else 500


def sentence_of(error: BaseException) -> str:
    """What a visitor is told: a refusal's sentence; of a failure of ours no more than that it is ours."""
    if isinstance(error, ClipsonicError):
        return str(error)
    return "the demo failed at this, through no fault of yours: try again, or tell whoever runs it"
