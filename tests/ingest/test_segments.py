"""Segments: the right seconds, picture and sound of the same instant, and true facts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import makers_ingest as makers
import makers_streams as streams
import numpy as np
import pytest
from PIL import Image

from clipsonic.ingest.jobs import Job
from clipsonic.ingest.segments import Fit, ReadSettings, Segment, common_length, fit_picture, read_segments
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.specs import CorpusSpec

RATE_HZ = 16000


def segments_of(
    path: Path,
    seconds: float = 2.0,
    min_seconds: float = 1.0,
    start_s: float | None = None,
    end_s: float | None = None,
    **settings: Any,
) -> list[Segment]:
    job = Job(str(path), f"v/{path.name}", "id", "entry", start_s, end_s)
    settings = {"stride_s": seconds, **settings}
    return list(read_segments(job, ReadSettings(CorpusSpec(RATE_HZ, seconds, min_seconds), **settings)))


def white_and_click(segment: Segment) -> tuple[float, float]:
    """Times of the white picture and of the click, in seconds of the file."""
    levels = [float(picture.mean()) for picture in segment.pictures]
    flash_s = segment.facts["frame_times_s"][int(np.argmax(levels))]
    assert max(levels) > 200
    wave = segment.sound.astype(np.float32) / 32768
    return segment.facts["start_s"] + flash_s, segment.facts["start_s"] + makers.onset_s(wave, RATE_HZ)


ALIGNED = [
    ("h264.mp4", {}),
    ("h264_b_frames.mp4", {"options": {"preset": "medium", "bf": "3"}}),
    ("h264_24fps.mkv", {"fps": Fraction(24000, 1001), "sound_codec": "flac", "rate_hz": 44100}),
    ("h264_30fps.mov", {"fps": 30, "sound_codec": "pcm_s16le", "rate_hz": 48000, "layout": "stereo"}),
    ("h264_5fps.mp4", {"fps": 5, "rate_hz": 44100}),
    ("mpeg4.avi", {"codec": "mpeg4", "sound_codec": "pcm_s16le", "rate_hz": 11025}),
    ("mpeg4_mp3.mkv", {"codec": "mpeg4", "sound_codec": "libmp3lame", "rate_hz": 44100}),
    ("h264.ts", {"fps": 5, "rate_hz": 48000}),
    ("vp9.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus", "rate_hz": 48000}),
    ("late_sound.mkv", {"sound_codec": "flac", "sound_start_s": 0.3, "sound_seconds": 5.7}),
]


@pytest.mark.parametrize("event_s", [0.75, 2.25, 4.75])
@pytest.mark.parametrize(("name", "how"), ALIGNED, ids=[name for name, _ in ALIGNED])
def test_a_flash_and_a_click_at_one_instant_stay_together(
    tmp_path: Path, name: str, how: dict[str, Any], event_s: float
) -> None:
    """The instant is the centre of a bin, so that the flash is in a kept picture; sound within 5 ms of it.

    MPEG-TS begins with the padding of the sound, 21 ms of AAC at 48 kHz, and both are later by that.
    """
    path = makers.make_video(tmp_path / name, seconds=6, clicks_s=(event_s,), flashes_s=(event_s,), **how)
    segment = segments_of(path)[int(event_s // 2)]
    flash_s, click_s = white_and_click(segment)
    delay_s = 1024 / 48000 if name.endswith(".ts") else 0.0
    assert flash_s == pytest.approx(event_s, abs=1e-6)
    assert click_s == pytest.approx(event_s + delay_s, abs=0.005)


def test_a_sound_shifted_by_a_tenth_of_a_second_is_seen_to_be_shifted(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=6, clicks_s=(2.35,), flashes_s=(2.25,))
    flash_s, click_s = white_and_click(segments_of(path)[1])
    assert click_s - flash_s == pytest.approx(0.1, abs=0.005)


def test_a_long_video_gives_segments_end_to_end_and_its_tail_a_shorter_one(tmp_path: Path) -> None:
    segments = segments_of(makers.make_video(tmp_path / "v.mp4", seconds=5.4))
    assert [(item.facts["start_s"], item.facts["seconds"]) for item in segments] == [
        (0.0, 2.0), (2.0, 2.0), (4.0, pytest.approx(1.4, abs=0.01)),
    ]  # fmt: skip
    assert [len(item.sound) for item in segments[:2]] == [32000, 32000]
    assert len({item.key for item in segments}) == 3


def test_pictures_are_at_the_bin_centres_of_the_segment_at_least_four(tmp_path: Path) -> None:
    segments = segments_of(makers.make_video(tmp_path / "v.mp4", seconds=13), seconds=6.0)
    for segment in segments[:2]:
        assert segment.facts["frame_times_s"] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
        numbers = [makers.number_of(picture) for picture in segment.pictures]
        times_s = [segment.facts["start_s"] + time_s for time_s in segment.facts["frame_times_s"]]
        assert numbers == [int(time_s * 15 + 1e-6) for time_s in times_s]
    tail = segments[2]
    assert len(tail.pictures) == len(tail.facts["frame_times_s"]) == 4


def test_a_tail_below_the_least_length_is_left_out(tmp_path: Path) -> None:
    assert len(segments_of(makers.make_video(tmp_path / "v.mp4", seconds=4.8))) == 2


def test_stride_and_number_of_segments_are_options(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=6)
    overlapping = segments_of(path, stride_s=1.0)
    assert [item.facts["start_s"] for item in overlapping] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [makers.number_of(item.pictures[0]) for item in overlapping] == [3, 18, 33, 48, 63, pytest.approx(76, abs=2)]
    assert [item.facts["start_s"] for item in segments_of(path, stride_s=3.0)] == [0.0, 3.0]
    assert len(segments_of(path, max_segments=1)) == 1


def test_an_interval_gives_its_own_seconds_only(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=8, clicks_s=(4.0,))
    segments = segments_of(path, start_s=3.5, end_s=6.9)
    assert [(item.facts["start_s"], round(item.facts["seconds"], 3)) for item in segments] == [(3.5, 2.0), (5.5, 1.4)]
    assert makers.onset_s(segments[0].sound.astype(np.float32), RATE_HZ) == pytest.approx(0.5, abs=0.005)
    assert makers.number_of(segments[0].pictures[0]) == int(3.75 * 15)
    with pytest.raises(RefusedError, match="too_short"):
        segments_of(path, start_s=20.0)
    with pytest.raises(RefusedError, match="too_short"):
        segments_of(path, start_s=1.0, end_s=1.5)


@pytest.mark.parametrize(
    ("picture_s", "sound_s", "seconds", "expected_s"),
    [
        (10.0, 10.0, 4.0, 4.0),
        (3.0, 3.0, 4.0, 3.0),
        (4.0, 3.9, 4.0, 4.0),
        (3.9, 4.0, 4.0, 4.0),
        (4.0, 3.8, 4.0, 4.0),
        (4.0, 1.9, 4.0, 2.0),
        (1.9, 4.0, 4.0, 2.0),
        (4.0, 0.0, 4.0, 0.0),
        (-1.0, 4.0, 4.0, 0.0),
    ],
)
def test_the_shorter_of_picture_and_sound_may_lack_one_part_in_twenty(
    picture_s: float, sound_s: float, seconds: float, expected_s: float
) -> None:
    assert common_length(picture_s, sound_s, seconds) == pytest.approx(expected_s)


def test_a_sound_short_by_at_most_five_percent_is_padded_and_says_so(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mkv", seconds=2, sound_seconds=1.92, sound_codec="flac", clicks_s=(1.9,))
    (segment,) = segments_of(path)
    assert (segment.facts["seconds"], segment.facts["valid_seconds"]) == (2.0, pytest.approx(1.92, abs=1e-3))
    assert not segment.sound[round(1.93 * RATE_HZ) :].any()


def test_a_much_shorter_sound_makes_the_segment_shorter(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mkv", seconds=2, sound_seconds=1.5, sound_codec="flac")
    (segment,) = segments_of(path)
    assert segment.facts["seconds"] == pytest.approx(1.5 / 0.95, abs=1e-3)
    assert segment.facts["valid_seconds"] == pytest.approx(1.5, abs=1e-3)


def without(path: Path, stream: str, from_s: float, to_s: float) -> Path:
    """The same file without this stream's packets of these seconds."""
    holed = path.with_name(f"holed-{path.name}")
    with av.open(str(path)) as source, av.open(str(holed), "w") as target:
        streams = {one.index: target.add_stream_from_template(one) for one in source.streams}
        for packet in source.demux():
            if packet.dts is None or (
                packet.stream.type == stream and from_s <= float(packet.pts * packet.time_base) < to_s
            ):
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return holed


