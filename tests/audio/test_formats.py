"""Every kind of sound file holds the sound at its time, and says how it was made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from clipsonic.audio.formats import LOSSLESS, SUFFIXES, container_tags, decode_sound, encode_sound, read_tags
from clipsonic.errors import ClipsonicError, UsageError

TAGS = {"title": "a bell, é 漢", "software": "clipsonic 9", "comment": "AI-generated", "seed": "4", "model": "tiny"}


def tone(rate_hz: int, channels: int = 1) -> np.ndarray:
    """(C, T) of two seconds: a click in the middle of a quiet tone."""
    wave = (0.05 * np.sin(2 * np.pi * 440 * np.arange(2 * rate_hz) / rate_hz)).astype(np.float32)
    wave[rate_hz : rate_hz + rate_hz // 400] = 0.9
    return np.stack([wave, wave * 0.5])[:channels]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16000, 22050])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_sound_comes_back_at_its_time_in_its_channels(suffix: str, rate_hz: int, channels: int) -> None:
    wave = tone(rate_hz, channels)
    heard, heard_hz = decode_sound(encode_sound(wave, rate_hz, suffix))
    assert len(heard) == channels
    assert heard.shape[1] / heard_hz == pytest.approx(2.0, abs=0.1 if suffix == ".opus" else 0.001)
    assert np.argmax(np.abs(heard[0]) > 0.4) / heard_hz == pytest.approx(1.0, abs=0.003)
    if suffix in LOSSLESS:
        np.testing.assert_allclose(heard, wave, atol=0.51 / 32768)
    if channels == 2:
        assert np.abs(heard[1]).max() == pytest.approx(np.abs(heard[0]).max() / 2, rel=0.15)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_tags_come_back_whole(suffix: str, tmp_path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_sound(tone(16000), 16000, suffix, TAGS))
    assert read_tags(path) == TAGS
    if suffix != ".mp3":  # of which libsndfile reads ID3v1 only
        assert json.loads(soundfile.SoundFile(path).comment) == TAGS


def test_other_players_find_title_and_comment(tmp_path) -> None:
    import av

    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encode_sound(tone(16000), 16000, suffix, TAGS))
        with av.open(str(path)) as container:
            found = {**container.metadata, **container.streams.audio[0].metadata}
        found = {name.lower(): value for name, value in found.items()}
        assert found["title"] == TAGS["title"], suffix
        assert found["comment"] == container_tags(TAGS)["comment"], suffix


def test_equal_sound_gives_equal_bytes_where_nothing_is_lost() -> None:
    for suffix in LOSSLESS:
        assert encode_sound(tone(16000), 16000, suffix, TAGS) == encode_sound(tone(16000), 16000, suffix, TAGS)


def test_what_is_no_sound_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"suffix '\.aiff' is not a sound format here: use one of \.wav"):
        encode_sound(tone(16000), 16000, ".aiff")
    with pytest.raises(UsageError, match=r"shape \(3, 8\) cannot be written"):
        encode_sound(np.zeros((3, 8)), 16000, ".wav")
    with pytest.raises(UsageError, match="finite"):
        encode_sound(np.full(8, np.nan), 16000, ".wav")
    with pytest.raises(ClipsonicError, match="5 bytes are not a sound file"):
        decode_sound(b"hello")
    with pytest.raises(UsageError, match="does not exist"):
        read_tags(tmp_path / "none.wav")
    (tmp_path / "a.wav").write_bytes(b"hello")
    with pytest.raises(ClipsonicError, match="cannot be read"):
        read_tags(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(encode_sound(tone(16000), 16000, ".wav"))
    assert read_tags(tmp_path / "b.wav") == {}
