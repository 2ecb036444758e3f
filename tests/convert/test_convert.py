"""`clipsonic convert`: a publisher's folder becomes one of ours that sounds the same, or is refused in a sentence."""

import json
from pathlib import Path

import makers_published as makers
import pytest
import torch

from clipsonic.audio.load import load_vocoder
from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.audio.vocos import Vocos
from clipsonic.cli import main

VOCOS = Path(__file__).parents[1] / "audio" / "data" / "vocos" / "center"


def test_a_converted_vocoder_sounds_as_its_source_and_the_result_says_what_was_mapped(tmp_path, capsys):
    network = makers.make_bigvgan(tmp_path / "source")
    words = ["convert", "vocoder", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["family"], said["mel_space"]) == ("bigvgan", "bigvgan-22khz-80-8k")
    assert said["num_read"] == len(network.state_dict())
    assert said["num_written"] == said["num_read"] - said["num_weight_norms"]
    assert said["mel"] == MEL_SPACES["bigvgan-22khz-80-8k"].to_dict()
    vocoder, mel = load_vocoder(tmp_path / "out"), makers.noise(1, 80, 9)
    with torch.no_grad():
        assert torch.equal(vocoder(mel), network(mel)[:, 0])
    assert not any(path.suffix in (".pt", ".bin") for path in (tmp_path / "out").iterdir())
    assert (
        f"- from: source, file bigvgan_generator.pt; {said['num_read']} tensors"
        in (tmp_path / "out" / "card.md").read_text()
    )
    assert main(words) == 0
    assert f"{said['num_read']} tensors read from bigvgan_generator.pt" in capsys.readouterr().out


def test_what_follows_from_the_mel_space_is_compared_and_not_written(tmp_path, capsys):
    assert main(["convert", "vocoder", str(VOCOS), "--out", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["num_compared"], said["num_written"]) == (3, said["num_read"] - 3)
    mel = makers.noise(1, 20, 9)
    assert torch.equal(load_vocoder(tmp_path)(mel), load_vocoder(VOCOS)(mel))


def test_a_source_that_does_not_fit_leaves_nothing_behind(tmp_path, capsys):
    makers.make_bigvgan(tmp_path / "source")
    makers.edit_config(tmp_path / "source", upsample_initial_channel=32)
    assert main(["convert", "vocoder", str(tmp_path / "source"), "--out", str(tmp_path / "out")]) == 1
    assert "wrong shape: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["vocoder", "{tmp}/own", "--out", "{tmp}/out"], 2, "needs no conversion"),
        (["vocoder", "{tmp}/own", "--out", "{tmp}/own"], 2, "is the source itself"),
        (["vocoder", "{tmp}/own", "--out", "{tmp}/out", "--clip", "A:b"], 2, "--clip A:b is for priors"),
        (["vocoder", "{tmp}/nowhere", "--out", "{tmp}/out"], 2, "does not exist"),
        (["scheduler", "{tmp}/own", "--out", "{tmp}/out"], 2, "'scheduler' cannot be converted"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_sentence(words, status, sentence, tmp_path, capsys):
    Vocos(n_fft=256, hop_length=64, num_mels=20, width=8, hidden=16, depth=1).save_pretrained(tmp_path / "own")
    assert main(["convert", *(word.format(tmp=tmp_path) for word in words)]) == status
    shown = capsys.readouterr().err.strip()
    assert sentence in shown
    assert len(shown.splitlines()) == 1
