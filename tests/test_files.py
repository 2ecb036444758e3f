"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsonic.files import whole_file, write_json, write_whole


def test_bytes_text_and_json_arrive_as_given_in_folders_that_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "bytes", b"\x00\xff")
    write_whole(tmp_path / "text", "é\n")
    write_json(tmp_path / "values.json", {"é": 1})
    assert (tmp_path / "a" / "bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "values.json").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    with pytest.raises(OSError, match="disk is full"), whole_file(tmp_path / "file") as temporary:  # noqa: PT012
        temporary.write_bytes(b"ne")
        raise OSError("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
