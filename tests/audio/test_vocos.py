"""The neural vocoder: its inverse transform is exact, its first guess is near, its shapes and weights keep."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.audio.frames import analyse, inverse_stft
from clipsonic.audio.load import load_vocoder
from clipsonic.audio.mel import LogMel
from clipsonic.audio.spaces import MEL_SPACES
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.audio.vocos import Vocos
from clipsonic.errors import CheckpointError, SpecError
from clipsonic.resources import bundled_path
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec

SMALL = {"n_fft": 256, "hop_length": 64, "num_mels": 20, "width": 16, "hidden": 32, "depth": 2}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.vocos"))


def small(**change):
    torch.manual_seed(0)
    return Vocos(**{**SMALL, **change}).eval()


@pytest.mark.parametrize("change", [{}, {"n_fft": 1024, "hop_length": 256, "num_mels": 64}])
def test_the_inverse_transform_gives_back_the_wave(change):
    vocoder, wave = small(**change), 0.1 * noise(2, 4096)
    window = torch.hann_window(vocoder.spec.n_fft)
    back = inverse_stft(analyse(wave, vocoder.spec, window), vocoder.spec, window)
    assert back.shape == wave.shape
    torch.testing.assert_close(back, wave, atol=1e-5, rtol=0)  # 1e-6 measured in float32


def test_a_flat_spectrum_spread_from_its_mel_is_flat_again():
    vocoder = small()
    magnitude = torch.full((1, 3, 129), 0.25)
    mel = magnitude @ LogMel(vocoder.spec).filterbank.T
    seen = LogMel(vocoder.spec).filterbank.sum(dim=0) > 0
    torch.testing.assert_close((mel @ vocoder.spread)[..., seen], magnitude[..., seen], rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_sound_has_exactly_its_columns_and_stays_within_full_scale():
    vocoder = small()
    wave = vocoder(noise(3, 20, 50) + 8.0)
    assert wave.shape == (3, 50 * 64)
    assert wave.abs().amax(dim=1).max() == 1.0  # it is far too loud and was scaled down
    assert (wave.abs() == 1.0).sum(dim=1).max() <= 2


@torch.no_grad()
def test_batched_equals_single():
    vocoder, mel = small(rounds=1), noise(3, 20, 50) - 4.0
    for one, wave in zip(mel, vocoder(mel), strict=True):
        torch.testing.assert_close(vocoder(one[None])[0], wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_every_parameter_learns(rounds):
    vocoder = small(rounds=rounds).train()
    vocoder(noise(2, 20, 30) - 4.0).square().sum().backward()
    assert [name for name, value in vocoder.named_parameters() if value.grad is None or not value.grad.any()] == []


@torch.no_grad()
def test_each_round_leads_the_wave_nearer_to_its_mel():
    log_mel = LogMel(small().spec)
    mel = log_mel(0.1 * noise(2, 4096))
    errors = [float((log_mel(small(rounds=rounds)(mel)) - mel).abs().mean()) for rounds in (0, 1, 2)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


@torch.no_grad()
def test_going_further_than_what_is_lacking_comes_nearer_in_as_many_rounds():
    log_mel = LogMel(small().spec)
    mel = log_mel(0.1 * noise(2, 4096))
    plain, further = (
        float((log_mel(small(rounds=4, relaxation=relaxation)(mel)) - mel).abs().mean()) for relaxation in (1.0, 1.9)
    )
    assert further < 0.9 * plain
    assert torch.equal(small(rounds=1, relaxation=1.9)(mel), small(rounds=1)(mel))  # the last round never does


@pytest.mark.parametrize("relaxation", [0.0, 2.5, float("nan")])
def test_a_relaxation_that_does_not_converge_is_refused(relaxation):
    with pytest.raises(SpecError, match=r"relaxation .* must be above 0 and at most 2"):
        small(relaxation=relaxation)


def test_fewer_rounds_than_none_are_refused():
    with pytest.raises(SpecError, match="rounds -1 must be 0 or more"):
        small(rounds=-1)


@torch.no_grad()
def test_a_sound_too_short_to_be_reflected_is_made_without_rounds():
    mel = noise(1, 20, 1) - 4.0
    assert torch.equal(small(rounds=1)(mel), small()(mel))


@torch.no_grad()
def test_saved_and_reloaded_it_sounds_the_same(tmp_path):
    vocoder, mel = small(), noise(1, 20, 30) - 4.0
    vocoder.save_pretrained(tmp_path)
    again = Vocos.from_pretrained(tmp_path).eval()
    assert again.spec == vocoder.spec
    assert torch.equal(again(mel), vocoder(mel))


@pytest.mark.parametrize("shape", [(20, 30), (1, 19, 30), (1, 20, 0)])
def test_what_is_no_mel_of_its_space_is_refused(shape):
    with pytest.raises(SpecError, match=r"must be \(B, 20, F\)"):
        small()(torch.zeros(shape))


@torch.no_grad()
def test_griffin_lim_and_the_bundled_vocoder_sound_as_before_there_were_other_spaces():
    saved = np.load(Path(__file__).parent / "data" / "before.npz")
    mel = torch.from_numpy(saved["mel"])
    bundled = Vocos.from_pretrained(bundled_path("priors", "tiny", "vocoder"), torch_dtype=torch.float32).eval()
    assert bundled.spec == MelSpec()
    # 0 on the machine that saved them; other FFTs round otherwise, and the projections carry that on
    np.testing.assert_allclose(bundled(mel).numpy(), saved["vocos"], atol=1e-4)
    np.testing.assert_allclose(GriffinLim(MelSpec(), num_iterations=4)(mel).numpy(), saved["griffin_lim"], atol=1e-3)


def test_every_field_of_the_mel_space_is_a_key_of_the_saved_config_and_a_strange_one_is_refused(tmp_path):
    spec = MelSpec(n_fft=256, hop_length=64, num_mels=20, log_floor=1e-7, power_offset=1e-9, logarithm="log10")
    Vocos(**spec.to_dict(), width=16, hidden=32, depth=1).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert {name: saved[name] for name in spec.to_dict()} == spec.to_dict()
    assert saved["depth"] == 1
    with pytest.raises(TypeError, match="logaritm"):
        Vocos(logaritm="ln")
    with pytest.raises(TypeError):
        Vocos(24000)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vocos-24khz", "speecht5"])
def test_our_own_vocoder_can_be_of_a_published_space(name, tmp_path):
    spec = MEL_SPACES[name]
    torch.manual_seed(0)
    vocoder = Vocos(**spec.to_dict(), width=16, hidden=32, depth=1, rounds=1).eval()
    mel = LogMel(spec)(0.1 * noise(1, spec.num_samples(12)))
    assert vocoder(mel).shape == (1, spec.num_samples(12))
    vocoder.save_pretrained(tmp_path)
    assert Vocos.from_pretrained(tmp_path).spec == spec
    led, plain = (
        (LogMel(spec)(Vocos(**spec.to_dict(), width=16, hidden=32, depth=1, rounds=rounds).eval()(mel)) - mel)
        .abs()
        .mean()
        for rounds in (3, 0)
    )
    assert led < 0.5 * plain  # its rounds know this space's padding, bands and logarithm


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auto_map": {"AutoModel": "strange.Strange"}}, r"not known \(auto_map = "),
        ({"quantization_config": {"quant_method": "gptq"}}, r"not known \(quantization_config = "),
        ({"width": {"a": 1}}, r"width = \{'a': 1\}, it must be a number"),
    ],
)
def test_a_saved_vocoder_with_settings_that_are_not_its_own_is_refused(tmp_path, values, words):
    small().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **values}))
    with pytest.raises(CheckpointError, match=words):
        load_vocoder(tmp_path)


def test_a_saved_vocoder_that_lists_weights_of_other_folders_is_refused(tmp_path):
    small().save_pretrained(tmp_path / "v")
    (tmp_path / "v" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    listed = {"metadata": {}, "weight_map": dict.fromkeys(small().state_dict(), "../elsewhere.safetensors")}
    (tmp_path / "v" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match="has its weights in several files"):
        load_vocoder(tmp_path / "v")
