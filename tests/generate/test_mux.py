"""A video keeps its picture bit for bit and gets the new sound at the right time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clipsonic.errors import UsageError
from clipsonic.generate.mux import replace_sound

RATE_HZ = 16000


def make_video(
    path: Path, seconds: float = 3.0, codec: str = "libx264", sound: bool = True, offset_s: float = 0.0
) -> Path:
    """Moving bars at 12.5 fps, with a tone as its old sound; libx264 reorders its pictures."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codec, rate=Fraction(25, 2))
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(round(seconds * 12.5)):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, (4 * index) % 60 : (4 * index) % 60 + 4] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index + round(12.5 * offset_s), Fraction(2, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if tone is not None:
            wave = np.sin(np.arange(round(44100 * seconds)) * 0.05).astype(np.float32)[None] * 0.5
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, round(44100 * offset_s)
            container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def packets_of(path: Path) -> list[tuple[bytes, float]]:
    """Payload of every picture packet, and its time on the clock that players show."""
    with av.open(str(path)) as container:
        origin_s = (container.start_time or 0) / av.time_base
        return [
            (bytes(packet), float(packet.pts * packet.time_base) - origin_s)
            for packet in container.demux(container.streams.video[0])
            if packet.size
        ]


def pictures_of(path: Path) -> list[bytes]:
    """Every decoded picture."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p").tobytes() for frame in container.decode(video=0)]


def sound_of(path: Path) -> np.ndarray:
    """The whole sound track from time 0, as a player would play it."""
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.sample_rate == RATE_HZ
        frames = list(container.decode(audio=0))
        first = round(float(frames[0].pts * frames[0].time_base) * RATE_HZ)
        wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return np.concatenate([np.zeros(max(first, 0)), wave[max(-first, 0) :]])


def click(seconds: float) -> np.ndarray:
    wave = np.zeros(round(seconds * RATE_HZ), np.float32)
    wave[:48] = 0.9
    return wave


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")]
)
def test_the_picture_packets_are_the_same_bytes_at_the_same_times(tmp_path: Path, name: str, codec: str) -> None:
    video = make_video(tmp_path / name, codec=codec, sound=not name.endswith("webm"))
    replace_sound(video, tmp_path / "out.mp4", click(1.0), RATE_HZ, 0.5)
    before, after = packets_of(video), packets_of(tmp_path / "out.mp4")
    assert [payload for payload, _ in before] == [payload for payload, _ in after]
    shift = [time_s - other for (_, time_s), (_, other) in zip(before, after, strict=True)]
    assert max(map(abs, shift)) < 1e-3  # Matroska counts milliseconds


@pytest.mark.parametrize("start_s", [0.0, 0.7, 1.9])
def test_the_sound_lies_at_its_start_and_silence_elsewhere(tmp_path: Path, start_s: float) -> None:
    video = make_video(tmp_path / "a.mp4")
    replace_sound(video, tmp_path / "out.mp4", click(1.0), RATE_HZ, start_s)
    wave = sound_of(tmp_path / "out.mp4")
    onset_s = np.argmax(np.abs(wave) > 0.3) / RATE_HZ
    assert onset_s == pytest.approx(start_s, abs=0.002)
    around = np.arange(len(wave)) / RATE_HZ
    elsewhere = wave[(around < start_s - 0.07) | (around > start_s + 0.13)]  # AAC smears over one frame of 64 ms
    assert np.abs(elsewhere).max() < 1e-3


def test_the_sound_track_is_as_long_as_the_picture_and_the_old_sound_is_gone(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", seconds=3.04)
    replace_sound(video, tmp_path / "out.mp4", click(0.5), RATE_HZ, 1.0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        seconds = [float(stream.duration * stream.time_base) for stream in container.streams]
        assert seconds == pytest.approx([3.04, 3.04], abs=0.001)


def test_a_sound_that_outlasts_the_picture_is_not_cut(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", seconds=0.4)
    wave = click(1.5)
    wave[-800:] = 0.5
    replace_sound(video, tmp_path / "out.mp4", wave, RATE_HZ, 0.2)
    heard = sound_of(tmp_path / "out.mp4")
    assert np.abs(heard[round(1.66 * RATE_HZ) : round(1.69 * RATE_HZ)]).mean() > 0.2


def test_a_file_whose_clock_does_not_start_at_zero_is_shown_from_zero(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.ts", offset_s=10.0, codec="libx264")
    replace_sound(video, tmp_path / "out.mp4", click(1.0), RATE_HZ, 1.0)
    assert pictures_of(tmp_path / "out.mp4") == pictures_of(video)  # MP4 frames the same coded units by lengths
    wave = sound_of(tmp_path / "out.mp4")
    assert np.argmax(np.abs(wave) > 0.3) / RATE_HZ == pytest.approx(1.0, abs=0.002)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(3.04, abs=0.1)


def test_a_picture_that_mp4_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("prores_ks", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv422p10le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(UsageError, match=r"cannot be copied into an MP4 .*--out FILE\.wav"):
        replace_sound(tmp_path / "a.mov", tmp_path / "out.mp4", click(1.0), RATE_HZ, 0.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mov"]


def test_a_file_without_a_picture_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UsageError, match="no moving picture"):
        replace_sound(tmp_path / "a.m4a", tmp_path / "out.mp4", click(1.0), RATE_HZ, 0.0)


@pytest.mark.slow
def test_real_videos_of_many_codecs_and_rotations_are_kept_as_they_are(real_media: Path, tmp_path: Path) -> None:
    names = ["rotated_90.mp4", "hevc_aac.mp4", "mpeg2_ac3.ts", "audio_8k_mono.mkv", "tc_av1_video.mkv", "vp9_opus.webm"]
    for name in names:
        video = real_media / "odd" / name
        replace_sound(video, tmp_path / "out.mp4", click(1.0), RATE_HZ, 0.5)
        before, after = packets_of(video), packets_of(tmp_path / "out.mp4")
        assert [payload for payload, _ in before] == [payload for payload, _ in after], name
        assert np.argmax(np.abs(sound_of(tmp_path / "out.mp4")) > 0.3) / RATE_HZ == pytest.approx(0.5, abs=0.002), name
    replace_sound(real_media / "odd" / "rotated_90.mp4", tmp_path / "out.mp4", click(1.0), RATE_HZ, 0.5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == -90
