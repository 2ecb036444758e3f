"""The lesson `vocoder`: its loss is a distance, its judges join when told, and it leaves what it was measured as."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers_vocoder import NUM_SAMPLES, WORDS, recordings, tiny_vocoder

from clipsonic.audio.load import load_own
from clipsonic.audio.mel import LogMel
from clipsonic.audio.vocos import Vocos
from clipsonic.errors import SpecError, UsageError
from clipsonic.seeding import numpy_rng, torch_generator
from clipsonic.specs import MelSpec
from clipsonic.train.command import build_parser, config_of, run
from clipsonic.train.config import Sources, TrainConfig
from clipsonic.train.engine.draws import Draws, Origin
from clipsonic.train.engine.lesson import Batch
from clipsonic.train.lessons.configs import VocoderConfig
from clipsonic.train.lessons.vocoder import VocoderLesson, course, new_vocoder, vocoder_from
from clipsonic.train.lessons.vocoder_loss import mel_loss, spectral_loss
from clipsonic.train.lessons.vocoder_measure import log_spectral_distance_db, measure_vocoder

SMALL = {"n_fft": 256, "hop_length": 64, "num_mels": 20, "width": 16, "hidden": 32, "depth": 2}


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


def noise(seed: int, *shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch_generator(seed, "test.vocoder"))


def config(**adversary: Any) -> TrainConfig:
    """The toy run of `makers_vocoder`, some of its adversary's values changed."""
    given = config_of(build_parser("clipsonic train").parse_args([*WORDS, "--out", "-"]))
    return dataclasses.replace(given, adversary=dataclasses.replace(given.adversary, **adversary))


def lesson(**adversary: Any) -> VocoderLesson:
    how = config(**adversary)
    return VocoderLesson(how, new_vocoder(how, MelSpec.of(how.segment)), {})


def batch(count: int = 4) -> Batch:
    return {"wave": noise(0, count, NUM_SAMPLES), "keys": [str(n) for n in range(count)], "position": count}


def draws(count: int = 4, ranks: tuple[int, int] = (0, 1)) -> Draws:
    return Draws.seeded(Origin(0, "test.vocoder", ()), count, ranks)


def command(words: list[str]) -> dict[str, Any]:
    return run(build_parser("clipsonic train").parse_args(words))


def test_the_loss_is_nothing_for_equal_waves_and_grows_with_the_difference() -> None:
    wave, other = noise(0, 2, 8000), noise(1, 2, 8000)
    assert (spectral_loss(wave, wave) == 0.0).all()
    near, far, farther = (spectral_loss(made, wave) for made in (wave + 0.01 * other, other, 5 * other))
    assert ((near > 0.0) & (near < far) & (far < farther)).all()


def test_a_rounding_of_the_wave_hardly_turns_the_gradient() -> None:
    true, directions = noise(1, 2, 8000), []
    for shift in (0.0, 1e-6):
        made = (noise(0, 2, 8000) + 10 * shift * noise(2, 2, 8000)).requires_grad_()
        spectral_loss(made, true).sum().backward()
        assert made.grad is not None
        directions.append(made.grad)
    change = (directions[1] - directions[0]).norm() / directions[0].norm()
    assert change < 0.05  # 0.005 measured, 0.29 with windows that are reflected at the ends


def test_an_items_loss_does_not_depend_on_the_others() -> None:
    made, true = noise(0, 3, 8000), noise(1, 3, 8000)
    log_mel = LogMel(small().spec)
    together = spectral_loss(made, true) + mel_loss(log_mel, made, log_mel(true))
    alone = spectral_loss(made[1:2], true[1:2]) + mel_loss(log_mel, made[1:2], log_mel(true[1:2]))
    torch.testing.assert_close(together[1:2], alone)


def test_silence_has_a_finite_loss_and_gradient() -> None:
    made = torch.zeros(1, 8000, requires_grad=True)
    log_mel, tone = LogMel(small().spec), torch.full((1, 8000), 0.1)
    loss = (
        spectral_loss(made, torch.zeros(1, 8000)) + spectral_loss(made, tone) + mel_loss(log_mel, made, log_mel(tone))
    )
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(made.grad).all()  # type: ignore[arg-type]


