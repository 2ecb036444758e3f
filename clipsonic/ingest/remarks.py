"""What listing sees beside the files that it lists: what it passes over, and what it has to refuse unopened.

Guarantee: nothing that stands in a listed folder, manifest or list is left out silently: it becomes a job, or an
outcome here, or it is counted here. Price: none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from clipsonic.ingest.quarantine import Outcome, RefusalReason, most_frequent_first

HIDDEN, NO_SUFFIX = "hidden", "no suffix"
_MOST_SAID = 8


class Remarks:
    """Filled while the sources are listed; found anew by every run, so that what could not be listed is tried again."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.passed_over = Counter[str]()
        self.comments = 0

    def refuse(self, source: str, reason: RefusalReason, detail: str) -> None:
        """Something is listed that is no job: a row that cannot be used, a folder that cannot be listed."""
        self.outcomes.append(Outcome(source, 0, reason, detail))

    @property
    def unlisted(self) -> list[Outcome]:
        """Folders and archives that could not be listed now."""
        return [outcome for outcome in self.outcomes if outcome.is_open]

    def pass_over(self, suffix: str) -> None:
        """A file of a folder is no media file by its suffix ("" = it has none)."""
        self.passed_over[suffix or NO_SUFFIX] += 1

    def to_dict(self) -> dict[str, Any]:
        """What was counted, as it is kept in the corpus."""
        return {"passed_over": most_frequent_first(self.passed_over), "comments": self.comments}


def passed_over_in_words(counts: dict[str, int]) -> str:
    """Such as "passed over 5 files by their names: .jpg 3, no suffix 2"; nothing where there are none."""
    if not counts:
        return ""
    said = [f"{suffix} {count}" for suffix, count in list(counts.items())[:_MOST_SAID]]
    if len(counts) > _MOST_SAID:
        said.append(f"{len(counts) - _MOST_SAID} other suffixes {sum(list(counts.values())[_MOST_SAID:])}")
    total = sum(counts.values())
    return f"passed over {total} {'file' if total == 1 else 'files'} by their names: {', '.join(said)}"


def comments_in_words(count: int) -> str:
    """Such as "2 lines that begin with # were taken as comments"; nothing where there are none."""
    if not count:
        return ""
    return (
        f"{count} {'line that begins with # was' if count == 1 else 'lines that begin with # were'} taken as comments"
    )
