"""A muxed film shows the pictures of its source, each at its time; what an edit list hides stays hidden; what the
container tells of the picture is kept; what cannot be is refused beforehand."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from makers_ingest import turn
from media_maker import (
    NOISE_HZ,
    WRAP_S,
    moment_of,
    noise,
    numbers_of,
    set_edits,
    sound_of,
    write_film,
    write_joined,
)

from clipsonic.audio.loudness import LevelOptions
from clipsonic.cli import main
from clipsonic.demo import looking
from clipsonic.errors import UsageError
from clipsonic.generate import command as making
from clipsonic.generate.damage import damage_of
from clipsonic.generate.mux import replace_sound
from clipsonic.generate.video import Mix, write_video

NEW = noise()[: NOISE_HZ // 2]


def put(video: Path, out: Path) -> Path:
    replace_sound(video, out, NEW, NOISE_HZ, 0.5)
    return out


def packets_of(path: Path) -> list[tuple[float, float, bool, bytes]]:
    """(pts, dts, key, data) of every shown picture's packet, in seconds after the first one shown."""
    with av.open(str(path)) as container:
        rows = [
            (float(packet.pts * packet.time_base), packet.dts, packet.is_keyframe, bytes(packet))
            for packet in container.demux(container.streams.video[0])
            if packet.size and packet.pts is not None
        ]
        base = container.streams.video[0].time_base
    first = min(row[0] for row in rows)
    return [
        (pts - first, np.nan if dts is None else float(dts * base) - first, key, data) for pts, dts, key, data in rows
    ]


