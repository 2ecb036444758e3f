"""Mels: agreement with librosa, and what must be true of any mel."""

import librosa
import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel, mel_filterbank
from clipsonic.errors import SpecError
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec, mel_band_edges_hz

SPECS = {
    "tiny": MelSpec(),
    "base": MelSpec(hop_length=160),
    "clipsonic": MelSpec(n_fft=2048, hop_length=512),
    "22 kHz": MelSpec(sample_rate_hz=22050, n_fft=1024, hop_length=256, num_mels=80, f_min_hz=0.0, f_max_hz=8000.0),
    "odd edges": MelSpec(num_mels=40, f_min_hz=55.0, f_max_hz=7000.0),
}


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch_generator(seed, "test.mel")) * 0.1


def tone(hz, spec, seconds=1.0):
    time_s = torch.arange(int(seconds * spec.sample_rate_hz)) / spec.sample_rate_hz
    return 0.5 * torch.sin(2 * torch.pi * hz * time_s)[None]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_filterbank_is_librosas(spec):
    expected = librosa.filters.mel(
        sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.num_mels, fmin=spec.f_min_hz, fmax=spec.f_max_hz
    )
    # both are float32 of values below 0.1: half a unit in the last place is 4e-9; float64 edges differ by rounding
    np.testing.assert_allclose(mel_filterbank(spec).numpy(), expected, atol=2e-8)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_filterbank_has_full_rank(spec):
    assert np.linalg.matrix_rank(mel_filterbank(spec).numpy()) == spec.num_mels


@pytest.mark.parametrize("spec", [SPECS["tiny"], SPECS["base"], SPECS["clipsonic"]], ids=["tiny", "base", "clipsonic"])
def test_log_mel_agrees_with_librosas_stft_framed_as_hifigan_does(spec):
    wave = noise((1, 20000))
    padding = (spec.n_fft - spec.hop_length) // 2
    padded = np.pad(wave[0].numpy(), padding, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=spec.n_fft, hop_length=spec.hop_length, center=False, window="hann")
    bank = librosa.filters.mel(sr=16000, n_fft=spec.n_fft, n_mels=spec.num_mels, fmin=0, fmax=8000)
    expected = np.log(np.maximum(bank @ np.abs(spectrum), 1e-5))
    np.testing.assert_allclose(LogMel(spec)(wave)[0].numpy(), expected, atol=1e-4)  # 1e-5 measured, float32 FFTs


@pytest.mark.parametrize("length", [385, 4096, 4351, 65536])
def test_a_sound_of_t_samples_has_t_over_hop_columns(length):
    assert LogMel(SPECS["tiny"])(noise((2, length))).shape == (2, 64, length // 256)


@pytest.mark.parametrize("hz", [110.0, 440.0, 1000.0, 3333.0, 7000.0])
def test_the_loudest_band_of_a_tone_contains_it(hz):
    spec = SPECS["tiny"]
    edges_hz = mel_band_edges_hz(spec)
    loudest = int(LogMel(spec)(tone(hz, spec))[0].mean(dim=1).argmax())
    bin_hz = spec.sample_rate_hz / spec.n_fft  # a tone is known to one FFT bin at best
    assert edges_hz[loudest] - bin_hz <= hz <= edges_hz[loudest + 2] + bin_hz


def test_doubling_the_amplitude_adds_6_02_db():
    log_mel, wave = LogMel(SPECS["tiny"]), noise((1, 16000))
    rise_db = (log_mel(2 * wave) - log_mel(wave)) * 20 / np.log(10)
    # a factor of 2 is exact in float32; only the logarithm rounds (5e-7 of values up to 4)
    torch.testing.assert_close(rise_db, torch.full_like(rise_db, 20 * np.log10(2.0)), atol=1e-5, rtol=0)


def test_a_shift_by_one_hop_shifts_the_mel_by_one_column():
    spec, wave = SPECS["tiny"], noise((1, 16000))
    whole, shifted = LogMel(spec)(wave), LogMel(spec)(wave[:, spec.hop_length :])
    # columns whose window touches no reflected end; the same samples in another batch position: rounding only
    torch.testing.assert_close(shifted[..., 2:-3], whole[..., 3 : shifted.shape[-1] - 2], atol=1e-5, rtol=0)


def test_silence_is_the_logarithm_of_the_floor():
    mel = LogMel(SPECS["tiny"])(torch.zeros(1, 4096))
    assert torch.equal(mel, torch.full_like(mel, np.log(np.float32(1e-5))))


def test_autocast_does_not_change_the_mel():
    log_mel, wave = LogMel(SPECS["tiny"]), noise((1, 8192))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(log_mel(wave), log_mel(wave).float())
        inside = log_mel(wave)
    assert torch.equal(inside, log_mel(wave))


def test_the_mel_is_no_part_of_saved_weights():
    assert LogMel(SPECS["tiny"]).state_dict() == {}


@pytest.mark.parametrize("shape", [(1, 384), (4096,), (1, 1, 4096)])
def test_a_sound_too_short_to_reflect_or_of_another_shape_is_refused(shape):
    with pytest.raises(SpecError, match="384"):
        LogMel(SPECS["tiny"])(torch.zeros(shape))
