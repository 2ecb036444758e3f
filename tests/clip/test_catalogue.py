"""The catalogue of tars: every pair is read at its place as it is read in order, and only from the file it was in."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from clipsonic.clip.catalogue import read_catalogue
from clipsonic.clip.pairs import read_pairs
from clipsonic.errors import CorpusError, UsageError


def picture_bytes(color=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def halved(images):
    return np.stack([np.asarray(image.resize((20, 15))) for image in images])


SAMPLES = [
    ("0.jpg", picture_bytes()), ("0.txt", b"a red box"), ("0.json", b'{"kind": "box", "captions": ["a box", "red"]}'),
    ("1.txt", b"no picture"),
    ("2.mp4", bytes(3000)), ("2.json", b'{"caption": "an ear", "size": 0.5}'), ("2.png", picture_bytes()),
    (f"deep/er/{'long' * 60}.webp", picture_bytes()), (f"deep/er/{'long' * 60}.txt", "zwölf é".encode()),
    ("4.jpg", b"not a picture"), ("4.txt", b"broken"), ("4.json", b'{"kind": "box"}'),
]  # fmt: skip


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_pair_is_read_at_its_place_as_it_is_read_in_order(tmp_path, form):
    samples = [sample for sample in SAMPLES if form != tarfile.USTAR_FORMAT or len(sample[0]) < 90]
    for name in ("b.tar", "a.tar"):
        write_tar(tmp_path / name, samples, form)
    catalogue = read_catalogue([tmp_path])
    in_order = [pair for pair in read_pairs([tmp_path]) if pair is not None]
    assert [catalogue.read(row) for row in range(len(catalogue))] == in_order
    assert catalogue.refused == 2
    assert catalogue.kinds.tolist() == [0 if pair.kind == "box" else -1 for pair in in_order]
    assert {"red", "box", "ear"} <= catalogue.words


def test_a_table_leaves_out_and_counts_what_cannot_be_decoded(tmp_path):
    catalogue = read_catalogue([write_tar(tmp_path / "a.tar", SAMPLES)])
    table = catalogue.table(range(len(catalogue)), halved)
    assert (len(table), table.refused) == (3, 1)
    assert table.captions[0] == ("a red box", "a box", "red")
    assert table.numbers[1] == {"size": 0.5}
    with pytest.raises(CorpusError, match="none of 1 pictures"):
        catalogue.table([3], halved)


def test_the_digest_names_what_is_in_the_tars_and_not_where_they_lie(tmp_path):
    (tmp_path / "moved").mkdir()
    first = read_catalogue([write_tar(tmp_path / "a.tar", SAMPLES)])
    moved = read_catalogue([write_tar(tmp_path / "moved" / "b.tar", SAMPLES)])
    other = read_catalogue([write_tar(tmp_path / "c.tar", [*SAMPLES[:1], ("0.txt", b"a tin box"), *SAMPLES[2:]])])
    assert first.digest == moved.digest != other.digest


@pytest.mark.parametrize("change", ["written again", "touched", "removed"])
def test_a_tar_that_changed_after_it_was_catalogued_is_refused_in_one_sentence(tmp_path, change):
    path = write_tar(tmp_path / "a.tar", SAMPLES)
    catalogue = read_catalogue([path])
    path.unlink()
    if change != "removed":
        write_tar(path, SAMPLES if change == "touched" else SAMPLES[4:])
        os.utime(path, ns=(1, 1))
    with pytest.raises(CorpusError, match=r"a\.tar is gone or has changed since this run began: give"):
        catalogue.read(0)


@pytest.mark.parametrize("content", [b"", b"not a tar at all" * 100, b"\x00" * 100, bytes(10240)])
def test_a_file_without_a_pair_gets_one_sentence(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.tar is not a readable tar|no usable pair"):
        read_catalogue([tmp_path / "a.tar"])


def test_a_tar_that_ends_early_is_refused_and_missing_ones_are_wrong_usage(tmp_path):
    whole = write_tar(tmp_path / "a.tar", SAMPLES).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:6000])
    with pytest.raises(CorpusError, match=r"a\.tar is not a readable tar"):
        read_catalogue([tmp_path / "a.tar"])
    with pytest.raises(UsageError, match="do not exist"):
        read_catalogue([tmp_path / "nowhere"])
