"""Pictures come back as a viewer shows them; what is none is refused before it costs anything."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from clipsonic.errors import UsageError
from clipsonic.generate.prompt import read_embeds, read_picture


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.rot90(pixels, -1))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (8, 4), (255, 255, 255)).convert(mode).save(tmp_path / "a.tiff")
    picture = read_picture(tmp_path / "a.tiff")
    assert picture.shape == (4, 8, 3)
    assert picture.dtype == np.uint8
    assert picture.min() >= 254


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize(("level", "shown"), [(0.5, 128), (1.0, 255), (200.0, 200), (float("nan"), 0)])
def test_floats_of_0_to_1_are_light_and_others_are_levels(tmp_path: Path, level: float, shown: int) -> None:
    Image.fromarray(np.full((4, 4), level, np.float32)).save(tmp_path / "a.tiff")
    assert read_picture(tmp_path / "a.tiff")[0, 0].tolist() == [shown] * 3


def profile_with_swapped_colours() -> bytes:
    """sRGB's profile with the columns of red and blue exchanged: what is stored as red is shown as blue."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_a_colour_profile_is_applied(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (16, 16), (250, 30, 10)).save(path, icc_profile=profile_with_swapped_colours(), quality=95)
    np.testing.assert_allclose(read_picture(path)[8, 8], (10, 30, 250), atol=6)  # the lossy kinds are off by up to 4


def test_a_profile_that_is_damaged_or_of_srgb_changes_nothing(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"no profile", srgb[:200], b"\0" * 500_000):
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), pixels)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=srgb)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), pixels, atol=1)


def test_a_folder_is_no_file_and_an_unreadable_one_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="is no file: give the path"):
        read_picture(tmp_path)
    for name, read in (("a.png", read_picture), ("a.npy", read_embeds)):
        (tmp_path / name).write_bytes(b"x" * 100)
        if os.geteuid() == 0:  # who may read everything: a disk that refuses
            monkeypatch.setattr("builtins.open", refuse)
            monkeypatch.setattr("numpy.load", refuse)
        else:
            (tmp_path / name).chmod(0)
        with pytest.raises(UsageError, match=r"cannot be opened \(.*\): make it readable"):
            read(tmp_path / name)


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_transparency_shows_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0, 0].tolist() == [255, 255, 255]


def _png_that_promises(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header announces that many pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 99)))
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("side", [8001, 60000])
def test_a_picture_above_64_megapixels_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(_png_that_promises(side, side))
    with pytest.raises(UsageError, match="64,000,000"):
        read_picture(tmp_path / "a.png")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_picture(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UsageError, match="not a picture"):
        read_picture(tmp_path / "text.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(UsageError, match="damaged"):
        read_picture(tmp_path / "cut.jpg")


@pytest.mark.parametrize("shape", [(16,), (4, 16)])
def test_embeddings_come_back_as_float32(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape, np.float16))
    embeds = read_embeds(tmp_path / "a.npy")
    assert embeds.shape == shape
    assert embeds.dtype == np.float32


def test_embeddings_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "a.npy").write_bytes(pickle.dumps(Trap()))
    np.save(tmp_path / "b.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "c.npy", ones=np.ones(16))
    (tmp_path / "c.npy.npz").rename(tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", np.ones((2, 2, 16)))
    np.save(tmp_path / "e.npy", np.ones((0, 16)))
    for name in "abcde":
        with pytest.raises(UsageError, match=rf"{name}\.npy"):
            read_embeds(tmp_path / f"{name}.npy")
    assert not (tmp_path / "sprung").exists()
