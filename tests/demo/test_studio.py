"""The best of several, as the page and the service have them made: with a tiny untrained pipeline, and no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from makers_ear import make_ear
from makers_model import make_model

pytest.importorskip("fastapi", reason="needs the packages of the page: pip install clipsonic[demo]")
pytest.importorskip("gradio", reason="needs the packages of the page: pip install clipsonic[demo]")

import gradio as gr

from clipsonic.demo.answer import Answer, answer
from clipsonic.demo.folder import DemoFolder
from clipsonic.demo.limits import MAX_BEST_OF, Limits
from clipsonic.demo.page import _wish_of
from clipsonic.demo.parts import Choices, choices_below
from clipsonic.demo.refusals import status_of
from clipsonic.demo.rendering import report
from clipsonic.demo.schema import facts_of_schema
from clipsonic.demo.service import as_json
from clipsonic.demo.studio import Studio
from clipsonic.demo.wish import wish_of
from clipsonic.errors import UsageError
from clipsonic.pipeline import ClipSonicPipeline

DOG = {"text": "a dog barking", "seed": 3, "duration_s": 1.0, "loudness": "off"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"))


def studio_of(pipeline: ClipSonicPipeline, folder: Path) -> Studio:
    limits = Limits(2.0)
    looker: Any = None  # nothing is uploaded
    return Studio(pipeline, "toy", limits, DemoFolder(limits, folder), looker)


@pytest.fixture(scope="module")
def hearing(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio whose pipeline has an ear."""
    pipeline = ClipSonicPipeline.from_pretrained(model)
    pipeline.set_ear(make_ear(pipeline.segment.fingerprint))
    studio = studio_of(pipeline, tmp_path_factory.mktemp("studio"))
    yield studio
    studio.close()


@pytest.fixture
def deaf(model: Path, tmp_path: Path) -> Iterator[Studio]:
    """A studio whose pipeline has none."""
    studio = studio_of(ClipSonicPipeline.from_pretrained(model), tmp_path)
    yield studio
    studio.close()


def made(studio: Studio, **values: Any) -> Answer:
    return answer(studio, wish_of({**DOG, **values}), None)


def samples_of(made: Answer) -> list[list[float]]:
    return [soundfile.read(sound.wave, dtype="int16")[0].tolist() for sound in made.sounds]


def test_the_best_are_those_sounds_of_all_that_the_facts_name(hearing: Studio) -> None:
    every = made(hearing, num_sounds=4)
    best = made(hearing, best_of=4, num_sounds=2)
    facts = as_json(best)["facts"]
    assert samples_of(best) == [samples_of(every)[place] for place in facts["chosen"]]
    assert facts["best_of"] == 4
    assert facts["cosines"] == sorted(facts["cosines"], reverse=True)
    assert facts["ear"] == hearing.pipeline.ear.fingerprint
    assert "the best of 4" in report(best, 1.0)
    assert not {"best_of", "chosen", "cosines", "ear"} & set(every.facts)
    assert "the best of" not in report(every, 1.0)


def test_without_an_ear_or_for_a_sound_too_short_the_best_are_refused_in_one_sentence(
    hearing: Studio, deaf: Studio
) -> None:
    for studio, values, said in (
        (deaf, {"best_of": 2}, "the best of 2 cannot be chosen, the pipeline has no ear"),
        (hearing, {"best_of": 3, "duration_s": 0.5}, "an ear hears nothing in 0.5 s"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            made(studio, **values)
        assert status_of(caught.value) == 422
    assert len(made(deaf).sounds) == 1  # the studio goes on


def choices_of(studio: Studio) -> Choices:
    with gr.Blocks():
        return choices_below(studio)


def test_the_page_offers_the_choice_where_there_is_an_ear_and_its_default_asks_for_none(
    hearing: Studio, deaf: Studio
) -> None:
    for studio, has_ear in ((hearing, True), (deaf, False)):
        choices = choices_of(studio)
        slider = choices.inputs["best_of"]
        assert (slider.visible, slider.minimum, slider.maximum) == (has_ear, 1, MAX_BEST_OF)
        assert facts_of_schema(studio)["model"]["has_ear"] is has_ear
        values = {name: part.value for name, part in choices.inputs.items()}
        assert _wish_of(choices, "text", "a dog", 0, tuple(values.values())).best_of is None
        chosen = tuple({**values, "best_of": 4}.values())
        assert _wish_of(choices, "text", "a dog", 0, chosen).best_of == 4
