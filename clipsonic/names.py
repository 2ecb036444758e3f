"""Names that come from outside and become files: of shards in an index, of addresses, of weights in a list.

Guarantee: a plain name joined to a folder is a visible entry of that folder and never leads out of it. Price: names
with separators, control characters or a dot in front are refused, or changed where they are only made up.
"""

from __future__ import annotations

import re

_NEVER = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


def is_plain_name(name: object) -> bool:
    """Whether it is text that names an entry of a folder: no separator, no control character, no dot in front."""
    return isinstance(name, str) and bool(name) and not name.startswith(".") and _NEVER.search(name) is None


def plain_name(text: str) -> str:
    """A plain name that resembles the text: `_` for what cannot stand in one, no dots in front; `_` for nothing."""
    return _NEVER.sub("_", text).lstrip(".") or "_"
