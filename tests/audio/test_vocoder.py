"""Griffin-Lim: lengths, determinism, range, and how near its sound's mel is to the mel it was given."""

import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocoder import GriffinLim
from clipsonic.errors import SpecError
from clipsonic.seeding import torch_generator
from clipsonic.specs import MelSpec

SPEC = MelSpec()


def sounds(count=3, length=16384, spec=SPEC):
    """Decaying tones over a little noise."""
    generator = torch_generator(0, "test.vocoder")
    time_s = torch.arange(length) / spec.sample_rate_hz
    hz = 200.0 * 2.0 ** (3 * torch.rand(count, 1, generator=generator))
    ring = torch.sin(2 * torch.pi * hz * time_s) * torch.exp(-3.0 * (time_s % 0.4))
    return 0.3 * ring + 0.001 * torch.randn(count, length, generator=generator)


@pytest.mark.parametrize("spec", [SPEC, MelSpec(hop_length=160), MelSpec(n_fft=2048, hop_length=512)])
def test_the_mel_of_the_made_sound_is_near_the_mel_given(spec):
    log_mel = LogMel(spec)
    given = log_mel(sounds(spec=spec))
    distance = (log_mel(GriffinLim(spec)(given)) - given).abs().mean()
    assert distance < 0.2  # 0.08 measured on 25 sounds; independent sounds are 2 to 4 apart


def test_the_ends_are_as_good_as_the_middle():
    log_mel = LogMel(SPEC)
    given = log_mel(sounds(8))
    error = (log_mel(GriffinLim(SPEC)(given)) - given).abs().mean(dim=(0, 1))
    ends = torch.cat([error[:3], error[-3:]]).mean()
    assert ends < 3.0 * error[8:-8].mean()  # without the reflection in the loop the first column is off by nats


def test_improving_the_linear_magnitude_brings_its_mel_nearer():
    vocoder, given = GriffinLim(SPEC), LogMel(SPEC)(sounds())
    bank = LogMel(SPEC).filterbank

    def distance(num_updates):
        return ((bank @ vocoder.linear_magnitude(given, num_updates)).clamp_min(1e-5).log() - given).abs().mean()

    assert distance(20) < 0.5 * distance(1)
    assert (vocoder.linear_magnitude(given) >= 0).all()


def test_it_gives_exactly_f_times_hop_samples():
    for frames in (2, 7, 64):
        assert GriffinLim(SPEC, num_iterations=2)(torch.full((2, 64, frames), -3.0)).shape == (2, frames * 256)


def test_it_is_deterministic_and_batched_equals_single():
    vocoder, given = GriffinLim(SPEC, num_iterations=4), LogMel(SPEC)(sounds())
    batched = vocoder(given)
    assert torch.equal(batched, vocoder(given))
    for index in range(len(given)):
        assert torch.equal(batched[index], vocoder(given[index : index + 1])[0])


def test_loud_mels_are_scaled_into_range_and_others_left_alone():
    vocoder, given = GriffinLim(SPEC, num_iterations=4), LogMel(SPEC)(sounds())
    loud = vocoder(given + np.log(100.0))
    assert torch.isfinite(loud).all()
    torch.testing.assert_close(loud.abs().amax(dim=1), torch.ones(3))  # one division's rounding
    quiet, quieter = vocoder(given - np.log(4.0)), vocoder(given - np.log(8.0))
    torch.testing.assert_close(quiet, 2.0 * quieter, atol=1e-3, rtol=0)  # no gain is added to what fits


def test_silence_stays_silent():
    wave = GriffinLim(SPEC, num_iterations=4)(torch.full((1, 64, 16), np.log(1e-5)))
    assert wave.abs().max() < 1e-4  # below the 16-bit grid's third step


def test_more_iterations_come_nearer():
    log_mel = LogMel(SPEC)
    given = log_mel(sounds(4))
    few, many = (log_mel(GriffinLim(SPEC, num_iterations=n)(given)).sub(given).abs().mean() for n in (1, 32))
    assert many < few


@pytest.mark.parametrize("shape", [(64, 16), (1, 80, 16), (1, 64, 1)])
def test_a_mel_of_another_space_is_refused(shape):
    with pytest.raises(SpecError, match="64"):
        GriffinLim(SPEC)(torch.zeros(shape))


@pytest.mark.parametrize("options", [{"num_iterations": 0}, {"momentum": 1.0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(SpecError, match="Griffin-Lim"):
        GriffinLim(SPEC, **options)


@pytest.mark.gpu
def test_on_a_gpu_it_stays_on_the_gpu():
    given = LogMel(SPEC)(sounds())
    wave = GriffinLim(SPEC)(given.cuda())
    assert wave.device.type == "cuda"
    assert (LogMel(SPEC)(wave.cpu()) - given).abs().mean() < 0.2