def facts_of(path: Path) -> dict[str, Any]:
    """What a container tells of its picture."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        told = {
            "tag": context.codec_tag, "shape": stream.sample_aspect_ratio or 1, "rate": stream.average_rate,
            "range": context.color_range, "colours": (context.color_primaries, context.color_trc, context.colorspace),
        }  # fmt: skip
        frame = next(container.decode(stream))  # the decoder then tells what it knows in their place
        return {**told, "rotation": frame.rotation, "size": (frame.width, frame.height)}


def shown(path: Path) -> list[tuple[float, int]]:
    """(time, number) of what is shown, rounded to milliseconds."""
    return [(round(time_s, 3), number) for time_s, number in numbers_of(path)]


def film(numbers: list[int], first_s: float = 0.0) -> list[tuple[float, int]]:
    return [(round(first_s + place / 25, 3), number) for place, number in enumerate(numbers)]


# --- the same pictures at the same times


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video", "libx265"])
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".ts", ".nut"])
def test_reordered_pictures_are_shown_in_order_whatever_the_container_tells(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    if (suffix, codec) == (".avi", "libx265"):
        pytest.skip("FFmpeg writes no HEVC into AVI")
    video = write_film(tmp_path / f"a{suffix}", seconds=3.0, codec=codec, b_pictures=2)
    got = shown(put(video, tmp_path / "out.mp4"))
    assert [number for _, number in got] == list(range(75))
    steps = np.diff([time_s for time_s, _ in got])
    assert steps == pytest.approx(np.full(74, 0.04), abs=0.0021)  # Matroska counts milliseconds


def test_packed_pictures_are_unpacked_and_shown_in_order(tmp_path: Path) -> None:
    video = write_film(tmp_path / "a.avi", seconds=3.0, packed=True, b_pictures=1)
    out = put(video, tmp_path / "out.mp4")
    assert shown(out) == film(list(range(75)))
    with av.open(str(out)) as container:
        assert min(packet.size for packet in container.demux(video=0) if packet.size) > 20  # no empty pictures are left


@pytest.mark.parametrize("offset_s", [-1.0, 0.0, 80000.0, WRAP_S - 1.5, WRAP_S - 43.7])
@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mpg", ".mp4"])
def test_a_clock_may_begin_anywhere(tmp_path: Path, suffix: str, offset_s: float) -> None:
    video = write_film(tmp_path / f"a{suffix}", seconds=3.0, b_pictures=2, offset_s=offset_s)
    expected = [number for _, number in numbers_of(video)]  # an MP4 hides what lies before 0
    got = shown(put(video, tmp_path / "out.mp4"))
    assert [number for _, number in got] == expected
    assert got[0][0] == pytest.approx(0.0, abs=0.06)
    assert got[-1][0] - got[0][0] == pytest.approx((len(expected) - 1) / 25, abs=0.0021)


@pytest.mark.parametrize("second_offset_s", [0.0, 1000.0])
@pytest.mark.parametrize("suffix", [".ts", ".vob"])
def test_joined_streams_run_on(tmp_path: Path, suffix: str, second_offset_s: float) -> None:
    video = write_joined(tmp_path / f"a{suffix}", 2.0, second_offset_s, seconds=4.0)
    got = shown(put(video, tmp_path / "out.mp4"))
    assert [number for _, number in got] == list(range(100))
    off = np.array([time_s - number / 25 for time_s, number in got])
    assert np.abs(off).max() < 0.08  # the second part's first picture begins some ms after its sound


def test_a_leap_of_the_clock_is_no_silence(tmp_path: Path) -> None:
    video = write_film(tmp_path / "a.flv", seconds=3.0, leap=(1.5, 2_147_482.0))
    out = put(video, tmp_path / "out.mp4")
    assert [number for _, number in shown(out)] == list(range(75))
    with av.open(str(out)) as container:
        assert container.duration / av.time_base == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("later_s", [0.2, 0.5])
def test_decoding_times_later_than_their_pictures_cost_nothing(tmp_path: Path, later_s: float) -> None:
    video = write_film(tmp_path / "a.ts", seconds=2.0, b_pictures=2)
    delay_decoding(video, later_s)
    with av.open(str(video)) as container:
        assert any(packet.pts < packet.dts for packet in container.demux(video=0) if packet.pts and packet.dts)
    got = shown(put(video, tmp_path / "out.mp4"))
    assert got == film(list(range(50)), got[0][0])


def delay_decoding(path: Path, later_s: float) -> None:
    """Let a transport stream say that pictures are to be decoded later, those that tell when."""
    data = bytearray(path.read_bytes())
    for packet in range(0, len(data), 188):
        pes = data.find(b"\x00\x00\x01\xe0", packet + 4, packet + 188)
        if pes >= 0 and data[packet + 1] & 0x40 and data[pes + 7] >> 6 == 3:
            field = data[pes + 14 : pes + 19]
            time = (field[0] >> 1 & 7) << 30 | field[1] << 22 | field[2] >> 1 << 15 | field[3] << 7 | field[4] >> 1
            time += round(90000 * later_s)
            field[:] = (
                field[0] & 0xF1 | time >> 30 << 1, time >> 22 & 255, time >> 14 & 254 | 1, time >> 7 & 255,
                time << 1 & 254 | 1,
            )  # fmt: skip
            data[pes + 14 : pes + 19] = field
    path.write_bytes(bytes(data))


# --- what an edit list hides


EDITS = {
    "of one stretch between key pictures": ([(2.0, 1.08)], [*range(25, 75)]),
    "of one stretch amid a group": ([(2.0, 1.28)], [*range(30, 80)]),
    "of one stretch that ends amid reordered pictures": ([(1.04, 1.28)], [*range(30, 56)]),
    "of two stretches between key pictures": ([(2.0, 1.08), (1.0, 4.08)], [*range(25, 75), *range(100, 125)]),
    "of two stretches amid groups": ([(2.0, 1.28), (1.0, 4.48)], [*range(30, 80), *range(110, 135)]),
    "of three stretches": ([(1.0, 0.28), (1.0, 2.28), (1.0, 4.28)], [*range(5, 30), *range(55, 80), *range(105, 130)]),
    "of one stretch twice": ([(1.0, 1.08), (1.0, 1.08)], [*range(25, 50), *range(25, 50)]),
    "behind an empty one": ([(0.4, None), (2.0, 1.28)], [*range(30, 80)]),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_list_hides_stays_hidden(tmp_path: Path, suffix: str, name: str) -> None:
    edits, numbers = EDITS[name]
    seconds = sum(length_s for length_s, _ in edits)
    video = set_edits(write_film(tmp_path / "a.mp4", b_pictures=2), {"vide": edits, "soun": [(seconds, 0.0)]})
    out = put(video, tmp_path / f"out{suffix}")
    got, wanted = shown(out), film(numbers, seconds - len(numbers) / 25)
    assert [number for _, number in got] == numbers
    early_s = 0.041 if "amid groups" in name else 0.0  # FFmpeg tells the times of a further edit a picture early
    assert [time_s for time_s, _ in got] == pytest.approx([time_s for time_s, _ in wanted], abs=early_s)
    with av.open(str(out)) as container:
        picture_s, sound_s = (float(stream.duration * stream.time_base) for stream in container.streams)
    assert sound_s == pytest.approx(seconds, abs=0.002)
    if edits[0][1] is not None:  # FFmpeg counts an empty edit in part
        assert picture_s == pytest.approx(seconds, abs=0.002)


def test_a_cut_that_a_container_cannot_hide_is_refused_and_one_between_key_pictures_is_not(tmp_path: Path) -> None:
    amid = set_edits(write_film(tmp_path / "a.mp4", b_pictures=2), {"vide": [(2.0, 1.28)]})
    between = set_edits(write_film(tmp_path / "b.mp4", b_pictures=2), {"vide": [(2.0, 1.08)]})
    with pytest.raises(
        UsageError, match=r"hides \d+ pictures which .* an MKV cannot hide them: end --out in \.mp4 or \.mov"
    ):
        put(amid, tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()
    assert shown(put(between, tmp_path / "out.mkv")) == film(list(range(25, 75)))


@pytest.mark.parametrize("name", EDITS)
def test_a_film_with_an_edit_list_is_not_called_damaged(tmp_path: Path, name: str) -> None:
    edits, _ = EDITS[name]
    video = set_edits(write_film(tmp_path / "a.mp4", b_pictures=2), {"vide": edits, "soun": edits})
    assert damage_of(video) is None
    assert damage_of(put(video, tmp_path / "out.mp4")) is None


# --- what the container alone knows


def copied(video: Path, out: Path, **changes: Any) -> Path:
    """The picture alone in another container, `changes` told to that container only."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for name, value in changes.items():
            setattr(stream.codec_context, name, value)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return out


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("tag", ["hvc1", "hev1"])
def test_hevc_keeps_its_tag(tmp_path: Path, tag: str, suffix: str) -> None:
    plain = write_film(tmp_path / "a.mp4", seconds=1.0, codec="libx265")
    video = copied(plain, tmp_path / f"b{suffix}", codec_tag=tag)
    assert facts_of(video)["tag"] == tag
    assert facts_of(put(video, tmp_path / "out.mp4"))["tag"] == tag
    assert facts_of(put(video, tmp_path / "out.mov"))["tag"] == tag


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libx264", "mpeg4"])
def test_the_shape_of_a_pixel_is_kept_when_only_the_container_tells_it(tmp_path: Path, codec: str) -> None:
    plain = write_film(tmp_path / "a.mp4", seconds=1.0, codec=codec)
    video = copied(plain, tmp_path / "b.mp4", sample_aspect_ratio=Fraction(64, 45))
    assert facts_of(video)["shape"] == Fraction(64, 45)
    assert facts_of(put(video, tmp_path / "out.mp4"))["shape"] == Fraction(64, 45)
    with pytest.raises(UsageError, match=r"shape 64:45, which only its container tells .* end --out in \.mp4 or \.mov"):
        put(video, tmp_path / "out.mkv")


