"""Text where it crosses the border: prompts, names, lists and JSON lines that come in, and words that go out.

Guarantee: what was read is text that every part and every file can hold, or was refused in one sentence; what is
written is valid in its encoding, whatever a file is called. A line ends at a line feed or a return only: U+2028 and
U+0085 are letters of a line to JSON, and ends of one to Python. Price: none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from clipsonic.errors import UsageError

_SURROGATE = re.compile("[\ud800-\udfff]")


def check_text(text: str, what: str) -> str:
    """The text itself.

    Raises:
        UsageError: it holds a NUL or half of a surrogate pair (bytes that were no UTF-8), which no file can hold.
    """
    if "\0" in text:
        raise UsageError(f"{what} {shown(text)!r} holds a NUL: leave it out")
    if _SURROGATE.search(text):
        raise UsageError(f"{what} {shown(text)!r} is not valid Unicode: write it in UTF-8")
    return text


def shown(text: str) -> str:
    """The text as it can be printed, drawn and put into tags: what is no letter is U+FFFD."""
    return _SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")


def json_text(values: Any) -> str:
    """JSON with letters of any script as they are, unless one of them cannot be written in UTF-8: then all escaped."""
    text = json.dumps(values, ensure_ascii=False, default=str)
    return json.dumps(values, default=str) if _SURROGATE.search(text) else text


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without their line feeds; a byte order mark is no part of the first.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    text = path.read_bytes().decode("utf-8-sig")
    return lines_of(text.removesuffix("\n")) if text else []


def lines_of(text: str) -> list[str]:
    """Lines by their ends alone, those of any system."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def object_of(line: str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        ValueError: the line is none, or names one key twice; the message says which.
    """
    try:
        values = json.loads(line, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is no object in {...}")
    return values


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return values
