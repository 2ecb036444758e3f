"""Refusals: every error a user can cause, as one sentence with the value, the rule and the cure.

The command line prints the sentence alone and exits with `exit_code`; a traceback is shown only with `--debug`.
"""

from __future__ import annotations


class ClipsonicError(Exception):
    """Something failed at run time that the user can act on (exit code 1)."""

    exit_code = 1


class UsageError(ClipsonicError):
    """The command or call was wrong before any work began: bad option, missing or damaged file, empty folder (exit
    code 2)."""

    exit_code = 2


class SpecError(ClipsonicError):
    """A geometry that cannot exist, or two specs that cannot go together; the message holds both values."""


class FingerprintError(ClipsonicError):
    """Two parts live in different CLIP spaces; the message names both."""


class CheckpointError(ClipsonicError):
    """A model folder or checkpoint is broken, incomplete, or has other keys than it must."""


class CorpusError(ClipsonicError):
    """A corpus folder is missing, damaged, or holds no usable record."""


class TrainingError(ClipsonicError):
    """Training had to stop, for instance on a non-finite loss; the message names the records."""


def first_line(error: BaseException) -> str:
    """What an error says, as part of a sentence."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return text[:160].rstrip(" .:")