@pytest.mark.parametrize("codec", ["libvpx-vp9", "mpeg4", "libx265"])
def test_colours_are_kept_when_only_the_container_tells_them(tmp_path: Path, codec: str) -> None:
    plain = write_film(tmp_path / "a.mp4", seconds=1.0, codec=codec)
    told = {"color_range": 2, "color_primaries": 9, "color_trc": 16, "colorspace": 9}
    video = copied(plain, tmp_path / "b.mp4", **told)
    facts = facts_of(put(video, tmp_path / "out.mp4"))
    assert facts["range"] == facts_of(video)["range"]
    assert facts["colours"] == facts_of(video)["colours"] == (9, 16, 9)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1)])
def test_a_picture_that_is_turned_stays_turned(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    video = turn(write_film(tmp_path / "a.mp4", seconds=1.0), matrix)
    for suffix in (".mp4", ".mov"):
        assert facts_of(put(video, tmp_path / f"out{suffix}")) == facts_of(video)


def test_the_record_of_dolby_vision_is_kept(tmp_path: Path) -> None:
    video = write_film(tmp_path / "a.mp4", seconds=1.0, codec="libx265")
    add_dolby_vision(copied(video, tmp_path / "b.mp4", codec_tag="hvc1"))
    out = put(tmp_path / "b.mp4", tmp_path / "out.mp4")
    record = out.read_bytes().find(b"dvvC")
    assert record > 0
    assert out.read_bytes()[record + 4 : record + 9] == DOLBY_VISION[:5]


DOLBY_VISION = bytes([1, 0, 0x10, 0x2D, 0x10]) + bytes(19)  # version 1.0, profile 8, level 5, RPU and base layer, HDR10


def add_dolby_vision(path: Path) -> None:
    """Put the configuration record of Dolby Vision behind that of HEVC, into a file whose index stands at its end."""
    data = path.read_bytes()
    box = len(DOLBY_VISION) + 8
    at = data.index(b"hvcC") - 4
    end = at + int.from_bytes(data[at : at + 4], "big")
    out = bytearray(data[:end] + box.to_bytes(4, "big") + b"dvcC" + DOLBY_VISION + data[end:])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
        place = data.rindex(kind, 0, at) - 4
        out[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + box).to_bytes(4, "big")
    path.write_bytes(bytes(out))


def test_the_tags_of_a_film_are_kept_and_those_of_its_writer_are_not(tmp_path: Path) -> None:
    plain = write_film(tmp_path / "a.mp4", seconds=1.0)
    with av.open(str(plain)) as source, av.open(str(tmp_path / "b.mp4"), "w") as target:
        target.metadata.update({"title": "At the sea", "artist": "Ada", "comment": "the old one"})
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.metadata["language"] = "fra"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    for suffix in (".mp4", ".mov", ".mkv"):
        out = tmp_path / f"out{suffix}"
        replace_sound(tmp_path / "b.mp4", out, NEW, NOISE_HZ, 0.0, {"title": "a door", "seed": "4"})
        with av.open(str(out)) as container:
            tags = {name.lower(): value for name, value in container.metadata.items()}
            assert (tags["title"], tags["artist"]) == ("a door", "Ada")
            assert "seed" in tags["comment"]
            assert container.streams.video[0].language == "fra"
            assert "major_brand" not in tags or suffix != ".mkv"


# --- as `ffmpeg -c copy` does


PLAIN = {
    "h264 with B pictures": ("a.mp4", ".mp4", {"b_pictures": 2}),
    "h264 into MKV": ("a.mp4", ".mkv", {"b_pictures": 2}),
    "h264 out of MKV": ("a.mkv", ".mp4", {"b_pictures": 2}),
    "h264 out of FLV": ("a.flv", ".mp4", {"b_pictures": 2}),
    "hevc with B pictures": ("a.mp4", ".mov", {"codec": "libx265", "b_pictures": 3}),
    "mpeg4 with B pictures": ("a.mp4", ".mkv", {"codec": "mpeg4", "b_pictures": 2}),
    "mpeg2 out of a transport stream": ("a.ts", ".mkv", {"codec": "mpeg2video", "b_pictures": 2}),
    "vp8": ("a.webm", ".webm", {}),
    "vp9": ("a.webm", ".mp4", {"codec": "libvpx-vp9"}),
    "mjpeg": ("a.mov", ".mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound_codec": "pcm_s16le"}),
    "29.97 pictures a second": ("a.mp4", ".mp4", {"fps": Fraction(30000, 1001), "b_pictures": 2}),
    "a clock that begins at 80,000 s": ("a.ts", ".mkv", {"codec": "mpeg2video", "offset_s": 80000.0}),
}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="compares with the ffmpeg program, which is not here")
@pytest.mark.parametrize("name", PLAIN)
def test_packets_and_facts_are_those_that_ffmpeg_copies(tmp_path: Path, name: str) -> None:
    source, suffix, changes = PLAIN[name]
    video = write_film(tmp_path / source, seconds=2.0, **changes)
    theirs, ours = tmp_path / f"theirs{suffix}", put(video, tmp_path / f"ours{suffix}")
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(video), "-map", "0:v", "-c", "copy", str(theirs)]
    subprocess.run(command, check=True, timeout=60)
    rows, expected = packets_of(ours), packets_of(theirs)
    assert [row[2:] for row in rows] == [row[2:] for row in expected]
    for place in (0, 1):  # pts, dts
        times, told = np.array([row[place] for row in rows]), np.array([row[place] for row in expected])
        known = np.isfinite(times) & np.isfinite(told)
        assert times[known] == pytest.approx(told[known], abs=0.0021)
    facts, wanted = facts_of(ours), facts_of(theirs)
    assert facts == {**wanted, "rate": pytest.approx(float(wanted["rate"]), rel=0.02)}


