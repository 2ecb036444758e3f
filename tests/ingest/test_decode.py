"""Pictures are chosen by time, are upright, and are the same whichever decoder gave them."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import makers_ingest as makers
import numpy as np
import pytest

from clipsonic.ingest.decode import PictureReader, frames_at
from clipsonic.ingest.probe import probe
from clipsonic.refusals import RefusalReason, RefusedError

HAS_DECORD = importlib.util.find_spec("decord") is not None
TIMES_S = (0.0, 0.24, 0.5, 1.0, 1.49, 1.51, 2.2, 2.9)

MADE = {
    "h264.mp4": {},
    "h264_b_frames.mp4": {"options": {"preset": "medium", "bf": "3", "g": "12"}},
    "h264_30fps.mkv": {"fps": Fraction(30000, 1001)},
    "h264.mov": {"fps": 25},
    "h264.ts": {"fps": 25, "sound_codec": "aac", "rate_hz": 48000},
    "hevc.mp4": {"codec": "libx265"},
    "mpeg4.avi": {"codec": "mpeg4", "sound_codec": "pcm_s16le"},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2"}, "sound_codec": "pcm_s16le"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound_codec": "pcm_s16le"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound_codec": "libopus", "rate_hz": 48000},
    "vp9_keys.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "10", "deadline": "realtime", "cpu-used": "8"},
        "sound_codec": "libopus",
        "rate_hz": 48000,
    },
    "ffv1.mkv": {"codec": "ffv1", "sound_codec": "flac"},
    "av1.mkv": {"codec": "libsvtav1"},
    "h264_10bit.mp4": {"pix_fmt": "yuv420p10le"},
}
SHIFTED = {"h264.ts"}  # whose container begins with the sound's padding
UNORDERED = {"mpeg4_b_frames.avi"}  # whose container cannot tell when a picture is shown


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, how in MADE.items():
        makers.make_video(folder / name, **how)
    return folder


def expected_numbers(name: str, times_s: tuple[float, ...] = TIMES_S) -> list[int]:
    fps = float(MADE[name].get("fps", 15))
    return [int(time_s * fps + 1e-3) for time_s in times_s]


def numbers_a_player_shows(path: Path, times_s: tuple[float, ...]) -> list[int]:
    """Decode all of it, keep every picture with its time, and look up: no index, no seek, no skipping."""
    with av.open(str(path)) as container:
        origin_s = (container.start_time or 0) / 1e6
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times = [
        max([time for time, _ in shown if time - origin_s <= time_s + 1e-4], default=shown[0][0]) for time_s in times_s
    ]
    return [makers.number_of(dict(shown)[time]) for time in times]


@pytest.mark.parametrize("name", sorted(set(MADE) - UNORDERED))
def test_the_picture_is_the_one_a_player_shows_at_that_time(videos: Path, name: str) -> None:
    pictures = frames_at(videos / name, TIMES_S)
    assert [makers.number_of(picture) for picture in pictures] == numbers_a_player_shows(videos / name, TIMES_S)


@pytest.mark.parametrize("name", sorted(set(MADE) - SHIFTED))
def test_the_picture_has_the_number_that_was_made_for_that_time(videos: Path, name: str) -> None:
    pictures = frames_at(videos / name, TIMES_S)
    assert [makers.number_of(picture) for picture in pictures] == expected_numbers(name)


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "vp9.webm", "hevc.mp4"])
def test_times_may_come_in_any_order_and_twice(videos: Path, name: str) -> None:
    times_s = (2.2, 0.5, 2.2, 0.0)
    pictures = frames_at(videos / name, times_s)
    assert [makers.number_of(picture) for picture in pictures] == expected_numbers(name, times_s)


@pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel for this platform")
@pytest.mark.parametrize(
    "name",
    [
        "h264.mp4",
        "h264_b_frames.mp4",
        "h264_30fps.mkv",
        "mpeg4.avi",
        "mjpeg.avi",
        "vp9.webm",
        "vp9_keys.webm",
        "ffv1.mkv",
    ],
)
def test_eight_bit_pictures_of_both_decoders_are_equal_bit_for_bit(videos: Path, name: str) -> None:
    by_pyav, by_decord = (frames_at(videos / name, TIMES_S, decoder) for decoder in ("pyav", "decord"))
    assert all(np.array_equal(one, two) for one, two in zip(by_pyav, by_decord, strict=True))


@pytest.mark.parametrize("name", sorted({*SHIFTED, *UNORDERED, "av1.mkv", "h264_10bit.mp4", "hevc.mp4", "h264.mp4"}))
def test_what_decord_reads_wrongly_or_slower_goes_to_pyav(videos: Path, name: str) -> None:
    with PictureReader(videos / name, probe(videos / name)) as reader:
        reader.read([0.5])
        assert reader._decord_reader is None


@pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel for this platform")
@pytest.mark.parametrize("name", ["vp9.webm", "mjpeg.avi", "ffv1.mkv"])
def test_what_decord_reads_faster_goes_to_decord(videos: Path, name: str) -> None:
    with PictureReader(videos / name, probe(videos / name)) as reader:
        reader.read([0.5])
        assert reader._decord_reader is not None


def numbers_that_others_need(path: Path) -> set[int]:
    """What the decoder itself gives when it is told to leave out all pictures that no other needs."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        return {int(frame.pts) for frame in container.decode(stream) if frame.pts is not None}


