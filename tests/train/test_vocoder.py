"""Training a vocoder: its loss is a distance, its batches follow the seed, a killed run continues bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocos import Vocos
from clipsonic.audio.wave import write_audio
from clipsonic.errors import CorpusError, UsageError
from clipsonic.seeding import numpy_rng, torch_generator
from clipsonic.train.vocoder import VocoderSettings, VocoderTrainer
from clipsonic.train.vocoder_data import Bank, batches, drawn_hours, real_bank, source_of
from clipsonic.train.vocoder_loss import mel_loss, spectral_loss
from clipsonic.train.vocoder_measure import log_spectral_distance_db, measure_vocoder
from clipsonic.train.vocoder_run import vocoder_from

SMALL = {"n_fft": 256, "hop_length": 64, "num_mels": 20, "width": 16, "hidden": 32, "depth": 2}
SETTINGS = {"num_steps": 8, "batch_size": 2, "crop_s": 0.3, "checkpoint_s": 0.0}


def tones(count: int, seconds: float = 1.0) -> list[np.ndarray]:
    """Decaying tones over a little noise, int16."""
    time_s = np.arange(round(16000 * seconds)) / 16000
    rng = numpy_rng(0, "test.vocoder")
    decay, noise = np.exp(-3 * time_s), rng.normal(0, 60, (count, len(time_s)))
    tone = [8000 * np.sin(2 * np.pi * 220 * (1 + n) * time_s) * decay for n in range(count)]
    return [(one + rest).astype(np.int16) for one, rest in zip(tone, noise, strict=True)]


def small() -> Vocos:
    torch.manual_seed(0)
    vocoder: Vocos = Vocos(**SMALL)
    return vocoder


def trainer(**change: float) -> VocoderTrainer:
    return VocoderTrainer(small(), [Bank("corpus", tones(4), [])], VocoderSettings(**{**SETTINGS, **change}), {})


def test_the_loss_is_nothing_for_equal_waves_and_grows_with_the_difference() -> None:
    wave = 0.1 * torch.randn(2, 8000, generator=torch_generator(0, "test.vocoder"))
    other = 0.1 * torch.randn(2, 8000, generator=torch_generator(1, "test.vocoder"))
    assert spectral_loss(wave, wave) == 0.0
    assert 0.0 < spectral_loss(wave + 0.01 * other, wave) < spectral_loss(other, wave) < spectral_loss(5 * other, wave)


def test_silence_has_a_finite_loss_and_gradient() -> None:
    made = torch.zeros(1, 8000, requires_grad=True)
    log_mel, tone = LogMel(small().spec), torch.full((1, 8000), 0.1)
    loss = (
        spectral_loss(made, torch.zeros(1, 8000)) + spectral_loss(made, tone) + mel_loss(log_mel, made, log_mel(tone))
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(made.grad).all()  # type: ignore[arg-type]


def in_either_logarithm() -> list[Vocos]:
    """The same network in two mel spaces that differ in nothing but the logarithm."""
    made = []
    for logarithm in ("ln", "log10"):
        torch.manual_seed(0)
        made.append(Vocos(**SMALL, logarithm=logarithm).eval())
    return made


def test_the_mel_loss_of_two_waves_does_not_depend_on_the_logarithm() -> None:
    wave = 0.1 * torch.randn(2, 8000, generator=torch_generator(0, "test.vocoder"))
    wave[:, 4000:] *= 1e-4  # 80 dB lower: not heard
    made = wave * torch.cat([torch.full((4000,), 1.1), torch.full((4000,), 2.0)])
    losses = []
    for vocoder in in_either_logarithm():
        log_mel = LogMel(vocoder.spec)
        losses.append(float(mel_loss(log_mel, made, log_mel(wave))))
    assert losses[0] > 0.01
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)  # float32 logarithms


def test_the_figures_of_a_vocoder_do_not_depend_on_the_logarithm() -> None:
    natural, decimal = (measure_vocoder(vocoder, tones(2)) for vocoder in in_either_logarithm())
    for name in ("mel_db", "mel_db_griffin_lim", "lsd_db", "lsd_db_floor"):
        assert decimal[name] == pytest.approx(natural[name], rel=0.01)  # Griffin-Lim carries float32 rounding on


@pytest.mark.parametrize("padding", ["same", "center"])
def test_a_crop_is_of_whole_columns_and_never_longer_than_the_shortest_sound_kept(padding: str) -> None:
    shape = {"n_fft": 1000, "hop_length": 500, "num_mels": 20, "width": 8, "hidden": 8, "depth": 1}
    shortest = round(0.3 * 16000)  # 9.6 hops
    bank = Bank("corpus", [sound[:shortest] for sound in tones(2)], [])
    run = VocoderTrainer(Vocos(**shape, padding=padding), [bank], VocoderSettings(**{**SETTINGS, "num_steps": 1}), {})
    assert run.num_samples == 9 * 500
    waves = next(batches(run.banks, 2, run.num_samples, 0))
    assert run.vocoder.wave(run.log_mel(waves)).shape == waves.shape


def test_doubling_the_amplitude_is_a_log_spectral_distance_of_6_db() -> None:
    wave = 0.1 * torch.randn(1, 8000, generator=torch_generator(0, "test.vocoder"))
    assert log_spectral_distance_db(2 * wave, wave, small().spec) == pytest.approx(6.02, abs=0.01)


def test_batches_follow_seed_and_step_and_banks_have_equal_shares() -> None:
    quiet, loud = Bank("corpus", [np.full(9000, 100, np.int16)], []), Bank("real", [np.full(9000, -100, np.int16)], [])
    stream = batches([quiet, loud], 6, 4096, seed=1)
    first, second = itertools.islice(stream, 2)
    assert torch.equal(second, next(batches([quiet, loud], 6, 4096, seed=1, first_step=1)))
    assert not torch.equal(first, next(batches([quiet, loud], 6, 4096, seed=2)))
    assert (first[:3] > 0).all()
    assert (first[3:] < 0).all()
    assert first.abs().max() <= 1.0


def test_a_killed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    unbroken = trainer()
    unbroken.run(tmp_path / "unbroken")
    killed = trainer()
    step = killed._train_step

    def step_until_killed(wave: torch.Tensor) -> float:
        if killed.step == 3:
            raise KeyboardInterrupt
        return step(wave)

    killed._train_step = step_until_killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path / "killed")
    again = trainer()
    assert again.resume(tmp_path / "killed")
    assert again.step == 3
    again.run(tmp_path / "killed")
    for mine, other in zip(again.result().parameters(), unbroken.result().parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path) -> None:
    trainer().run(tmp_path)
    with pytest.raises(UsageError, match=r"batch_size 2, not 3"):
        trainer(batch_size=3).resume(tmp_path)


def test_of_a_corpus_above_the_limit_that_many_hours_are_drawn_and_always_the_same() -> None:
    facts = [{"key": key, "seconds": 3600.0} for key in "abcdefghij"]
    drawn = [fact["key"] for fact in drawn_hours(facts, 3.5)]
    assert len(drawn) == 3
    assert drawn == sorted(drawn) == [fact["key"] for fact in drawn_hours(facts, 3.5)]
    assert drawn_hours(facts, 10.0) == facts
    assert len(drawn_hours(facts, 0.1)) == 1
    assert drawn_hours([], 1.0) == []


def test_takes_of_one_recording_stay_together(tmp_path: Path) -> None:
    assert source_of("esc_1-22694-A-20") == source_of("esc_1-22694-B-20") == "esc_1-22694"
    assert source_of("ambient_coffee-shop") == "ambient_coffee-shop"
    for number, take in itertools.product(range(6), "AB"):
        write_audio(tmp_path / f"1-{number}-{take}-7.flac", 0.3 * np.sin(np.arange(16000) * 0.01 * (number + 1)), 16000)
    bank = real_bank(tmp_path, 16000, 4096, 0.3)
    assert len(bank.train) + len(bank.val) == 12
    assert len(bank.val) % 2 == 0
    assert bank.val


def test_a_folder_without_usable_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no recording"):
        real_bank(tmp_path, 16000, 4096, 0.1)
    write_audio(tmp_path / "silence.flac", np.zeros(16000), 16000)
    with pytest.raises(CorpusError, match="not silent"):
        real_bank(tmp_path, 16000, 4096, 0.1)


@pytest.mark.slow
def test_a_little_training_brings_the_mel_nearer(tmp_path: Path) -> None:
    before = measure_vocoder(small().eval(), tones(4))
    run = trainer(num_steps=150, batch_size=4, checkpoint_s=1e9)
    run.run(tmp_path)
    after = measure_vocoder(run.result(), tones(4))
    assert after["mel_db"] < 0.7 * before["mel_db"]
    assert after["lsd_db"] > after["lsd_db_floor"]


def test_a_vocoder_is_trained_on_from_a_folder_with_more_rounds(tmp_path: Path) -> None:
    first = small()
    first.half().save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    again = vocoder_from(str(tmp_path), rounds=1)
    assert (again.rounds, again.spec) == (1, first.spec)
    assert all(weights.requires_grad and weights.dtype == torch.float32 for weights in again.parameters())
    for mine, other in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, other.float())
    with pytest.raises(UsageError, match="does not exist"):
        vocoder_from(str(tmp_path / "nowhere"), rounds=0)
