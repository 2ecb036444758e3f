"""Files made to do harm: lengths that nothing could hold, pictures that no memory could; each costs itself at most."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import makers_ingest as makers
import numpy as np
import pytest
from PIL import Image

from clipsonic.ingest.jobs import Job
from clipsonic.ingest.run import IngestOptions, ingest
from clipsonic.ingest.segments import ReadSettings, Segment, read_segments
from clipsonic.refusals import RefusalReason, RefusedError
from clipsonic.specs import CorpusSpec

SPEC = CorpusSpec(16000, 1.0, 0.5)
SETTINGS = ReadSettings(SPEC, stride_s=1.0)
HUGE = 65000


def segments_of(path: Path) -> list[Segment]:
    return list(read_segments(Job(str(path), path.name, "id", "id"), SETTINGS))


def leaping(path: Path, leap_s: float) -> Path:
    """Two seconds of picture and sound, and two more that say they come `leap_s` later."""
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=25), out.add_stream("flac", rate=16000, layout="mono")
        assert isinstance(video, av.VideoStream)
        assert isinstance(sound, av.AudioStream)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        for number in range(100):
            time_s = Fraction(number, 25) + (Fraction(leap_s) if number >= 50 else 0)
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 2 * number, np.uint8), format="rgb24")
            picture.pts, picture.time_base = int(time_s * 25), Fraction(1, 25)
            out.mux(video.encode(picture))
            tone = (8000 * np.sin(np.arange(640) / 5)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, int(time_s * 16000), Fraction(1, 16000)
            out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return path


def huge_png() -> bytes:
    """A whole picture of 65,000 x 65,000 black pixels in half a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(100 * (1 + (HUGE + 7) // 8))) for _ in range(HUGE // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", HUGE, HUGE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_jpeg() -> bytes:
    """A small picture whose header says 65,000 x 65,000."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    place = data.find(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", HUGE, HUGE)
    return bytes(data)


def test_a_leap_of_hours_gives_what_is_there_and_nothing_of_the_leap(tmp_path: Path) -> None:
    segments = segments_of(leaping(tmp_path / "leap.mkv", 90000.0))
    starts_s = [segment.facts["start_s"] for segment in segments]
    assert len(segments) < 20
    assert {0.0, 1.0, 90002.0, 90003.0} <= set(starts_s)
    assert not any(13.0 < start_s < 90000.0 for start_s in starts_s)
    for segment in segments:
        sounds = segment.facts["start_s"] in (0.0, 1.0, 90002.0, 90003.0)
        assert (segment.facts["rms_db"] > -30.0) is sounds


def test_a_file_of_a_million_hours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"its packets lie 1000000 hours apart: no file of more than 1000 is read"):
        segments_of(leaping(tmp_path / "long.mkv", 3.6e9))


def test_a_refusal_has_no_more_hours_than_a_person_can_read(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"its packets lie more than ten million hours apart: no file of more than"):
        segments_of(leaping(tmp_path / "long.mkv", 3.6e13))


def test_lengths_that_an_mp4_claims_are_not_believed(tmp_path: Path) -> None:
    honest = makers.make_video(tmp_path / "honest.mp4", seconds=3.0)
    expected = [segment.facts["start_s"] for segment in segments_of(honest)]
    data = bytearray(honest.read_bytes())
    for box, skip in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        place = data.find(box)
        while place >= 0:
            data[place + skip : place + skip + 4] = struct.pack(">I", 0xFFFFFFFE)
            place = data.find(box, place + 4)
    (tmp_path / "lying.mp4").write_bytes(data)
    assert [segment.facts["start_s"] for segment in segments_of(tmp_path / "lying.mp4")] == expected


def test_an_mp4_whose_every_packet_claims_to_last_for_days_is_refused(tmp_path: Path) -> None:
    data = bytearray(makers.make_video(tmp_path / "honest.mp4", seconds=3.0).read_bytes())
    place = data.find(b"stts")
    while place >= 0:
        for entry in range(struct.unpack(">I", data[place + 8 : place + 12])[0]):
            data[place + 16 + 8 * entry : place + 20 + 8 * entry] = struct.pack(">I", 0x7FFFFFFF)
        place = data.find(b"stts", place + 4)
    (tmp_path / "slow.mp4").write_bytes(data)
    with pytest.raises(RefusedError, match=RefusalReason.DECODE_ERROR):
        segments_of(tmp_path / "slow.mp4")


def test_pictures_of_65000_pixels_a_side_cost_themselves_only(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    makers.make_video(folder / "good.mp4")
    (folder / "png.mp4").write_bytes(huge_png())
    with av.open(str(folder / "mjpeg.avi"), "w") as out:
        video = out.add_stream("mjpeg", rate=25)
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        assert isinstance(video, av.VideoStream)
        assert isinstance(sound, av.AudioStream)
        video.width, video.height, video.pix_fmt = 64, 64, "yuvj420p"
        video.encode(av.VideoFrame(64, 64, "yuvj420p"))
        for number in range(50):
            packet = av.Packet(huge_jpeg())
            packet.stream, packet.pts, packet.dts, packet.time_base = video, number, number, Fraction(1, 25)
            packet.is_keyframe = True
            out.mux(packet)
            frame = av.AudioFrame.from_ndarray(np.ones((1, 640), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 640 * number, Fraction(1, 16000)
            out.mux(sound.encode(frame))
    options = IngestOptions(spec=SPEC, workers=1, timeout_s=30.0)
    result = ingest([folder], tmp_path / "out", options, embedder=makers.DoubleEmbedder())
    fates = {outcome.source: outcome.reason for outcome in result.outcomes}
    assert fates["videos/good.mp4"] is None
    assert fates["videos/png.mp4"] == "not_media"
    assert fates["videos/mjpeg.avi"] in ("decode_error", "memory")
