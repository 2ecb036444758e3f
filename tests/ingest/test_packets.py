"""Sizes are read from the first bytes of packets, as the specifications lay them out; nonsense tells none."""

from __future__ import annotations

from pathlib import Path

import av
import makers_streams as streams
import numpy as np
import pytest

from clipsonic.ingest.packets import SizesOf, jpeg_sizes, vp8_sizes, vp9_sizes

READERS = [vp8_sizes, vp9_sizes, jpeg_sizes]


def bits(*fields: tuple[int, int]) -> bytes:
    """(value, width) one behind the other, filled up with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


MARKER, INTER, SHOWN, RESILIENT = (2, 2), (1, 1), (1, 1), (1, 1)
PROFILE, NO, REFERENCES = (0, 2), (0, 1), (0, 20)


@pytest.mark.parametrize(
    ("packet", "sizes"),
    [
        (bits(MARKER, PROFILE, NO, NO, SHOWN, NO, (0x498342, 24), (2, 3), NO, (319, 16), (179, 16)), [(320, 180)]),
        (bits(MARKER, PROFILE, NO, NO, SHOWN, NO, (0x498342, 24), (7, 3), (319, 16), (179, 16)), [(320, 180)]),
        (bits(MARKER, PROFILE, NO, NO, SHOWN, NO, (0x498343, 24), (2, 3), NO, (319, 16), (179, 16)), []),
        (bits(MARKER, PROFILE, NO, INTER, SHOWN, RESILIENT, REFERENCES, (0, 3), (99, 16), (49, 16)), [(100, 50)]),
        (bits(MARKER, PROFILE, NO, INTER, SHOWN, NO, (0, 2), REFERENCES, (0, 3), (99, 16), (49, 16)), [(100, 50)]),
        (bits(MARKER, PROFILE, NO, INTER, SHOWN, NO, (0, 2), REFERENCES, (1, 3), (99, 16), (49, 16)), []),
        (
            bits(MARKER, PROFILE, NO, INTER, NO, RESILIENT, (1, 1), (0x498342, 24), (0, 8), (99, 16), (49, 16)),
            [(100, 50)],
        ),
        (bits(MARKER, PROFILE, (1, 1), (3, 3)), []),
    ],
    ids=["key", "key_srgb", "no_sync", "resilient", "inter", "of_a_reference", "intra_only", "shown_again"],
)
def test_a_vp9_frame_tells_its_size(packet: bytes, sizes: list[tuple[int, int]]) -> None:
    assert list(vp9_sizes(memoryview(packet))) == sizes
    index = bytes([0xC1]) + bytes([len(packet), 1]) + bytes([0xC1])
    superframe = packet + b"\x86" + index  # it, and one that is shown again
    assert list(vp9_sizes(memoryview(superframe))) == sizes


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.webm", "libvpx"), ("v.webm", "libvpx-vp9"), ("v.avi", "mjpeg")],
)
def test_the_packets_of_real_encoders_tell_what_their_decoders_give(tmp_path: Path, name: str, codec: str) -> None:
    how = {
        "pix_fmt": "yuvj420p" if codec == "mjpeg" else "yuv420p",
        "sound_codec": "pcm_s16le" if codec == "mjpeg" else "libopus",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16"} if "vpx" in codec else {},
    }
    for sizes in ([(160, 128)], [(160, 128), (192, 112)]):
        path = streams.changing_size(tmp_path / name, codec, sizes, **how)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            seen = SizesOf(stream.codec_context.name)
            for packet in container.demux(stream):
                seen.see(memoryview(packet))
        assert seen._seen == set(sizes)
        assert seen.are_one is (len(sizes) == 1)


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes_at_all_are_read_without_an_error(reader: object) -> None:
    rng = np.random.default_rng(0)
    starts = [b"", b"\x82\x49\x83\x42", b"\xff\xd8\xff", b"\x10\0\0\x9d\x01\x2a"]
    for number in range(4000):
        data = starts[number % 4] + rng.integers(0, 256, rng.integers(0, 60), dtype=np.uint8).tobytes()
        for width, height in reader(memoryview(data)):  # type: ignore[operator]
            assert 0 <= width <= 65536
            assert 0 <= height <= 65536
