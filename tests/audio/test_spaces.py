"""Mel spaces of published vocoders: equal to the publishers' own extraction, and to what configs and files say."""

import json
from pathlib import Path

import librosa
import makers_spaces as makers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsonic.audio.mel import LogMel, mel_filterbank
from clipsonic.audio.spaces import MEL_SPACES, describe, name_of_space
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.errors import SpecError
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, SegmentSpec
from clipsonic.train.command import load_config

DATA = Path(__file__).parent / "data"
CLOSE = 1e-4  # float32 FFTs of other libraries: 1e-5 measured in every space
OVERLAYS = {
    "bigvgan": "bigvgan-22khz-80",
    "bigvgan-24khz": "bigvgan-24khz-100",
    "bigvgan-44khz": "bigvgan-44khz-128",
    "vocos": "vocos-24khz",
    "speecht5": "speecht5",
}


def sound(length=9000):
    """Noise whose first part is about and below every logarithm's floor."""
    wave = 0.2 * torch.randn(1, length, generator=torch_generator(0, "test.spaces"))
    wave[:, :3000] *= 1e-4
    return wave


@pytest.mark.parametrize("name", [name for name in MEL_SPACES if name.startswith("bigvgan")])
def test_a_bigvgan_mel_is_that_of_nvidias_code(name):
    meldataset = pytest.importorskip("bigvgan.meldataset")
    spec = MEL_SPACES[name]
    expected = meldataset.mel_spectrogram(
        sound(),
        spec.n_fft,
        spec.num_mels,
        spec.sample_rate_hz,
        spec.hop_length,
        spec.n_fft,
        spec.f_min_hz,
        spec.f_max_hz,
    )
    torch.testing.assert_close(LogMel(spec)(sound()), expected, atol=CLOSE, rtol=0)


def test_a_speecht5_mel_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    made = transformers.SpeechT5FeatureExtractor()(audio_target=sound()[0].numpy(), sampling_rate=16000)
    expected = torch.as_tensor(np.asarray(made["input_values"][0])).T
    torch.testing.assert_close(LogMel(MEL_SPACES["speecht5"])(sound())[0], expected, atol=CLOSE, rtol=0)


def test_a_vocos_mel_is_that_of_its_package_on_torchaudio():
    saved = np.load(DATA / "vocos" / "mels.npz")
    made = LogMel(MEL_SPACES["vocos-24khz"])(torch.from_numpy(saved["wave"])[None])[0]
    np.testing.assert_allclose(made.numpy(), saved["mel"], atol=CLOSE)
    bank = mel_filterbank(MEL_SPACES["vocos-24khz"]).numpy()
    np.testing.assert_allclose(bank.max(axis=1), saved["peaks"], atol=7e-5)  # 7e-6: torchaudio's edges are float32
    assert (bank.argmax(axis=1) == saved["places"]).all()


def test_an_audioldm_mel_is_hifigans_with_plain_magnitudes():
    spec, wave = MEL_SPACES["audioldm"], sound()
    padded = torch.nn.functional.pad(wave, (432, 432), mode="reflect")
    window = torch.hann_window(1024)
    spectrum = torch.stft(padded, 1024, 160, 1024, window, center=False, return_complex=True).abs()
    bank = torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=1024, n_mels=64, fmin=0, fmax=8000))
    expected = (bank @ spectrum).clamp(min=1e-5).log()
    torch.testing.assert_close(LogMel(spec)(wave), expected, atol=CLOSE, rtol=0)
    assert load_config("base").segment.spec(768, "a/b").mel == spec


@pytest.mark.parametrize("spec", MEL_SPACES.values(), ids=MEL_SPACES)
def test_the_filterbank_is_librosas(spec):
    expected = librosa.filters.mel(
        sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.num_mels, fmin=spec.f_min_hz, fmax=spec.f_max_hz,
        htk=spec.mel_scale == "htk", norm=None if spec.mel_norm == "none" else "slaney",
    )  # fmt: skip
    np.testing.assert_allclose(mel_filterbank(spec).numpy(), expected, atol=1e-7)  # float32 of values up to 1


@pytest.mark.parametrize("spec", MEL_SPACES.values(), ids=MEL_SPACES)
def test_griffin_lim_makes_sound_of_every_space(spec):
    given_mel = LogMel(spec)(sound(16 * spec.hop_length)[:, : spec.num_samples(16)])
    wave = GriffinLim(spec, num_iterations=4)(given_mel)
    assert wave.shape == (1, spec.num_samples(16))
    back = LogMel(spec)(wave)
    assert back.shape == given_mel.shape
    heard = given_mel > spec.shift_db(given_mel.amax(), -40.0)
    assert spec.db((back - given_mel)[heard].abs().mean()) < 3.0  # noise is 5 to 7 dB from other noise


