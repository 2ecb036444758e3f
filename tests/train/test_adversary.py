"""An adversary: what it asks of the lesson is independent arithmetic, and it learns by itself, repeatably.

Run as a script, it is one of two processes.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from makers_train import in_two_processes
from torch import Tensor, nn

from clipsonic.seeding import torch_generator
from clipsonic.train.engine.adversary import Adversary, Game
from clipsonic.train.engine.config import AdversaryConfig
from clipsonic.train.lessons.discriminators import PERIODS, PeriodDiscriminator, wave_judges


class Judge(nn.Module):
    """Two layers over items (B, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, items: Tensor) -> tuple[Tensor, list[Tensor]]:
        feature = torch.tanh(self.first(items))
        return self.second(feature), [feature]


def adversary(last: nn.Parameter | None = None, judges: int = 2, **how: Any) -> Adversary:
    torch.manual_seed(0)
    return Adversary([Judge() for _ in range(judges)], AdversaryConfig(**{"weight": 0.7, **how}), last)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(seed, "test.adversary"))


def gradients(one: Adversary) -> list[Tensor | None]:
    return [weight.grad for weight in one.judges.parameters()]


def test_what_the_lesson_pays_reaches_the_made_and_leaves_nothing_on_the_judges() -> None:
    ours, game = adversary(), Game(noise(0, 4, 6), noise(1, 4, 6).requires_grad_())
    toll = ours.toll(game, torch.zeros(4))
    toll.per_item.mean().backward()
    assert gradients(ours) == [None] * len(list(ours.judges.parameters()))
    assert game.made.grad is not None
    assert (game.made.grad != 0).any(dim=1).all()
    assert all(weight.requires_grad for weight in ours.judges.parameters())


def test_the_toll_is_the_hinge_of_passing_and_the_relative_distance_of_features() -> None:
    ours, game = adversary(features_weight=2.0), Game(noise(0, 4, 6), noise(1, 4, 6))
    expected = torch.zeros(4)
    with torch.no_grad():
        for judge in ours.judges:
            (_, (true,)), (scores, (made,)) = judge(game.true), judge(game.made)
            expected += 0.7 * (1.0 - scores).clamp_min(0.0).mean(dim=1) / 2
            expected += 2.0 * (made - true).abs().sum(dim=1) / true.abs().sum(dim=1) / 2
    torch.testing.assert_close(ours.toll(game, torch.zeros(4)).per_item, expected)


def test_equal_items_are_at_no_distance_inside_the_judges() -> None:
    same = noise(0, 4, 6)
    logged = adversary().toll(Game(same, same), torch.zeros(4)).logged
    assert (logged["adversary/features"][0] == 0.0).all()
    assert (logged["adversary/told_apart"][0] == 0.0).all()


def test_the_adaptive_weight_lets_passing_pull_as_hard_at_the_last_layer_as_the_rest() -> None:
    last, inputs = nn.Parameter(noise(0, 6, 3)), noise(1, 4, 3)
    ours, true = adversary(last, weight=1.0, features_weight=0.0, adaptive=True), noise(2, 4, 6)

    def pull(of: str) -> Tensor:
        made = inputs @ last.T
        rest = (made - true).square().mean(dim=1)
        paid = ours.toll(Game(true, made), rest).per_item
        (gradient,) = torch.autograd.grad((rest if of == "rest" else paid).mean(), last)
        return gradient

    # 1e-4 in the divisor, against a gradient of passing of about 0.1
    assert float(pull("passing").norm()) == pytest.approx(float(pull("rest").norm()), rel=5e-3)


def test_judges_learn_to_tell_true_from_made_and_are_told_apart() -> None:
    ours = adversary(lr=0.01)
    game = Game(noise(0, 64, 6) + 0.7, noise(1, 64, 6) - 0.7)
    for _ in range(60):
        ours.learn(game)
        ours.step(1.0)
    assert ours.toll(game, torch.zeros(64)).logged["adversary/told_apart"][0].mean() > 1.5  # 2 passes for told apart