@pytest.mark.parametrize("name", sorted(name for name in MADE if name.startswith("h264")))
def test_reference_pictures_are_those_that_the_decoder_keeps(videos: Path, name: str) -> None:
    media = probe(videos / name)
    origin = round(media.clock.origin_s / Fraction(media.time_base).limit_denominator(10**6))
    assert {pts + origin for pts in media.reference_pts} == numbers_that_others_need(videos / name)


def test_of_other_codecs_no_picture_is_known_to_be_a_reference(videos: Path) -> None:
    assert probe(videos / "vp9.webm").reference_pts == ()


@pytest.mark.parametrize("tolerance_s", [0.02, 0.25])
def test_with_a_tolerance_the_nearest_reference_picture_is_taken_if_it_is_near_enough(
    videos: Path, tolerance_s: float
) -> None:
    path = videos / "h264_b_frames.mp4"
    media = probe(path)
    references_s = [pts * media.time_base for pts in media.reference_pts]
    assert 0 < len(references_s) < len(media.picture_pts)
    with PictureReader(path, media, tolerance_s=tolerance_s) as reader:
        numbers = [makers.number_of(picture) for picture in reader.read(TIMES_S)]
    for number, time_s, exact in zip(numbers, TIMES_S, expected_numbers(path.name), strict=True):
        nearest_s = min(references_s, key=lambda reference_s: abs(reference_s - time_s))
        near = abs(nearest_s - time_s) <= tolerance_s
        assert number == (round(nearest_s * 15) if near else exact)


def test_where_decord_fails_pyav_reads(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise decode.DecordError("no")

    from clipsonic.ingest import decode

    monkeypatch.setattr(decode, "_open_decord", fail)
    pictures = frames_at(videos / "vp9.webm", TIMES_S)
    assert [makers.number_of(picture) for picture in pictures] == expected_numbers("vp9.webm")


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "mpeg4.avi", "hevc.mp4", "vp9.webm"])
@pytest.mark.parametrize("pieces", [((0.0, 0.2), (0.4, 0.5), (1.4, 2.9)), ((2.0, 2.5), (0.1, 2.6), (1.0,))])
def test_a_reader_asked_in_pieces_gives_what_it_gives_at_once(
    videos: Path, name: str, pieces: tuple[tuple[float, ...], ...]
) -> None:
    with PictureReader(videos / name, probe(videos / name), "pyav") as reader:
        numbers = [makers.number_of(picture) for piece in pieces for picture in reader.read(piece)]
    assert numbers == expected_numbers(name, tuple(time_s for piece in pieces for time_s in piece))


def test_skipping_unneeded_pictures_never_changes_a_picture(videos: Path) -> None:
    """Every picture asked for alone, with all others skippable, against all of them decoded."""
    path = videos / "h264_b_frames.mp4"
    times_s = [(number + 0.5) / 15 for number in range(45)]
    together = frames_at(path, times_s, "pyav")
    alone = [frames_at(path, [time_s], "pyav")[0] for time_s in times_s]
    assert all(np.array_equal(one, two) for one, two in zip(together, alone, strict=True))


