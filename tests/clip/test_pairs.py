"""Pairs from tars: what is read, what is refused and counted, and that names are never paths."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from clipsonic.clip.pairs import find_tars, open_picture, read_pairs
from clipsonic.errors import CorpusError, UsageError


def picture_bytes(color=(200, 30, 30), form="JPEG", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, form)
    return buffer.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_phrasings_of_txt_and_json_are_joined_without_repeats(tmp_path):
    facts = {"captions": ["a red box", "the box is red"], "caption": "a red box", "kind": "box", "scene": {"size": 0.5}}
    tar = write_tar(
        tmp_path / "a.tar",
        [("0.jpg", picture_bytes()), ("0.txt", b" a red box "), ("0.json", json.dumps(facts).encode())],
    )
    (pair,) = read_pairs([tar])
    assert pair.captions == ("a red box", "the box is red")
    assert pair.kind == "box"
    assert pair.numbers == {"size": 0.5}


def test_a_sample_without_picture_or_caption_is_none_and_the_rest_is_read(tmp_path):
    tar = write_tar(
        tmp_path / "a.tar",
        [
            ("0.jpg", picture_bytes()),
            ("1.txt", b"no picture"),
            ("2.jpg", b"not a picture"),
            ("2.txt", b"broken"),
            ("3.png", picture_bytes(form="PNG")),
            ("3.txt", b"good"),
        ],
    )
    pairs = list(read_pairs([tar]))
    assert [pair and pair.captions for pair in pairs] == [None, None, ("broken",), ("good",)]
    assert open_picture(pairs[2].picture) is None
    assert open_picture(pairs[3].picture).size == (40, 30)


def test_order_is_that_of_sorted_tars_and_of_their_members(tmp_path):
    for name, word in (("b.tar", b"second"), ("a.tar", b"first")):
        write_tar(tmp_path / name, [("x.jpg", picture_bytes()), ("x.txt", word)])
    assert [pair.captions[0] for pair in read_pairs([tmp_path])] == ["first", "second"]


def test_a_member_that_climbs_out_of_the_folder_is_only_a_name(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    tar = write_tar(folder / "a.tar", [("../../x.jpg", picture_bytes()), ("../../x.txt", b"climbing")])
    assert [pair.captions for pair in read_pairs([tar])] == [("climbing",)]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "inner"]


@pytest.mark.parametrize("content", [b"", b"not a tar at all" * 100, b"\x00" * 100])
def test_a_file_that_is_no_tar_gets_one_sentence(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.tar is not a readable tar"):
        list(read_pairs([path]))


def test_missing_sources_and_folders_without_tars_are_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="do not exist"):
        find_tars([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"holds no \.tar"):
        find_tars([tmp_path])


def test_a_picture_with_transparency_or_palette_becomes_rgb():
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (10, 20, 30, 255)).save(buffer, "PNG")
    assert np.asarray(open_picture(buffer.getvalue())).tolist()[0][0] == [10, 20, 30]


def test_damaged_json_leaves_picture_and_caption_usable(tmp_path):
    members = [("0.jpg", picture_bytes()), ("0.txt", b"fine"), ("0.json", b"{broken")]
    (pair,) = read_pairs([write_tar(tmp_path / "a.tar", members)])
    assert (pair.captions, pair.kind, pair.numbers) == (("fine",), None, {})