def test_two_games_before_a_step_count_as_one_of_both() -> None:
    halves, whole = adversary(), adversary()
    true, made = noise(0, 8, 6), noise(1, 8, 6)
    halves.learn(Game(true[:4], made[:4]))
    halves.learn(Game(true[4:], made[4:]))
    whole.learn(Game(true, made))
    for one in (halves, whole):
        one.step(0.5)
    for a, b in zip(halves.judges.parameters(), whole.judges.parameters(), strict=True):
        torch.testing.assert_close(a, b)  # sums in another order


def test_a_rate_of_nothing_moves_nothing() -> None:
    ours = adversary()
    before = copy.deepcopy(ours.judges.state_dict())
    ours.learn(Game(noise(0, 4, 6), noise(1, 4, 6)))
    ours.step(0.0)
    assert all(torch.equal(value, before[name]) for name, value in ours.judges.state_dict().items())


def test_it_joins_at_its_start_and_until_then_stays_as_it_was() -> None:
    ours = adversary(start=2)
    before = copy.deepcopy(ours.state_dict())
    for _ in range(2):
        assert not ours.plays
        assert (ours.no_toll(torch.ones(4)).per_item == 0.0).all()
        ours.step(1.0)
    assert ours.plays
    assert ours.state_dict()["optimizer"] == before["optimizer"]
    assert (
        ours.toll(Game(noise(0, 4, 6), noise(1, 4, 6)), torch.zeros(4)).logged.keys()
        == ours.no_toll(torch.zeros(4)).logged.keys()
    )


def test_a_saved_adversary_continues_bit_for_bit() -> None:
    first, second = adversary(), adversary()
    games = [Game(noise(n, 4, 6), noise(n + 10, 4, 6)) for n in range(6)]
    for number, game in enumerate(games):
        if number == 3:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        for one in (first, second) if number >= 3 else (first,):
            one.learn(game)
            one.step(1.0)
    assert first.num_steps == second.num_steps == 6
    for a, b in zip(first.judges.parameters(), second.judges.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_judge_of_waves_hears_each_item_alone_and_any_length() -> None:
    torch.manual_seed(0)
    waves = 0.1 * noise(0, 3, 4999)
    for judge in wave_judges(4):
        scores, features = judge(waves)
        alone, _ = judge(waves[1:2])
        torch.testing.assert_close(scores[1:2], alone, rtol=1e-4, atol=1e-5)  # other blocking of the same products
        assert len(scores) == 3
        assert all(len(feature) == 3 for feature in features)


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_judge_never_mixes_phases(period: int) -> None:
    torch.manual_seed(0)
    judge, wave = PeriodDiscriminator(period, 4), (0.1 * noise(0, 1, 60 * period)).requires_grad_()
    scores, _ = judge(wave)
    scores.unflatten(1, (period, -1))[:, 0].sum().backward()
    assert wave.grad is not None
    by_phase = wave.grad.unflatten(1, (-1, period)).abs().sum(dim=(0, 1))
    assert by_phase[0] > 0.0
    assert (by_phase[1:] == 0.0).all()


def two_steps(rows: slice) -> dict[str, Tensor]:
    """Judges after two steps on these rows of the batch, and the adaptive weight that they then ask for."""
    last, inputs = nn.Parameter(noise(0, 6, 3)), noise(1, 8, 3)[rows]
    ours, true = adversary(last, adaptive=True), noise(2, 8, 6)[rows]
    for _ in range(2):
        made = inputs @ last.T
        toll = ours.toll(Game(true, made), (made - true).square().mean(dim=1))
        ours.learn(Game(true, made))
        ours.step(1.0)
    return {**ours.judges.state_dict(), "scale": toll.logged["adversary/scale"][0][0]}


def test_two_processes_learn_and_ask_what_one_does(tmp_path: Path) -> None:
    in_two_processes(__file__, tmp_path)
    whole = two_steps(slice(None))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in whole.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=2e-6)  # sums in another order; 2e-7 measured


def one_of_two(rank: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(two_steps(slice(rank, None, 2)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), Path(sys.argv[2]))
