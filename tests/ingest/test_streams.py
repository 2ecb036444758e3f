"""Which streams are taken, and in which shape: what a player would show and play, found even where it comes late."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import makers_ingest as makers
import makers_streams as streams
import numpy as np
import pytest

from clipsonic.generate.track import MixedSound, own_format
from clipsonic.ingest.decode import DecordError, frames_at
from clipsonic.ingest.jobs import Job
from clipsonic.ingest.opening import open_media, sound_stream, video_stream
from clipsonic.ingest.probe import probe
from clipsonic.ingest.segments import ReadSettings, Segment, read_segments
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.specs import CorpusSpec

HAS_DECORD = importlib.util.find_spec("decord") is not None
RATE_HZ = 16000


def segments_of(path: Path, seconds: float = 2.0) -> list[Segment]:
    settings = ReadSettings(CorpusSpec(RATE_HZ, seconds, 1.0), stride_s=seconds)
    return list(read_segments(Job(str(path), path.name, "id", "entry"), settings))


def pitches_hz(path: Path, seconds: float = 2.0) -> list[float]:
    return [streams.pitch_hz(segment.sound.astype(np.float32), RATE_HZ) for segment in segments_of(path, seconds)]


def picture(count: int = 100, codec: str = "libx264", **how: Any) -> dict[str, Any]:
    return {"codec": codec, "pictures": streams.numbered(count), "options": {}, **how}


def sound(hz: float, seconds: float = 4.0, codec: str = "aac", channels: int = 1, **how: Any) -> dict[str, Any]:
    return {"codec": codec, "wave": np.stack([streams.tone(seconds, hz)] * channels).squeeze(), **how}


def lively(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 96, 160, 3), dtype=np.uint8))


@pytest.mark.parametrize("louder", [0, 1])
def test_of_two_programmes_picture_and_sound_are_of_the_same(tmp_path: Path, louder: int) -> None:
    """The first one's picture is the larger one; the better sound may be the other's."""
    large = {**picture(), "pictures": streams.numbered(100, 320, 192)}
    sounds = [sound(440.0 if place == 0 else 1000.0, channels=2 if place == louder else 1) for place in (0, 1)]
    path = streams.two_programmes(tmp_path / "v.ts", [[large, sounds[0]], [picture(), sounds[1]]])
    with open_media(path) as container:
        assert len(container.streams.video) == len(container.streams.audio) == 2
    assert frames_at(path, [1.0])[0].shape == (192, 320, 3)
    assert pitches_hz(path) == [pytest.approx(440.0, abs=2.0)] * 2
    assert own_format(path)[1] == (2 if louder == 0 else 1)


def test_a_programme_without_sound_does_not_take_that_of_another(tmp_path: Path) -> None:
    large = {**picture(), "pictures": streams.numbered(100, 320, 192)}
    path = streams.two_programmes(tmp_path / "v.ts", [[large], [picture(50), sound(1000.0, 2.0)]])
    assert frames_at(path, [1.0])[0].shape == (192, 320, 3)
    with pytest.raises(RefusedError) as caught:
        segments_of(path)
    assert caught.value.reason == RefusalReason.NO_AUDIO


def test_a_default_sound_without_a_decoder_gives_way_to_the_next(tmp_path: Path) -> None:
    path = streams.write(tmp_path / "v.mkv", [picture(), sound(1000.0, codec="ac3", is_default=True), sound(440.0)])
    streams.rename_codec(path, b"A_AC3", b"A_XC3")
    assert pitches_hz(path) == [pytest.approx(440.0, abs=2.0)] * 2
    assert MixedSound(path, np.zeros(480, np.float32), 48000, 0.0, duck=False, rates_hz=(48000,)).read(4800).any()


def test_a_default_picture_without_a_decoder_gives_way_to_the_next(tmp_path: Path) -> None:
    other = {**picture(codec="mpeg4"), "pictures": streams.numbered(100, first=500)}
    path = streams.write(tmp_path / "v.mkv", [picture(is_default=True), other, sound(440.0)])
    streams.rename_codec(path, b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XVC")
    (shown,) = frames_at(path, [1.0])
    assert makers.number_of(shown) == 525
    assert len(segments_of(path)) == 2


def test_only_if_no_stream_has_a_decoder_the_file_is_refused_and_they_are_named(tmp_path: Path) -> None:
    path = streams.write(tmp_path / "v.mkv", [picture(), sound(1000.0, codec="ac3"), sound(440.0, codec="ac3")])
    for which in (0, 0):
        streams.rename_codec(path, b"A_AC3", b"A_XC3", which)
    with pytest.raises(RefusedError, match="video h264, audio without a decoder, audio without a decoder") as caught:
        segments_of(path)
    assert caught.value.reason == RefusalReason.DECODE_ERROR
    assert len(frames_at(path, [1.0])) == 1  # the picture is there for those who need no sound


LATE = {
    "aac.ts": ("libx264", "aac"),
    "mp2.mpg": ("mpeg2video", "mp2"),
    "mp3.flv": ("flv", "libmp3lame"),
    "aac.mkv": ("libx264", "aac"),
}


@pytest.mark.parametrize("name", LATE)
def test_a_sound_that_begins_after_the_first_look_is_there_at_its_time(tmp_path: Path, name: str) -> None:
    picture_codec, sound_codec = LATE[name]
    rate_hz = 44100 if name.endswith("flv") else 48000
    wave = np.concatenate([streams.tone(2.0, 440.0, rate_hz), streams.tone(2.0, 1000.0, rate_hz)])
    how = {"codec": sound_codec, "wave": wave, "rate_hz": rate_hz, "from_s": 12.0}
    shown = picture(400, picture_codec)
    shown["pictures"] += lively(200) if name.endswith("mpg") else []  # else FFmpeg finds the sound at the file's end
    path = streams.write(tmp_path / name, [shown, how])
    assert probe(path).sound_end_s == pytest.approx(16.0, abs=0.2)
    segments = segments_of(path)
    pitches = [streams.pitch_hz(segment.sound.astype(np.float32), RATE_HZ) for segment in segments[6:8]]
    assert pitches == [pytest.approx(440.0, abs=2.0), pytest.approx(1000.0, abs=2.0)]
    assert not any(segment.sound[: 2 * RATE_HZ - 800].any() for segment in segments[:6])
    assert makers.number_of(segments[6].pictures[0]) == int(25 * (12.0 + segments[6].facts["frame_times_s"][0]))


def joined(folder: Path) -> Path:
    """A transport stream whose second part, from 10 s on, has a sound that the first one's table does not name."""
    later = [picture(100, from_s=10.0), sound(440.0, from_s=10.0)]
    parts = [streams.write(folder / "a.ts", [picture(250)]), streams.write(folder / "b.ts", later)]
    (folder / "v.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    return folder / "v.ts"


def test_a_sound_that_only_a_later_table_names_is_there_and_lasts_as_long_as_it_does(tmp_path: Path) -> None:
    path = joined(tmp_path)
    assert probe(path).sound_end_s == pytest.approx(14.0, abs=0.2)
    segments = segments_of(path)
    assert len(segments) == 7
    assert streams.pitch_hz(segments[6].sound.astype(np.float32), RATE_HZ) == pytest.approx(440.0, abs=2.0)


def test_a_stream_that_appears_after_both_looks_costs_itself_only(tmp_path: Path) -> None:
    """PyAV's iterator then ends with an IndexError, after everything else was given."""
    still = [makers.numbered_picture(3)] * (123 * 25)
    how = {"codec": "mp2", "wave": streams.tone(0.5, 440.0), "from_s": 122.0}
    path = streams.write(tmp_path / "v.mpg", [{"codec": "mpeg2video", "pictures": [*still, *lively(200)]}, how])
    with open_media(path) as container:
        assert not container.streams.audio
    assert probe(path, needs_sound=False).picture_end_s == pytest.approx(131.0, abs=0.1)
    assert makers.number_of(frames_at(path, [122.9])[0]) == 3
    with pytest.raises(RefusedError) as caught:
        segments_of(path)
    assert caught.value.reason == RefusalReason.NO_AUDIO


def test_everybody_who_opens_a_file_sees_the_same_streams(tmp_path: Path) -> None:
    path = joined(tmp_path)
    chosen = []
    for _ in range(2):
        with open_media(path) as container:
            pair = video_stream(container), sound_stream(container)
            chosen.append([stream.index for stream in pair if stream is not None])
    assert chosen == [[0, 1], [0, 1]]


CHANGING = {
    "vp8.webm": ("libvpx", "yuv420p", "libopus"),
    "vp9.webm": ("libvpx-vp9", "yuv420p", "libopus"),
    "mjpeg.avi": ("mjpeg", "yuvj420p", "pcm_s16le"),
}


@pytest.mark.parametrize("name", CHANGING)
def test_pictures_that_change_their_size_have_their_own_each(tmp_path: Path, name: str) -> None:
    codec, pix_fmt, sound_codec = CHANGING[name]
    how = {"pix_fmt": pix_fmt, "sound_codec": sound_codec}
    path = streams.changing_size(tmp_path / name, codec, [(160, 128), (320, 180)], **how)
    first, second = frames_at(path, [0.5, 1.5])
    assert (first.shape, second.shape) == ((128, 160, 3), (180, 320, 3))
    assert (makers.number_of(first), makers.number_of(second)) == (12, 37)
    by_pyav = frames_at(path, [0.5, 1.5], "pyav")
    assert all(np.array_equal(one, two) for one, two in zip((first, second), by_pyav, strict=True))
    assert [shown.shape for shown in segments_of(path)[0].pictures] == [(128, 160, 3)] * 2 + [(180, 320, 3)] * 2


@pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel for this platform")
def test_decord_refuses_what_it_would_squeeze(tmp_path: Path) -> None:
    path = streams.changing_size(tmp_path / "v.webm", "libvpx", [(160, 128), (320, 180)], sound_codec="libopus")
    with pytest.raises(DecordError, match="another shape"):
        frames_at(path, [0.5], "decord")
    whole = streams.changing_size(tmp_path / "w.webm", "libvpx", [(160, 128), (160, 128)], sound_codec="libopus")
    assert frames_at(whole, [0.5], "decord")[0].shape == (128, 160, 3)


@pytest.mark.parametrize("name", ["libx264.mp4", "libx264.ts", "libvpx-vp9.mp4", "mpeg4.avi", "mjpeg.avi"])
@pytest.mark.parametrize(("aspect", "size"), [(Fraction(64, 45), (228, 96)), (Fraction(3, 4), (160, 128))])
def test_pixels_that_are_not_square_are_shown_in_their_shape(
    tmp_path: Path, name: str, aspect: Fraction, size: tuple[int, int]
) -> None:
    codec = name.split(".")[0]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = streams.write(tmp_path / name, [picture(50, codec, aspect=aspect, pix_fmt=pix_fmt)])
    (shown,) = frames_at(path, [1.0])
    assert shown.shape == (size[1], size[0], 3)
    back = av.VideoFrame.from_ndarray(shown, format="rgb24").to_ndarray(width=160, height=96, format="rgb24")
    assert makers.number_of(back) == 25


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(1792, 1791), Fraction(1, 200), Fraction(30000, 1)])
def test_pixels_that_are_nearly_square_or_of_no_possible_shape_stay_as_they_are(
    tmp_path: Path, aspect: Fraction
) -> None:
    path = streams.write(tmp_path / "v.mp4", [picture(25, aspect=aspect)])
    plain = streams.write(tmp_path / "w.mp4", [picture(25)])
    assert np.array_equal(frames_at(path, [0.5])[0], frames_at(plain, [0.5])[0])


def test_a_turned_picture_is_given_its_shape_before_it_is_turned(tmp_path: Path) -> None:
    path = streams.write(tmp_path / "v.mp4", [picture(25, aspect=Fraction(3, 2))])
    assert frames_at(path, [0.5])[0].shape == (96, 240, 3)
    assert frames_at(makers.turn(path, (0, 1, -1, 0)), [0.5])[0].shape == (240, 96, 3)
