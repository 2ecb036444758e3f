"""Sound files in their own depth: what was read and written again is the same, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from clipsonic.audio.exact import held_depth, is_held_exactly, read_exact, write_exact
from clipsonic.audio.formats import read_tags
from clipsonic.errors import ClipsonicError, UsageError
from clipsonic.seeding import numpy_rng

DEPTHS = [
    *[(".wav", depth) for depth in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")],
    *[(".flac", depth) for depth in ("PCM_S8", "PCM_16", "PCM_24")],
]


def whole_range(channels: int, length: int = 3000) -> np.ndarray:
    """Numbers of 32 bits with both ends, where scales that are off by one would show."""
    values = numpy_rng(5, "test.exact").integers(-(2**31), 2**31, (length, channels), dtype=np.int64)
    values[0], values[1] = -(2**31), 2**31 - 1
    return values.astype(np.int32)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
@pytest.mark.parametrize(("suffix", "depth"), DEPTHS)
def test_every_depth_rate_and_channel_comes_back_bit_for_bit(
    tmp_path: Path, suffix: str, depth: str, rate_hz: int, channels: int
) -> None:
    given, back = tmp_path / f"given{suffix}", tmp_path / "new" / f"back{suffix}"
    soundfile.write(given, whole_range(channels), rate_hz, depth)
    sound = read_exact(given)
    assert (sound.wave_CT.shape, sound.rate_hz, sound.depth) == ((channels, 3000), rate_hz, depth)
    write_exact(back, sound.wave_CT, sound.rate_hz, sound.depth, {"title": "鐘"})
    first, second = (soundfile.read(path, dtype="float64", always_2d=True) for path in (given, back))
    assert np.array_equal(first[0], second[0])
    assert (second[1], soundfile.info(back).subtype) == (rate_hz, depth)
    assert read_tags(back)["title"] == "鐘"


@pytest.mark.parametrize(
    ("suffix", "depth", "held", "exactly"),
    [
        (".wav", "PCM_S8", "PCM_U8", True), (".flac", "PCM_U8", "PCM_S8", True), (".wav", "VORBIS", "FLOAT", True),
        (".flac", "PCM_32", "PCM_24", False), (".flac", "FLOAT", "PCM_24", False), (".FLAC", "PCM_16", "PCM_16", True),
        (".flac", "MPEG_LAYER_III", "PCM_24", False),
    ],
)  # fmt: skip
def test_a_depth_that_a_container_lacks_becomes_the_nearest_and_says_so(
    suffix: str, depth: str, held: str, exactly: bool
) -> None:
    assert (held_depth(suffix, depth), is_held_exactly(suffix, depth)) == (held, exactly)


def test_bytes_of_a_wav_of_8_bits_are_those_of_a_flac_of_8_bits(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", whole_range(1), 8000, "PCM_U8")
    sound = read_exact(tmp_path / "a.wav")
    write_exact(tmp_path / "b.flac", sound.wave_CT, 8000, sound.depth)
    assert np.array_equal(read_exact(tmp_path / "b.flac").wave_CT, sound.wave_CT)


def test_what_a_lossy_file_decodes_to_is_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", whole_range(2, 8000) // 4, 44100, format="OGG", subtype="VORBIS")
    sound = read_exact(tmp_path / "a.ogg")
    write_exact(tmp_path / "b.wav", sound.wave_CT, sound.rate_hz, sound.depth)
    assert np.array_equal(read_exact(tmp_path / "b.wav").wave_CT, sound.wave_CT)


def test_integers_clip_what_is_too_loud_and_floats_keep_it(tmp_path: Path) -> None:
    for depth, loudest in (("PCM_24", 1 - 2.0**-23), ("FLOAT", 1.5)):
        write_exact(tmp_path / "a.wav", [1.5, -0.25], 8000, depth)
        assert read_exact(tmp_path / "a.wav").wave_CT.tolist() == [[loudest, -0.25]]


@pytest.mark.parametrize(
    ("content", "error", "word"),
    [
        (None, UsageError, "does not exist"),
        (b"no sound", ClipsonicError, "not a sound"),
        ("nan", UsageError, "numbers"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | str | None, error: type[Exception], word: str
) -> None:
    path = tmp_path / "a.wav"
    if content == "nan":
        soundfile.write(path, np.array([0.0, np.nan]), 8000, "FLOAT")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(error, match=word):
        read_exact(path)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.mp3: only \.wav and \.flac"):
        write_exact(tmp_path / "a.mp3", [0.0], 8000, "PCM_16")
    with pytest.raises(UsageError, match="finite"):
        write_exact(tmp_path / "a.wav", [np.inf], 8000, "FLOAT")
    assert not list(tmp_path.iterdir())
