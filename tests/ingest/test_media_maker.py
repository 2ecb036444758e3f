"""The maker of test films tells the truth: number and noise are those of the same moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_maker import NOISE_HZ, moment_of, noise, number_of, numbers_of, picture_of, set_edits, sound_of, write_film

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".vob", ".flv", ".ogv", ".nut", ".asf", ".3gp",
            ".mxf")  # fmt: skip


@pytest.mark.parametrize("size", [(96, 64), (320, 180)])
def test_every_picture_tells_its_number(size: tuple[int, int]) -> None:
    assert [number_of(picture_of(number, size)) for number in (0, 1, 77, 2048, 4095)] == [0, 1, 77, 2048, 4095]
    with pytest.raises(ValueError, match="no number"):
        number_of(np.full((64, 96, 3), 100, np.uint8))


def test_a_stretch_of_the_noise_is_found_and_another_noise_is_not() -> None:
    assert moment_of(noise()[1234:4000], NOISE_HZ) == pytest.approx(1234 / NOISE_HZ, abs=1e-9)
    with pytest.raises(ValueError, match="not the known noise"):
        moment_of(np.random.default_rng(1).standard_normal(4000), NOISE_HZ)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_picture_and_sound_are_of_the_same_moment_in_every_container(tmp_path: Path, suffix: str) -> None:
    path = write_film(tmp_path / f"a{suffix}", seconds=3.0)
    pictures, (wave, rate_hz) = numbers_of(path), sound_of(path)
    assert [number for _, number in pictures] == list(range(75))
    time_s, number = pictures[40]
    heard_s = moment_of(wave[:, round(time_s * rate_hz) :][:, : rate_hz // 4], rate_hz)
    assert heard_s == pytest.approx(number / 25, abs=0.002)


def test_a_film_is_edited_as_it_is_told(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", b_pictures=2)
    set_edits(path, {"vide": [(2.0, 1.08), (1.0, 4.08)], "soun": [(2.0, 1.0), (1.0, 4.0)]})
    shown = [number for time_s, number in numbers_of(path) if 0.0 <= time_s < 3.0]
    assert shown == [*range(25, 75), *range(100, 125)]
