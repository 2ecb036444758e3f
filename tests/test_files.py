"""A file is there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from clipsonic.files import remove_temporaries, whole_file, write_json, write_whole


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


def test_a_link_laid_where_the_temporary_file_would_be_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / f".file.{os.getpid()}.tmp").symlink_to(victim)  # a name that can be foreseen
    (out / ".file.0123456789abcdef.tmp").symlink_to(victim)  # and one that was guessed
    guessed = iter(["0123456789abcdef"])
    random = secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", lambda count: next(guessed, None) or random(count))
    write_whole(out / "file", b"new")
    assert victim.read_bytes() == b"precious"
    assert (out / "file").read_bytes() == b"new"
    assert not (out / "file").is_symlink()


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as first, whole_file(tmp_path / "file") as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert (tmp_path / "file").read_bytes() == b"first", "it closed last"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_as_long_as_the_file_system_allows_is_written_whole(tmp_path: Path) -> None:
    for name in ("長" * 84, "a" * 255, "é" * 127):
        write_whole(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_a_file_has_the_permissions_that_the_user_gives_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"1")
    write_whole(tmp_path / "whole", b"1")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_was_left_of_a_file_is_removed_and_what_is_of_others_stays(tmp_path: Path) -> None:
    for name in (".a[1].00ff.tmp", ".a[1].7.tmp", ".a[1].b.00ff.tmp", ".a1.00ff.tmp", "a[1]"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path / "a[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a1.00ff.tmp", ".a[1].b.00ff.tmp", "a[1]"]
