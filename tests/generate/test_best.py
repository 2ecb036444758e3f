"""The ear chooses what sounds most like what was asked for; where there is none, that is said."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from makers_ear import RATE_HZ, WIDTH, make_ear, noise
from makers_model import SECONDS

from clipsonic.audio.wave import read_audio
from clipsonic.cli import main
from clipsonic.ear.tower import Ear
from clipsonic.errors import UsageError
from clipsonic.generate.best import Choice, choose_best, direction_of, ear_for
from clipsonic.pipeline import ClipSonicPipeline

COUNT = 4


@pytest.fixture(scope="module")
def ear() -> Ear:
    return make_ear("toy/1")


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    """Tones of two seconds, each with some noise."""
    return [tone(hz, RATE_HZ) + 0.1 * noise(2.0, seed) for seed, hz in enumerate((100.0, 300.0, 800.0, 1500.0))]


def tone(hz: float, rate_hz: int) -> np.ndarray:
    """Two seconds of it."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(2 * rate_hz) / rate_hz)).astype(np.float32)


def heard_in(ear: Ear, wave: np.ndarray) -> torch.Tensor:
    """What an ear says of one sound, as a prompt's embedding (1, E)."""
    return torch.from_numpy(ear.embed_sounds(wave[None], RATE_HZ).whole)


def test_the_sound_in_which_just_what_was_asked_for_is_heard_comes_first(ear: Ear, waves: list[np.ndarray]) -> None:
    for place, wave in enumerate(waves):
        choice = choose_best(ear, [heard_in(ear, wave)] * COUNT, waves, RATE_HZ, 3)
        assert choice.places[0] == place
        assert choice.cosines[0] == 1.0
        assert list(choice.cosines) == sorted(choice.cosines, reverse=True)
        assert choice.cosines[1] < 0.999
        assert len(set(choice.places)) == 3
        assert choice.ear == ear.fingerprint


def test_silence_comes_last_even_where_its_noise_is_what_was_asked_for(ear: Ear, waves: list[np.ndarray]) -> None:
    faint, nothing = waves[0] * 1e-3, np.zeros_like(waves[0])
    assert float(heard_in(ear, faint) @ heard_in(ear, waves[0]).T) > 0.99  # an ear hears no level
    choice = choose_best(ear, [heard_in(ear, waves[0])], [nothing, faint, waves[1]], RATE_HZ, 3)
    assert choice.places[0] == 2
    assert choice.cosines[1:] == (-1.0, -1.0)
    away = choose_best(ear, [-heard_in(ear, waves[1])], [nothing, waves[1]], RATE_HZ, 2)
    assert away.places == (1, 0)  # even before the farthest that there is
    assert choose_best(ear, [heard_in(ear, waves[0])], [nothing, nothing], RATE_HZ, 1).places == (0,)


def test_what_is_heard_in_a_sound_does_not_depend_on_the_others(ear: Ear, waves: list[np.ndarray]) -> None:
    wanted = [heard_in(ear, waves[2])]
    together = choose_best(ear, wanted, waves, RATE_HZ, COUNT)
    alone = [choose_best(ear, wanted, [wave], RATE_HZ, 1).cosines[0] for wave in waves]
    assert [alone[place] for place in together.places] == list(together.cosines)


def test_sounds_at_another_rate_are_heard_alike(ear: Ear) -> None:
    pitches_hz = (100.0, 300.0, 800.0, 1500.0)
    for place, hz in enumerate(pitches_hz):
        choice = choose_best(ear, [heard_in(ear, tone(hz, RATE_HZ))], [tone(hz, 44100) for hz in pitches_hz], 44100, 1)
        assert choice.places == (place,)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
def test_a_sound_as_short_as_may_be_is_heard_at_every_rate(ear: Ear, rate_hz: int) -> None:
    assert choose_best(ear, [torch.ones(1, WIDTH)], [tone(300.0, rate_hz)[:rate_hz]], rate_hz, 1).places == (0,)


def test_what_is_asked_for_is_the_mean_of_all_draws_and_of_the_frames_of_each() -> None:
    draws = [torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0], [0.0, 4.0, 0.0]])]
    torch.testing.assert_close(direction_of(draws), torch.tensor([2.0, 2.0, 1.0]) / 3.0)


def pipeline_with(ear: Ear | None) -> Any:
    return SimpleNamespace(ear=ear, segment=SimpleNamespace(fingerprint="toy/1", seconds=SECONDS))


def test_a_pipeline_without_an_ear_and_sounds_too_short_to_hear_are_refused(ear: Ear) -> None:
    assert ear_for(pipeline_with(ear), 4, 1.0) is ear
    with pytest.raises(
        UsageError, match=r"the best of 4 cannot be chosen, the pipeline has no ear for the CLIP space toy/1: "
    ):
        ear_for(pipeline_with(None), 4, 1.0)
    for duration_s, said in ((0.9, "0.9"), (None, f"{SECONDS:g}")):
        with pytest.raises(UsageError, match=rf"best of 8 .* hears nothing in {said} s: make sounds of at least 1 s"):
            ear_for(pipeline_with(ear), 8, duration_s)


def test_the_facts_of_a_choice_are_json() -> None:
    said = {"ear": "toy/1+ear/0", "chosen": [3, 0], "cosines": [0.5, -0.25]}
    assert json.loads(json.dumps(Choice((3, 0), (0.5, -0.25), "toy/1+ear/0").facts())) == said


@pytest.mark.parametrize("kind", ["text", "image", "video", "audio", "embeds"])
def test_the_files_of_the_best_are_those_sounds_of_all_that_the_facts_name(
    with_ear: Path, prompts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    soundfile.write(tmp_path / "like.wav", noise(1.2), RATE_HZ)
    prompt = {**prompts, "audio": str(tmp_path / "like.wav")}[kind]
    words = ["generate", "--model", str(with_ear), f"--{kind}", prompt, "--duration-s", "1", "--loudness", "off"]
    assert main([*words, "--num-sounds", "5", "--out", str(tmp_path / "all.wav")]) == 0
    capsys.readouterr()
    best = ["--best-of", "5", "--num-sounds", "2", "--out", str(tmp_path / "best.wav")]
    assert main([*words, *best, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ear"] == ClipSonicPipeline.from_pretrained(with_ear).ear.fingerprint
    assert facts["cosines"] == sorted(facts["cosines"], reverse=True)
    assert [Path(name).name for name in facts["files"]] == ["best-1.wav", "best-2.wav"]
    for name, place in zip(facts["files"], facts["chosen"], strict=True):
        assert (read_audio(name)[0] == read_audio(tmp_path / f"all-{place + 1}.wav")[0]).all()


def test_an_ear_of_ones_own_may_choose_and_a_person_is_told_how_near_the_best_comes(
    model: Path, with_ear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--text", "a dog", "--duration-s", "1", "--best-of", "3", "--out", str(tmp_path / "dog.wav")]
    assert main(["generate", "--model", str(model), "--ear", str(with_ear / "ear"), *words]) == 0
    assert "the best of 3 by the ear: cosine to what was asked for " in capsys.readouterr().out
