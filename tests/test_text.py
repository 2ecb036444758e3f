"""Text at the border: what is no text is refused, a line is a line, and whatever a file is called can be printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipsonic.errors import UsageError
from clipsonic.text import check_text, json_text, object_of, read_lines, shown


@pytest.mark.parametrize("text", ["a bell", "鐘が鳴る", "🔔", "a\u2028b", "é"])
def test_text_of_any_script_passes_as_it_is(text: str) -> None:
    assert check_text(text, "text") == text
    assert shown(text) == text
    assert json.loads(json_text({"text": text})) == {"text": text}


@pytest.mark.parametrize(("text", "rule"), [("a\0b", "holds a NUL"), ("a \udcff", "is not valid Unicode")])
def test_what_no_file_can_hold_is_refused_in_a_sentence_that_can_be_printed(text: str, rule: str) -> None:
    with pytest.raises(UsageError, match=rule) as error:
        check_text(text, "text")
    str(error.value).encode("utf-8")
    shown(text).encode("utf-8")


def test_json_of_a_name_that_is_no_text_is_json_that_gives_the_name_back() -> None:
    text = json_text({"file": "a\udcff.mp4"})
    text.encode("utf-8")
    assert json.loads(text) == {"file": "a\udcff.mp4"}


def test_a_line_ends_at_a_line_feed_only_and_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes("\ufeff{1}\r\n{a\u2028b\u0085c\x0cd}\n\n{2}".encode())
    assert read_lines(path) == ["{1}", "{a\u2028b\u0085c\x0cd}", "", "{2}"]
    path.write_bytes(b"")
    assert read_lines(path) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("[1]", "no object"),
        ("3", "no object"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ("{", "Expecting"),
        ("[" * 10**5, "deep"),
    ],
)
def test_a_line_that_is_no_object_is_an_error_of_value(line: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        object_of(line)