def test_a_seek_far_into_a_file_gives_the_same_pictures_as_decoding_all_of_it(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "long.mp4", seconds=20, options={"preset": "veryfast", "g": "15", "bf": "2"})
    media = probe(path)
    with PictureReader(path, media) as reader:
        pictures = reader.read([18.03])
    assert makers.number_of(pictures[0]) == int(18.03 * 15)
    part = probe(path, 12.0, 14.0)
    assert not part.is_whole
    assert len(part.picture_pts) < len(media.picture_pts)
    with PictureReader(path, part) as reader:
        assert [makers.number_of(picture) for picture in reader.read([12.5, 13.9])] == [187, 208]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("x.mp4", {"options": {"preset": "veryfast", "bf": "2", "g": "30"}}),
        ("x.ts", {"options": {"preset": "veryfast", "bf": "2", "g": "30"}, "rate_hz": 48000}),
        ("x.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}, "fps": 25, "sound_codec": "mp2", "rate_hz": 48000}),
        (
            "x_hevc.mkv",
            {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=30"}},
        ),
        ("x.avi", {"codec": "mpeg4", "sound_codec": "pcm_s16le"}),
    ],
)
def test_looking_at_a_part_of_a_file_gives_the_pictures_of_the_whole(
    tmp_path: Path, name: str, how: dict[str, object]
) -> None:
    path = makers.make_video(tmp_path / name, seconds=20, **how)
    times_s = [13.73, 14.2, 15.9]
    with PictureReader(path, probe(path)) as whole, PictureReader(path, probe(path, 13.7, 16.0)) as part:
        whole.read([0.1])
        assert all(np.array_equal(one, two) for one, two in zip(part.read(times_s), whole.read(times_s), strict=True))


def test_pictures_with_uneven_times_are_chosen_by_their_own_times(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.9, 1.0, 1.05, 2.0, 2.9]
    path = makers.make_video(tmp_path / "uneven.mkv", times_s=times_s)
    wanted_s = [0.05, 0.5, 0.89, 0.95, 1.04, 1.06, 1.9, 2.5, 3.5]
    assert [makers.number_of(picture) for picture in frames_at(path, wanted_s)] == [0, 1, 1, 2, 3, 4, 4, 5, 6]


def test_beyond_the_ends_the_first_and_the_last_picture_stand(videos: Path) -> None:
    first, last = frames_at(videos / "h264.mp4", [0.0, 99.0])
    assert (makers.number_of(first), makers.number_of(last)) == (0, 44)


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture, 1)),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
    ],
    ids=["upright", "right", "half", "left", "mirrored", "flipped", "transposed"],
)
def test_the_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int], seen: object) -> None:
    path = makers.make_video(tmp_path / "v.mp4", seconds=1)
    upright = frames_at(path, [0.5])[0]
    turned = frames_at(makers.turn(path, matrix), [0.5])[0]
    assert np.array_equal(turned, seen(upright))  # type: ignore[operator]


@pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel for this platform")
def test_both_decoders_turn_a_rotated_video_alike(tmp_path: Path) -> None:
    path = makers.turn(makers.make_video(tmp_path / "v.mp4", seconds=1), (0, 1, -1, 0))
    by_pyav, by_decord = (frames_at(path, [0.5], decoder)[0] for decoder in ("pyav", "decord"))
    assert by_pyav.shape == (160, 96, 3)
    assert np.array_equal(by_pyav, by_decord)


def test_a_damaged_stretch_shows_the_picture_before_it_as_a_player_does(tmp_path: Path) -> None:
    path = makers.make_video(tmp_path / "v.mkv", codec="ffv1", sound_codec="flac")
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 4000] = bytes(4000)
    path.write_bytes(bytes(data))
    pictures = frames_at(path, [0.5, 2.9], "pyav")
    assert makers.number_of(pictures[0]) == 7


def test_no_times_no_pictures(videos: Path) -> None:
    assert frames_at(videos / "h264.mp4", []) == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.mp4", b"", RefusalReason.NOT_MEDIA),
        ("text.mp4", b"hello " * 200, RefusalReason.NOT_MEDIA),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:10,\n/etc/hostname\n", RefusalReason.NOT_MEDIA),
        ("concat.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n", RefusalReason.NOT_MEDIA),
        ("matroska.mkv", b"\x1aE\xdf\xa3" + bytes(300), RefusalReason.DECODE_ERROR),
        ("headless.mp4", b"\x00\x00\x00\x18ftypisom" + bytes(300), RefusalReason.DECODE_ERROR),
    ],
)
def test_what_is_no_media_and_what_is_broken_media_are_told_apart(
    tmp_path: Path, name: str, data: bytes, reason: RefusalReason
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RefusedError) as caught:
        frames_at(tmp_path / name, [0.0])
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_missing_file_and_a_file_without_picture_have_their_reasons(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        frames_at(tmp_path / "missing.mp4", [0.0])
    assert caught.value.reason == RefusalReason.DECODE_ERROR
    makers.make_video(tmp_path / "sound.mp4", has_video=False)
    with pytest.raises(RefusedError) as caught:
        frames_at(tmp_path / "sound.mp4", [0.0])
    assert caught.value.reason == RefusalReason.NO_VIDEO


def test_a_name_like_a_url_is_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    makers.make_video(tmp_path / "v.mp4", seconds=1).rename(tmp_path / "pipe:0.mp4")
    assert len(frames_at("pipe:0.mp4", [0.5])) == 1
