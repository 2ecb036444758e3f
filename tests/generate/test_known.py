"""What the bundled model knows: its words are known, others are said to be strange, once and in one sentence."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.cli import main
from clipsonic.generate.known import NEAR, kinds_text, known_kinds, names_a_known_thing, nearest_cosine, notice_for
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.world import draw_picture


@pytest.fixture(scope="module")
def tiny() -> ClipSonicPipeline:
    return ClipSonicPipeline.from_pretrained("tiny")


def test_the_words_beside_the_bundled_pipeline_are_the_soundstages() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "bundle_pipeline.py"
    assert known_kinds() == runpy.run_path(str(script))["words"]()
    assert list(known_kinds()) == list(KINDS)  # the judge's order


def test_every_caption_of_the_soundstage_names_a_known_thing() -> None:
    pictures = [draw_picture(9, index, "heldout", (32, 24)) for index in range(120)]
    said = [text for picture in pictures if picture.kind is not None for text in picture.captions]
    assert [text for text in said if not names_a_known_thing(text)] == []


@pytest.mark.parametrize("text", ["a quarterly earnings call", "a cat meowing", "doorbellish", "jazz", ""])
def test_other_words_are_not_known(text: str) -> None:
    assert not names_a_known_thing(text)


def test_a_strange_text_gets_one_sentence_and_a_known_one_none(tiny: ClipSonicPipeline) -> None:
    nothing = torch.zeros(1, 128)
    notice = notice_for(tiny, "text", "a cat meowing", nothing)
    assert notice is not None
    assert "'a cat meowing'" in notice
    assert "--list-kinds" in notice
    assert notice_for(tiny, "text", "three small bells ringing", nothing) is None


def test_soundstage_pictures_are_near_and_a_pattern_of_rings_is_not(tiny: ClipSonicPipeline) -> None:
    drawn = [picture for n in range(30) if (picture := draw_picture(9, n, "heldout")).kind is not None]
    assert tiny.bank is not None
    embeds_NE = torch.from_numpy(tiny.clip.embed_pictures([picture.pixels for picture in drawn]))
    cosines = [nearest_cosine(tiny.bank, embed_E[None]) for embed_E in embeds_NE]
    assert np.mean(np.array(cosines) >= NEAR) >= 0.9  # 99 % of 116 when this was written
    y, x = np.mgrid[0:120, 0:160]
    rings = np.repeat((np.hypot(x - 80, y - 60) // 6 % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    strange_1E = torch.from_numpy(tiny.clip.embed_pictures([rings]))
    assert nearest_cosine(tiny.bank, strange_1E) < 0.65  # 0.555
    assert "unlike all pictures" in str(notice_for(tiny, "image", rings, strange_1E))
    assert notice_for(tiny, "image", drawn[0].pixels, embeds_NE[int(np.argmax(cosines))][None]) is None


def test_the_list_names_every_kind_and_needs_no_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--list-kinds"]) == 0
    shown = capsys.readouterr().out
    assert shown.strip() == kinds_text()
    assert all(kind.nouns[0] in shown for kind in KINDS.values())


def test_without_a_file_to_write_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--text", "a bell"]) == 2
    assert "--out is missing" in capsys.readouterr().err
