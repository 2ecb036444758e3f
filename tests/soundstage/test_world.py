"""The wider picture world: pure pictures, held-out things held out, tars that are the same however they are made."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipsonic.errors import UsageError
from clipsonic.soundstage.draw.silent import COLORS, SILENT
from clipsonic.soundstage.draw.styles import FILTERS
from clipsonic.soundstage.scene import combination_is_heldout, draw_scene
from clipsonic.soundstage.silent_captions import NOUNS, PLACES, TEMPLATES
from clipsonic.soundstage.stills import silent_is_heldout
from clipsonic.soundstage.world import draw_picture, write_pairs

SMALL = (64, 48)


def tars_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_picture_depends_on_seed_index_and_split_only(split):
    first, again = (draw_picture(4, 17, split) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.captions == again.captions
    assert first.pixels.shape == (120, 160, 3)
    assert not np.array_equal(first.pixels, draw_picture(4, 18, split).pixels)
    assert not np.array_equal(first.pixels, draw_picture(5, 17, split).pixels)


def test_a_quarter_is_silent_a_third_is_styled_and_some_rest():
    pictures = [draw_picture(1, index, size=SMALL) for index in range(400)]
    silent = sum(picture.kind is None for picture in pictures)
    styled = sum(picture.style != "full" for picture in pictures)
    resting = [picture for picture in pictures if picture.scene is not None and not picture.scene.phases]
    assert 65 < silent < 135  # 100 expected, four standard deviations of a binomial
    assert 95 < styled < 171  # 133 expected
    assert 13 < len(resting) < 59  # 36 expected
    assert {picture.style for picture in pictures} == {"full", "plain", "white", *FILTERS}
    assert len({picture.kind for picture in pictures}) == 26
    assert all("silent" in text or "rest" in text or "no sound" in text or "nothing" in text
               for picture in resting for text in picture.captions)  # fmt: skip


def test_no_scene_is_one_of_the_sound_corpus():
    corpus = {draw_scene(1, index).size for index in range(300)}
    world = [draw_picture(1, index, size=SMALL).scene for index in range(60)]
    assert all(scene is None or scene.size not in corpus for scene in world)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_attribute_combinations_held_out_for_judging_are_in_that_split_only(split):
    scenes = [draw_picture(2, index, split, SMALL).scene for index in range(80)]
    held_out = {
        combination_is_heldout(scene.kind, scene.material, scene.size, scene.speed) for scene in scenes if scene
    }
    assert held_out == {split == "heldout"}


def test_every_silent_thing_is_held_out_in_one_or_two_of_its_colours():
    for thing in SILENT:
        assert 1 <= sum(silent_is_heldout(thing, color) for color in COLORS) <= 2


def test_phrasings_of_silent_things_are_not_shared_by_the_splits_and_every_thing_has_a_word():
    assert not set(TEMPLATES["train"]) & set(TEMPLATES["heldout"])
    assert set(NOUNS) == set(SILENT)
    assert len(SILENT) >= 14


def test_a_picture_on_a_plain_stage_is_not_said_to_be_somewhere():
    pictures = [draw_picture(3, index, size=SMALL) for index in range(200)]
    plain = [picture for picture in pictures if picture.style in ("plain", "white") and len(picture.captions) > 1]
    assert len(plain) > 5
    assert not any(place in text for picture in plain for text in picture.captions for place in PLACES.values())


@pytest.mark.parametrize("name", FILTERS)
def test_every_style_keeps_the_size_and_type_of_a_picture_and_never_writes_into_it(name):
    picture = draw_picture(1, 3).pixels
    before = picture.copy()
    styled = FILTERS[name](picture, np.random.default_rng(0))
    assert styled.shape == picture.shape
    assert styled.dtype == np.uint8
    assert np.array_equal(picture, before)
    assert not np.array_equal(styled, picture)


def test_tars_are_the_same_for_one_and_for_two_processes_and_a_rerun_draws_only_what_is_missing(tmp_path):
    report = write_pairs(tmp_path / "one", 25, 7, workers=1, per_shard=10)
    write_pairs(tmp_path / "two", 25, 7, workers=2, per_shard=10)
    tars = tars_in(tmp_path / "one")
    assert tars == tars_in(tmp_path / "two")
    assert list(tars) == ["00000.tar", "00001.tar", "00002.tar"]
    assert (report["pictures"], report["drawn"], report["kept"], report["shards"]) == (25, 25, 0, 3)
    assert report["bytes"] == sum(map(len, tars.values()))
    (tmp_path / "one" / "00001.tar").unlink()
    again = write_pairs(tmp_path / "one", 25, 7, workers=1, per_shard=10)
    assert (again["drawn"], again["kept"]) == (10, 15)
    assert tars_in(tmp_path / "one") == tars


def test_a_sample_holds_a_picture_its_caption_and_its_facts(tmp_path):
    write_pairs(tmp_path, 6, 7, split="heldout", workers=1, per_shard=4)
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "00001.tar").read_bytes())) as archive:
        parts = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    assert list(parts) == [f"00000000{number}.{end}" for number in (4, 5) for end in ("jpg", "txt", "json")]
    facts = json.loads(parts["000000004.json"])
    drawn = draw_picture(7, 4, "heldout")
    assert facts["caption"] == parts["000000004.txt"].decode() == drawn.captions[0]
    assert facts["captions"] == list(drawn.captions)
    assert (facts["kind"], facts["key"], facts["width"], facts["height"]) == (drawn.kind, "000000004", 160, 120)
    pixels = cv2.imdecode(np.frombuffer(parts["000000004.jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(pixels.astype(int) - drawn.pixels).mean() < 12.0  # JPEG at quality 92; swapped channels give over 30


@pytest.mark.parametrize(
    "wrong", [{"num_pictures": 0}, {"per_shard": 0}, {"workers": -1}, {"size": (8, 8)}, {"split": "test"}]
)
def test_an_impossible_number_is_refused_in_one_sentence(tmp_path, wrong):
    with pytest.raises(UsageError) as refusal:
        write_pairs(tmp_path, **{"num_pictures": 5, "seed": 1, **wrong})
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_pairs_is_refused(tmp_path):
    write_pairs(tmp_path, 3, 1, workers=1)
    with pytest.raises(UsageError, match="other arguments"):
        write_pairs(tmp_path, 3, 2, workers=1)
    (tmp_path / "pairs.json").unlink()
    with pytest.raises(UsageError, match="empty folder"):
        write_pairs(tmp_path, 3, 1, workers=1)
    with pytest.raises(UsageError, match="is a file"):
        write_pairs(tmp_path / "00000.tar", 3, 1, workers=1)


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match="choose train or heldout"):
        draw_picture(1, 1, "any")  # type: ignore[arg-type]