@pytest.mark.parametrize(
    ("how", "stream", "hole_s", "expected_s"),
    [
        ({"sound_start_s": 3.5, "sound_seconds": 2.5}, "audio", (9.0, 9.0), 2.5),
        ({}, "audio", (0.0, 4.0), 2.0),
        ({}, "audio", (2.0, 4.0), 4.0),
        ({}, "video", (2.0, 4.5), 3.5),
        ({}, "video", (0.0, 2.0), 4.1),
        ({}, "video", (2.0, 2.5), 6.0),
    ],
    ids=["late_sound", "lost_start", "sound_hole", "picture_hole", "late_picture", "a_picture_that_stands"],
)
def test_valid_seconds_counts_what_is_both_seen_and_heard(
    tmp_path: Path, how: dict[str, Any], stream: str, hole_s: tuple[float, float], expected_s: float
) -> None:
    made = makers.make_video(tmp_path / "v.mkv", seconds=6, sound_codec="pcm_s16le", options={"g": "1"}, **how)
    path = without(made, stream, *hole_s)
    (whole,) = segments_of(path, seconds=6.0)
    assert whole.facts["seconds"] == pytest.approx(6.0, abs=0.03)
    assert whole.facts["valid_seconds"] == pytest.approx(expected_s, abs=0.1)
    parts = segments_of(path)
    assert len(parts) == 3  # nothing is left out for what is missing
    assert sum(part.facts["valid_seconds"] for part in parts) == pytest.approx(expected_s, abs=0.1)