@pytest.mark.parametrize("spec", makers.EVERY_SPACE.values(), ids=makers.EVERY_SPACE)
def test_doubling_the_amplitude_adds_6_02_db_in_every_space(spec):
    wave = 0.2 * torch.randn(1, 9000, generator=torch_generator(0, "test.spaces"))
    rise_db = spec.db(LogMel(spec)(2.0 * wave) - LogMel(spec)(wave))
    # the offset of BigVGAN's power is 60 dB below this noise, float32 rounds the logarithm
    torch.testing.assert_close(rise_db, torch.full_like(rise_db, 20.0 * np.log10(2.0)), atol=0.02, rtol=0)


@pytest.mark.parametrize("spec", makers.EVERY_SPACE.values(), ids=makers.EVERY_SPACE)
@pytest.mark.parametrize("beyond", [0, 1, 0.5, -1])
def test_a_sound_has_the_columns_that_its_space_says(spec, beyond):
    num_samples = 9 * spec.hop_length + round(beyond * (spec.hop_length if beyond == 0.5 else 1))
    columns = LogMel(spec)(torch.zeros(1, num_samples)).shape[2]
    assert columns == spec.num_mel_frames(num_samples)
    assert GriffinLim(spec, num_iterations=1)(torch.zeros(1, spec.num_mels, columns)).shape[1] <= num_samples
    assert spec.num_samples(spec.enough_mel_frames(num_samples)) >= num_samples


@given(st.sampled_from(sorted(MEL_SPACES)), st.integers(2, 2000))
def test_columns_and_samples_are_each_others_inverse(name, num_columns):
    spec = MEL_SPACES[name]
    assert spec.num_mel_frames(spec.num_samples(num_columns)) == num_columns
    assert spec.num_mel_frames(spec.num_samples(num_columns) - 1) == num_columns - 1


def test_a_spec_saved_before_there_were_other_spaces_is_todays_default():
    old = {"sample_rate_hz": 16000, "n_fft": 1024, "hop_length": 160, "num_mels": 64, "f_min_hz": 0.0,
           "f_max_hz": 8000.0, "log_floor": 1e-05}  # fmt: skip
    assert MelSpec.from_dict(old) == MEL_SPACES["audioldm"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mel_scale": "bark"}, "mel_scale 'bark' is unknown: choose one of slaney, htk"),
        ({"mel_norm": "l2"}, "mel_norm 'l2'"),
        ({"padding": "valid"}, "padding 'valid'"),
        ({"logarithm": "log2"}, "logarithm 'log2'"),
        ({"power_offset": -1.0}, "power_offset -1.0"),
    ],
)
def test_what_no_space_has_does_not_construct(change, words):
    with pytest.raises(SpecError, match=words):
        MelSpec(**change)


def test_the_one_published_bank_of_dependent_bands_needs_to_be_asked_for():
    values = MEL_SPACES["bigvgan-44khz-128-hop256"].to_dict()
    with pytest.raises(SpecError, match="rank 118"):
        MelSpec(**{**values, "dependent_bands": False})


def test_one_column_with_centred_columns_is_no_sound():
    with pytest.raises(SpecError, match="above 1 with centred columns"):
        SegmentSpec(MEL_SPACES["vocos-24khz"], 1, 8, "a/b")


def test_specs_say_how_they_differ_and_what_they_are_called():
    mine, theirs = MEL_SPACES["audioldm"].difference(MEL_SPACES["bigvgan-22khz-80"])
    assert "hop_length=160" in mine
    assert "power_offset=1e-09" in theirs
    assert "n_fft" not in mine
    assert name_of_space(MelSpec()) is None
    assert describe(MEL_SPACES["vocos-24khz"]).startswith("vocos-24khz (24000 Hz, n_fft 1024, hop 256, 100 mels")


@pytest.mark.parametrize(("name", "space"), OVERLAYS.items())
def test_a_familys_overlay_on_base_is_its_space_and_about_ten_seconds(name, space):
    config = load_config("base", name)
    segment = config.segment.spec(768, "a/b")
    assert segment.mel == MEL_SPACES[space]
    assert 9.85 < segment.seconds <= 10.24
    assert segment.num_mel_frames % (4 * config.model.dit.patch) == 0


def test_the_bundled_pipelines_index_still_says_the_default_space():
    index = json.loads((Path(__file__).parents[2] / "priors" / "tiny" / "model_index.json").read_text())
    assert SegmentSpec.from_dict(index["segment"]).mel == MelSpec()
