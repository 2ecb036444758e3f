"""The demo's folder: what is old goes, what is asked for stays inside, what a killed demo left is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsonic.demo.folder import PREFIX, DemoFolder
from clipsonic.demo.limits import Limits
from clipsonic.demo.refusals import FullError


def put(folder: DemoFolder, age_s: float, num_bytes: int = 10) -> Path:
    path = folder.new(".wav")
    path.write_bytes(bytes(num_bytes))
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


def test_what_is_old_is_removed_and_what_is_new_stays(tmp_path: Path) -> None:
    folder = DemoFolder(Limits(1.0, keep_s=100.0), tmp_path)
    old, new = put(folder, 200.0), put(folder, 10.0)
    folder.tidy()
    assert not old.exists()
    assert new.exists()


def test_a_folder_whose_last_file_is_removed_goes_with_it(tmp_path: Path) -> None:
    folder = DemoFolder(Limits(1.0, keep_s=100.0), tmp_path)
    path = folder.path / "uploads" / "picture.png"
    path.parent.mkdir()
    put(folder, 200.0).rename(path)
    folder.tidy()
    assert not path.parent.exists()
    assert folder.path.exists()


def test_beyond_the_space_the_oldest_go_first(tmp_path: Path) -> None:
    folder = DemoFolder(Limits(1.0, folder_mb=1), tmp_path)
    oldest, older, new = (put(folder, age_s, 400_000) for age_s in (300.0, 200.0, 0.0))
    folder.tidy()
    assert [path.exists() for path in (oldest, older, new)] == [False, True, True]


def test_a_folder_full_of_files_in_use_takes_nothing_more(tmp_path: Path) -> None:
    folder = DemoFolder(Limits(1.0, folder_mb=1), tmp_path)
    put(folder, 0.0, 2**20 + 1)
    with pytest.raises(FullError, match="try again"):
        folder.tidy()


def test_only_files_of_the_demo_are_found(tmp_path: Path) -> None:
    folder = DemoFolder(Limits(1.0), tmp_path)
    own = put(folder, 0.0)
    (tmp_path / "secret.wav").write_bytes(b"x")
    assert folder.find(own.name) == own
    for name in ("../secret.wav", "secret.wav", f"../{own.name}", f"{own.stem}.exe", own.stem, "", f"{own.name}/.."):
        assert folder.find(name) is None


def test_what_a_killed_demo_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait(timeout=30)
    left = tmp_path / f"{PREFIX}{gone.pid}-abc"
    lives = tmp_path / f"{PREFIX}{os.getppid()}-abc"
    for folder in (left, lives):
        folder.mkdir()
        (folder / "sound.wav").write_bytes(b"x")
    own = DemoFolder(Limits(1.0), tmp_path)
    assert not left.exists()
    assert (lives / "sound.wav").exists()
    own.remove()
    assert not own.path.exists()