# --- the video's own sound


OWN = {
    "jitter of 15 ms": ("a.mkv", {"jitter_s": 0.015, "sound_codec": "libopus"}),
    "jitter of 60 ms": ("a.ts", {"jitter_s": 0.06}),
    "a late sound": ("a.mkv", {"late_sound_s": 1.3}),
    "late pictures": ("a.ts", {"late_picture_s": 1.0}),
    "a clock that begins before 0": ("a.mkv", {"offset_s": -1.0}),
    "a clock that begins anew": ("a.ts", {"offset_s": WRAP_S - 1.5}),
    "a leap": ("a.flv", {"leap": (2.0, 1000.0)}),
    "reordered pictures in AVI": ("a.avi", {"b_pictures": 2}),
}


@pytest.mark.parametrize("name", OWN)
def test_the_own_sound_lies_where_its_pictures_are(tmp_path: Path, name: str) -> None:
    source, changes = OWN[name]
    assert_in_sync(write_film(tmp_path / source, seconds=4.0, **changes), tmp_path / "out.mp4")


@pytest.mark.parametrize("second_offset_s", [0.0, 1000.0])
def test_the_own_sound_of_joined_streams_lies_where_its_pictures_are(tmp_path: Path, second_offset_s: float) -> None:
    video = write_joined(tmp_path / "a.ts", 2.0, second_offset_s, seconds=4.0)
    assert_in_sync(video, tmp_path / "out.mp4")


