"""What a sample sees of its frames, and how often."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from clipsonic.specs import GLOBAL_TIME_S
from clipsonic.train.engine.draws import Draws
from clipsonic.train.lessons.condition import GLOBAL, POOLED, TIMED, draw_condition, draw_kinds, turned

B, S, E = 2000, 5, 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(seed: int = 0, batch: int = B) -> Draws:
    return Draws(generator(seed), batch)


@pytest.fixture
def frames() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames of which 1 to 5 per sample are there; the others hold NaN, which would show."""
    embeds = functional.normalize(torch.randn(B, S, E, generator=generator()), dim=-1)
    mask = torch.arange(S) <= (torch.arange(B) % S)[:, None]
    times_s = (torch.arange(S) + 0.5).expand(B, S).clone()
    return embeds.masked_fill(~mask[..., None], torch.nan), times_s, mask


def near(count: int, trials: int, share: float) -> bool:
    """Within 4 standard deviations of a binomial: wrong once in 16,000 seeds."""
    return abs(count - trials * share) <= 4 * (trials * share * (1 - share)) ** 0.5


def test_the_dropout_rate_is_within_binomial_bounds(frames: tuple[torch.Tensor, ...]) -> None:
    for dropout in (0.0, 0.1, 0.5):
        condition = draw_condition(*frames, draws(), dropout=dropout)
        assert near(int((~condition.mask.any(1)).sum()), B, dropout)


def test_the_kinds_come_in_their_shares() -> None:
    kinds = draw_kinds(draws(batch=30000), (1.0, 2.0, 1.0))
    for kind, share in ((GLOBAL, 0.25), (POOLED, 0.5), (TIMED, 0.25)):
        assert near(int((kinds == kind).sum()), 30000, share)
    for kind in (GLOBAL, POOLED, TIMED):
        shares = tuple(float(kind == other) for other in (GLOBAL, POOLED, TIMED))
        assert (draw_kinds(draws(batch=1000), shares) == kind).all()  # type: ignore[arg-type]


def test_timed_tokens_are_the_frames_at_their_times(frames: tuple[torch.Tensor, ...]) -> None:
    embeds, times_s, mask = frames
    condition = draw_condition(*frames, draws(), shares=(0.0, 0.0, 1.0))
    assert torch.equal(condition.mask, mask)
    assert torch.equal(condition.tokens[mask], embeds[mask])
    assert torch.equal(condition.times_s[mask], times_s[mask])


def test_a_global_frame_is_one_of_the_samples_own_each_as_often(frames: tuple[torch.Tensor, ...]) -> None:
    embeds, _, mask = frames
    condition = draw_condition(*frames, draws(), shares=(1.0, 0.0, 0.0))
    assert condition.mask.sum(1).eq(1).all()
    assert condition.mask[:, 0].all()
    assert (condition.times_s[:, 0] == GLOBAL_TIME_S).all()
    same = (condition.tokens[:, :1] == embeds).all(-1) & mask
    assert same.sum(1).eq(1).all()
    full = mask.all(1)
    for index in range(S):
        assert near(int(same[full, index].sum()), int(full.sum()), 1 / S)


def test_pooled_frames_are_their_normalised_mean(frames: tuple[torch.Tensor, ...]) -> None:
    embeds, _, mask = frames
    condition = draw_condition(*frames, draws(), shares=(0.0, 1.0, 0.0))
    expected = functional.normalize(embeds.masked_fill(~mask[..., None], 0.0).sum(1), dim=-1)
    # sums of five float32 in another order: error 2e-7 measured
    assert torch.allclose(condition.tokens[:, 0], expected, atol=2e-6)
    assert (condition.times_s[:, 0] == GLOBAL_TIME_S).all()
    assert condition.mask.sum(1).eq(1).all()


def test_equal_generators_draw_equal_conditions(frames: tuple[torch.Tensor, ...]) -> None:
    first, again, other = (draw_condition(*frames, draws(seed), dropout=0.3) for seed in (1, 1, 2))
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.times_s, again.times_s)
    assert not torch.equal(first.mask, other.mask)


def test_embedding_noise_turns_unit_vectors_by_its_length() -> None:
    vectors = functional.normalize(torch.randn(4000, 1, 512, generator=generator()), dim=-1)
    noisy = turned(vectors, draws(1, 4000).last_normal(1, 512), 0.5)
    assert torch.allclose(noisy.norm(dim=-1), torch.ones(4000, 1), atol=1e-6)
    # noise of length 0.5, nearly at a right angle in 512 dimensions: cosine 1 / sqrt(1 + 0.25)
    assert (noisy * vectors).sum(-1).mean().item() == pytest.approx(1.25**-0.5, abs=0.005)
    there = torch.ones(4000, 1, dtype=torch.bool)
    without = draw_condition(vectors, torch.zeros(4000, 1), there, draws(1, 4000), shares=(0.0, 0.0, 1.0))
    assert torch.equal(without.tokens, vectors)


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_row_draws_the_same_whoever_holds_it_and_however_its_batch_is_padded(
    frames: tuple[torch.Tensor, ...], world_size: int
) -> None:
    whole = draw_condition(*frames, draws(), dropout=0.3, embed_noise_std=0.4)
    for rank in range(world_size):
        mine = [part[rank::world_size] for part in frames]
        padded = [
            functional.pad(mine[0], (0, 0, 0, 2)),
            functional.pad(mine[1], (0, 2)),
            functional.pad(mine[2], (0, 2)),
        ]
        part = Draws(generator(), B // world_size, rank, world_size)
        drawn = draw_condition(padded[0], padded[1], padded[2], part, dropout=0.3, embed_noise_std=0.4)
        assert torch.equal(drawn.mask[:, :S], whole.mask[rank::world_size])
        assert not drawn.mask[:, S:].any()
        seen = whole.mask[rank::world_size]
        # pooled frames are summed over a row of another length: one rounding of numbers up to 1, 6e-8
        assert torch.allclose(drawn.tokens[:, :S][seen], whole.tokens[rank::world_size][seen], atol=1e-6)