def test_a_damaged_stretch_of_sound_is_not_valid(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mkv", seconds=6, sound_codec="flac", rate_hz=16000)
    data, lost = bytearray(path.read_bytes()), 0
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size and 2.0 <= float(packet.pts * packet.time_base) < 3.0:
                data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
                lost += packet.duration or 0
    path.write_bytes(bytes(data))
    (segment,) = segments_of(path, seconds=6.0)
    assert lost / 1000 > 0.9
    assert segment.facts["valid_seconds"] == pytest.approx(6.0 - lost / 1000, abs=0.15)


def test_silent_still_and_black_videos_are_given_with_their_facts(tmp_path: Path) -> None:
    (silent,) = segments_of(makers.make_video(tmp_path / "silent.mp4", seconds=2, silent=True))
    assert (silent.facts["rms_db"], silent.facts["silence_share"], silent.facts["has_audio"]) == (-120.0, 1.0, True)
    (still,) = segments_of(makers.make_video(tmp_path / "still.mp4", seconds=2, still=True))
    assert (still.facts["still_share"], still.facts["black_share"]) == (1.0, 0.0)
    black = tmp_path / "black.mp4"
    _make_black(black)
    (segment,) = segments_of(black)
    assert (segment.facts["still_share"], segment.facts["black_share"]) == (1.0, 1.0)


def _make_black(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(makers.sound_packets(sound, makers.clicking_wave(2, [1.0], 16000), 16000, "mono", 0.0))


def test_moving_and_loud_videos_have_their_facts_too(tmp_path: Path) -> None:
    (segment,) = segments_of(makers.make_video(tmp_path / "v.mp4", seconds=2, size=(320, 96), fps=10))
    facts = segment.facts
    assert (facts["still_share"], facts["black_share"], facts["clipped_share"]) == (0.0, 0.0, 0.0)
    assert (facts["width"], facts["height"], facts["fps"], facts["codec"]) == (320, 96, 10.0, "h264")
    assert facts["peak"] == pytest.approx(0.5, abs=0.1)  # an AAC onset overshoots
    assert -40 < facts["rms_db"] < -25  # 10 ms of a cosine of 0.5 in 2 s: -32 dB
    assert "path" not in facts
    assert facts["source"] == "v/v.mp4"


def test_thumbnails_are_small_jpegs_of_the_middle_picture_or_none(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=2, size=(640, 96))
    (segment,) = segments_of(path)
    assert segment.thumbnail is not None
    assert segment.thumbnail[:2] == b"\xff\xd8"
    assert segments_of(path, thumbnails=False)[0].thumbnail is None


@pytest.mark.parametrize("seconds", [1 / 15, 0.3])
def test_one_picture_and_a_third_of_a_second_are_too_short(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(RefusedError) as caught:
        segments_of(makers.make_video(tmp_path / "v.mp4", seconds=seconds, silent=True))
    assert caught.value.reason == RefusalReason.TOO_SHORT
    assert "at least 1 s" in caught.value.detail


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("size", [(160, 120), (120, 160), (97, 33), (96, 96), (16, 16), (1280, 720)])
def test_pictures_are_fitted_exactly_as_the_clips_own_transform_does_it(size: tuple[int, int], mode: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    bicubic = transforms.InterpolationMode.BICUBIC
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    side: Any = (96, 96) if mode == "squash" else 96
    theirs = transforms.Compose([transforms.Resize(side, interpolation=bicubic), transforms.CenterCrop(96)])
    expected = np.asarray(theirs(Image.fromarray(picture)))
    ours = fit_picture(picture, Fit(96, mode))  # type: ignore[arg-type]
    assert np.array_equal(ours, expected)
    assert np.array_equal(np.asarray(theirs(Image.fromarray(ours))), ours)  # theirs leaves it as it is


@pytest.mark.parametrize(("by", "loss_db"), [(1.0, 0.0), (0.0, 3.0), (-0.4, 5.2), (-1.0, 0.0)])
def test_each_record_tells_what_was_lost_when_its_channels_became_one(
    tmp_path: Path, by: float, loss_db: float
) -> None:
    rng = np.random.default_rng(5)
    left, other = (0.1 * rng.standard_normal((2, 4 * 48000))).astype(np.float32)
    right = by * left + np.sqrt(1 - by**2) * other
    pictures = streams.numbered(100)
    path = streams.write(
        tmp_path / "v.mkv",
        [{"codec": "libx264", "pictures": pictures}, {"codec": "pcm_s16le", "wave": np.stack([left, right])}],
    )
    segments = segments_of(path)
    assert [item.facts["mix_loss_db"] for item in segments] == [pytest.approx(loss_db, abs=0.1)] * 2
    assert all(item.facts["rms_db"] > -32.0 for item in segments)