@pytest.mark.parametrize("name", ["of one stretch amid a group", "of two stretches amid groups"])
def test_the_own_sound_is_edited_as_its_pictures_are(tmp_path: Path, name: str) -> None:
    edits, _ = EDITS[name]
    heard = [(length_s, from_s - 0.08) for length_s, from_s in edits]
    video = set_edits(write_film(tmp_path / "a.mp4", b_pictures=2), {"vide": edits, "soun": heard})
    times_s = [0.5, 1.5, *([2.5] if len(edits) > 1 else [])]
    assert_in_sync(video, tmp_path / "out.mp4", times_s, within_s=0.065)  # a further edit is told a picture early


def assert_in_sync(
    video: Path, out: Path, times_s: Sequence[float] = (1.7, 2.6, 3.4), within_s: float = 0.045
) -> None:  # fmt: skip
    """The sound of `video`, mixed with silence, is that of the pictures: within 25 ms and half a picture."""
    write_video(video, out, np.zeros(NOISE_HZ // 10, np.float32), NOISE_HZ, 0.0, LevelOptions(), Mix("mix"))
    wave, rate_hz = sound_of(out)
    pictures = numbers_of(out)
    for wanted_s in times_s:
        time_s, number = min(pictures, key=lambda picture: abs(picture[0] - wanted_s))
        first = round((time_s - 0.15) * rate_hz)
        heard_s = moment_of(wave[:, first : first + round(0.3 * rate_hz)], rate_hz, until_s=8.0) + 0.15
        assert heard_s == pytest.approx(number / 25, abs=within_s), f"at {wanted_s} s"


# --- refused before a sound is made


def h264(folder: Path) -> Path:
    return write_film(folder / "a.mp4", seconds=1.0)


REFUSED = {
    "a codec that the container does not hold": (h264, "out.webm", [], "cannot be copied into a WebM"),
    "a cut that it cannot hide": (
        lambda folder: set_edits(h264(folder), {"vide": [(0.5, 0.28)]}), "out.mkv", [], "an MKV cannot hide them",
    ),
    "no sound of its own to mix with": (
        lambda folder: write_film(folder / "a.mp4", seconds=1.0, sound_codec=None), "out.mp4", ["--mix", "mix"],
        "no sound of its own to mix with",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, out, words, sentence = REFUSED[name]
    video = make(tmp_path)
    nowhere = ["--model", str(tmp_path / "no model")]
    assert main(["generate", *nowhere, "--video", str(video), "--out", str(tmp_path / out), *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "no model" not in said


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_that_cannot_be_written_is_refused_before_its_sound_is_made(
    tmp_path: Path, name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, out, words, sentence = REFUSED[name]
    made: list[object] = []
    monkeypatch.setattr(making, "make_sounds", lambda *asked: made.append(asked))
    make(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"video": "a.mp4", "out": out}) + "\n")
    batch = ["--batch", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "made")]
    assert main(["generate", "--model", str(model), *batch, *words]) != 0
    assert sentence in json.loads((tmp_path / "made" / "report.jsonl").read_text())["error"]
    assert made == []


def test_the_page_knows_beforehand_that_a_video_cannot_be_given_a_sound(tmp_path: Path) -> None:
    can = h264(tmp_path)
    cannot = write_film(tmp_path / "b.webm", seconds=1.0)  # VP8, which MP4 does not hold
    assert looking.frames(str(can), 0.0, 1.0, 1.0)[0]["why"] is None
    assert "cannot be copied into an MP4" in looking.frames(str(cannot), 0.0, 1.0, 1.0)[0]["why"]


# --- whole or damaged


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a.asf", {"early_end_picture_s": 2.0}), ("a.asf", {"offset_s": 80000.0}), ("a.ts", {"offset_s": WRAP_S - 2.0}),
        ("a.mp4", {"late_picture_s": 2.0}), ("a.mp4", {"early_end_picture_s": 2.0}), ("a.mp4", {"late_sound_s": 2.0}),
        ("a.mkv", {"offset_s": -1.0}), ("a.mxf", {}), ("a.avi", {"b_pictures": 2}),
    ],
)  # fmt: skip
def test_a_whole_file_is_not_called_damaged(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    assert damage_of(write_film(tmp_path / name, **changes)) is None
