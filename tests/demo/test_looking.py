"""What an upload shows: upright, not too large, a video at the bin centres of its segments, no torch loaded for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from clipsonic.demo import looking
from clipsonic.generate.prompt import read_picture
from clipsonic.refusals import RefusedError


def test_a_small_picture_is_the_one_that_generate_reads(media: Path) -> None:
    _, (pixels,) = looking.picture(str(media / "bell.png"), "bell.png")
    np.testing.assert_array_equal(pixels, read_picture(media / "bell.png"))


def test_a_large_picture_keeps_its_shape_at_a_shorter_side_of_1024(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2000), (200, 30, 60)).save(tmp_path / "large.png")
    _, (pixels,) = looking.picture(str(tmp_path / "large.png"), "large.png")
    assert pixels.shape == (1024, 1536, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 60)).max() <= 1


def test_a_video_is_looked_at_four_times_for_each_segment(media: Path) -> None:
    facts, frames = looking.frames(str(media / "scene.mp4"), 0.0, 4.0, 4.0)
    assert len(frames) == 4
    assert facts["left_s"] == pytest.approx(2.5, abs=0.01)
    assert facts["times_s"] == pytest.approx([0.3125, 0.9375, 1.5625, 2.1875], abs=0.01)
    assert [int(frame.mean()) for frame in frames] == sorted(int(frame.mean()) for frame in frames)
    assert len(looking.frames(str(media / "scene.mp4"), 0.5, 2.0, 1.0)[1]) == 8


def test_a_sound_comes_with_all_its_samples_unless_it_is_too_long(media: Path) -> None:
    facts, (wave_CT,) = looking.sound(str(media / "bell.wav"), "bell.wav", 3.0)
    assert facts == {"rate_hz": 44100, "depth": "PCM_24"}
    assert wave_CT.shape == (2, 3 * 44100)
    np.testing.assert_array_equal(wave_CT.T, soundfile.read(media / "bell.wav")[0])
    with pytest.raises(RefusedError, match=r"bell\.wav lasts 3 s, and at most 2\.9 s are taken"):
        looking.sound(str(media / "bell.wav"), "bell.wav", 2.9)


def test_a_refusal_names_the_file_as_its_owner_does(tmp_path: Path) -> None:
    (tmp_path / "abc.upload").write_bytes(b"no picture")
    with pytest.raises(RefusedError, match=r"holiday\.jpg") as caught:
        looking.picture(str(tmp_path / "abc.upload"), "holiday.jpg")
    assert str(tmp_path) not in str(caught.value)


def test_looking_loads_no_torch() -> None:
    code = "import sys; from clipsonic.demo import looking; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