def in_either_logarithm() -> list[Vocos]:
    """The same network in two mel spaces that differ in nothing but the logarithm."""
    made = []
    for logarithm in ("ln", "log10"):
        torch.manual_seed(0)
        made.append(Vocos(**SMALL, logarithm=logarithm).eval())
    return made


def test_the_mel_loss_of_two_waves_does_not_depend_on_the_logarithm() -> None:
    wave = noise(0, 2, 8000)
    wave[:, 4000:] *= 1e-4  # 80 dB lower: not heard
    made = wave * torch.cat([torch.full((4000,), 1.1), torch.full((4000,), 2.0)])
    losses = []
    for vocoder in in_either_logarithm():
        log_mel = LogMel(vocoder.spec)
        losses.append(float(mel_loss(log_mel, made, log_mel(wave)).mean()))
    assert losses[0] > 0.01
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)  # float32 logarithms


def test_the_figures_of_a_vocoder_do_not_depend_on_the_logarithm() -> None:
    natural, decimal = (measure_vocoder(vocoder, tones(2)) for vocoder in in_either_logarithm())
    for name in ("mel_db", "mel_db_griffin_lim", "lsd_db", "lsd_db_floor"):
        assert decimal[name] == pytest.approx(natural[name], rel=0.01)  # Griffin-Lim carries float32 rounding on


def test_doubling_the_amplitude_is_a_log_spectral_distance_of_6_db() -> None:
    wave = noise(0, 1, 8000)
    assert log_spectral_distance_db(2 * wave, wave, small().spec) == pytest.approx(6.02, abs=0.01)


def test_without_judges_the_loss_is_the_sum_of_its_two_distances() -> None:
    ours, items = lesson(weight=0.0), batch()
    true_BMF = ours.log_mel(items["wave"])
    made_BT = ours.vocoder.wave(true_BMF)
    expected = spectral_loss(made_BT, items["wave"]) + 15.0 * mel_loss(ours.log_mel, made_BT, true_BMF)
    losses = ours.loss(items, draws())
    torch.testing.assert_close(losses.per_item, expected)
    assert losses.game is None


def test_judges_that_have_not_joined_change_nothing() -> None:
    plain, waiting = lesson(weight=0.0), lesson(start=10)
    assert torch.equal(plain.loss(batch(), draws()).per_item, waiting.loss(batch(), draws()).per_item)
    assert waiting.loss(batch(), draws()).game is None


def test_what_is_compared_between_steps_is_without_the_judges() -> None:
    ours = lesson()
    trained = ours.loss(batch(), draws()).per_item
    seen = ours.eval().loss(batch(), draws())
    assert torch.equal(seen.per_item, lesson(weight=0.0).loss(batch(), draws()).per_item)
    assert seen.logged.keys() == ours.train().loss(batch(), draws()).logged.keys()
    assert (trained > seen.per_item).all()


def test_the_judges_hear_the_same_window_of_both_at_the_true_ones_level() -> None:
    ours, items = lesson(), batch()
    items["wave"] *= torch.tensor([1.0, 0.1, 0.02, 1.0])[:, None]
    game = ours.loss(items, draws()).game
    assert game is not None
    assert game.true.shape == game.made.shape == (4, 32 * 64)
    assert game.true.square().mean(dim=1).sqrt().tolist() == pytest.approx([0.1] * 4, rel=1e-3)
    again = ours._game(items["wave"], items["wave"], draws())
    assert torch.equal(again.true, again.made)
    assert torch.equal(again.true, game.true)


def test_each_process_lets_the_judges_hear_the_windows_that_one_would() -> None:
    ours, items = lesson(), batch()
    whole = ours._game(items["wave"], items["wave"], draws())
    for rank in range(2):
        rows = items["wave"][rank::2]
        assert torch.equal(ours._game(rows, rows, draws(2, (rank, 2))).true, whole.true[rank::2])


