"""The judge chooses what sounds most like what was asked for; where there is none, it says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipsonic.cli import main
from clipsonic.errors import UsageError
from clipsonic.generate.best import check_has_judge, choose_best, nearest_kind, wanted_kind
from clipsonic.generate.known import kinds_named_in
from clipsonic.pipeline import ClipSonicPipeline
from clipsonic.soundstage.kinds import KINDS
from clipsonic.soundstage.scene import draw_scene, sounds_enough
from clipsonic.soundstage.synth import synthesize
from clipsonic.soundstage.world import draw_picture

RATE_HZ = 16000


@pytest.fixture(scope="module")
def tiny() -> ClipSonicPipeline:
    return ClipSonicPipeline.from_pretrained("tiny")


def true_sound(kind: str) -> np.ndarray:
    """Four seconds of a scene in which the thing sounds."""
    for index in range(100):
        scene = draw_scene(3, index, split="heldout", kind=kind)
        if scene.duration_s >= 4.0 and sounds_enough(scene, 0.0, 4.0):
            return np.asarray(synthesize(scene, sample_rate_hz=RATE_HZ)[: 4 * RATE_HZ], np.float32)
    raise AssertionError(kind)


def test_of_true_sounds_the_one_of_the_named_kind_is_chosen_and_silence_never(tiny: ClipSonicPipeline) -> None:
    kinds = ["dog", "bell", "rain", "siren"]
    waves = [true_sound(kind) for kind in kinds]
    waves.append(np.zeros_like(waves[0]))
    for place, kind in enumerate(kinds):
        choice = choose_best(tiny, "text", f"a {KINDS[kind].nouns[0]}", torch.zeros(1, 128), waves, 5)
        assert choice.wanted == kind
        assert choice.places[0] == place
        assert choice.places[-1] == 4
        assert choice.agreement[-1] == 0.0
        assert list(choice.agreement) == sorted(choice.agreement, reverse=True)


def test_a_longer_noun_is_not_its_parts_too() -> None:
    assert kinds_named_in("an Alarm Clock on a table") == ["beeper"]
    assert kinds_named_in("a steam engine") == ["train"]
    assert kinds_named_in("two dogs and three bells") == ["bell", "dog"]
    assert kinds_named_in("a cat") == []


def test_pictures_are_taken_for_their_kind_and_a_text_without_a_noun_for_its_nearest(tiny: ClipSonicPipeline) -> None:
    drawn = [picture for n in range(45) if (picture := draw_picture(5, n, "heldout")).kind is not None][:30]
    embeds_NE = torch.from_numpy(tiny.clip.embed_pictures([picture.pixels for picture in drawn]))
    right = [wanted_kind(tiny, "image", None, embed_E[None]) == picture.kind
             for embed_E, picture in zip(embeds_NE, drawn, strict=True)]  # fmt: skip
    assert np.mean(right) >= 0.75  # 88 % of 382 when this was written
    assert wanted_kind(tiny, "text", "two dogs and a bell", embeds_NE[:1]) == nearest_kind(tiny, embeds_NE[:1])


def test_sounds_too_short_to_judge_are_refused(tiny: ClipSonicPipeline) -> None:
    check_has_judge(tiny, None)
    with pytest.raises(UsageError, match=r"cannot judge a sound of 0\.5 s, the judge hears from 1 s on"):
        check_has_judge(tiny, 0.5)


def test_a_pipeline_of_another_clip_has_no_judge() -> None:
    other = SimpleNamespace(clip=SimpleNamespace(is_bundled=False))
    with pytest.raises(UsageError, match="there is one for pipelines of the bundled CLIP only"):
        check_has_judge(other, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_best_of_six_are_kept_and_their_agreement_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--text", "a dog barking", "--best-of", "6", "--num-sounds", "2", "--out", str(tmp_path / "dog.wav")]
    assert main(["generate", *words]) == 0
    assert "the best of 6: the judge hears dog in what is kept with" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dog-1.wav", "dog-2.wav"]