def test_the_gradients_of_two_halves_are_those_of_the_whole() -> None:
    ours, items = lesson(), batch()

    def gradients(rows: slice, ranks: tuple[int, int]) -> list[torch.Tensor]:
        part = {**items, "wave": items["wave"][rows]}
        ours.zero_grad()
        ours.adversary.judges.zero_grad()  # type: ignore[union-attr]
        losses = ours.loss(part, draws(len(part["wave"]), ranks))
        losses.per_item.mean().backward()
        ours.adversary.learn(losses.game)  # type: ignore[union-attr,arg-type]
        networks = (ours.vocoder, ours.adversary.judges)  # type: ignore[union-attr]
        return [weight.grad for network in networks for weight in network.parameters()]  # type: ignore[misc]

    whole = gradients(slice(None), (0, 1))
    halves = [gradients(slice(rank, None, 2), (rank, 2)) for rank in range(2)]
    for value, first, second in zip(whole, *halves, strict=True):
        # sums in another order; 6e-7 of the largest gradient, 1.5, measured
        torch.testing.assert_close((first + second) / 2, value, rtol=0, atol=1e-5 * max(1.0, float(value.abs().max())))


def test_a_run_leaves_a_vocoder_that_measures_as_its_card_says(tmp_path: Path) -> None:
    words = [*tiny_vocoder(tmp_path), "--out", str(tmp_path / "out"), "--max-steps", "3", "--run.preview_every", "3"]
    answer = command(words)
    saved = load_own(tmp_path / "out")
    assert all(weight.dtype == torch.float32 for weight in saved.parameters())  # as it is used; on disk float16
    size = (tmp_path / "out" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < 2.2 * sum(weight.numel() for weight in saved.parameters()) + 4096
    card = (tmp_path / "out" / "card.md").read_text()
    for figures in answer["figures"].values():
        assert f"{figures['mel_db']:.2f}" in card
        assert figures["lsd_db"] > figures["lsd_db_floor"]
    history = [json.loads(line) for line in (tmp_path / "out" / "logs" / "history.jsonl").read_text().splitlines()]
    assert {"corpus/mel_db", "recordings/lsd_db_griffin_lim"} <= history[-1].keys()


def test_until_the_judges_join_a_run_is_bit_for_bit_one_without(tmp_path: Path) -> None:
    words, waves = tiny_vocoder(tmp_path), []
    for name, change in (("plain", ["--adversary.weight", "0"]), ("waiting", ["--adversary.start", "2"])):
        command([*words, "--out", str(tmp_path / name), "--max-steps", "2", "--run.val_every", "0", *change])
        waves.append(load_own(tmp_path / name)(torch.zeros(1, 16, 8)))
    assert torch.equal(*waves)


@pytest.mark.slow
def test_a_little_training_brings_the_mel_nearer(tmp_path: Path) -> None:
    words = [*tiny_vocoder(tmp_path), "--run.val_every", "0", "--ema.decay", "0.9", "--optim.lr", "3e-3"]
    words += ["--vocoder.rounds", "0", "--adversary.weight", "0"]
    figures = []
    for steps in (1, 150):
        answer = command([*words, "--out", str(tmp_path / str(steps)), "--max-steps", str(steps)])
        figures.append(answer["figures"]["recordings"])
    assert figures[1]["mel_db"] < 0.7 * figures[0]["mel_db"]


def test_a_vocoder_is_trained_on_from_a_folder_with_more_rounds(tmp_path: Path) -> None:
    first = small()
    first.half().save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    how = VocoderConfig(rounds=2, relaxation=1.5)
    again = vocoder_from(str(tmp_path), first.spec, how)
    assert (again.rounds, again.relaxation, again.spec) == (2, 1.5, first.spec)
    assert all(weights.requires_grad and weights.dtype == torch.float32 for weights in again.parameters())
    for mine, other in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, other.float())
    with pytest.raises(UsageError, match="does not exist"):
        vocoder_from(str(tmp_path / "nowhere"), first.spec, how)
    with pytest.raises(SpecError, match="hop_length=64"):
        vocoder_from(str(tmp_path), dataclasses.replace(first.spec, hop_length=128), how)


def test_crops_that_the_longest_transform_does_not_fit_into_are_refused(tmp_path: Path) -> None:
    how = config()
    short = dataclasses.replace(how, segment=dataclasses.replace(how.segment, num_mel_frames=16))
    with pytest.raises(UsageError, match=r"segment.num_mel_frames 16 must be at least 32"):
        course(short, Sources(recordings=str(recordings(tmp_path))), None, None)
