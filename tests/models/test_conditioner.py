"""Conditions and their encoder: masked tokens have exactly no influence, all masked means unconditional."""

import math

import pytest
import torch

from clipsonic.errors import SpecError
from clipsonic.models.conditioner import (
    Condition,
    ConditionEncoder,
    global_condition,
    pooled_condition,
    pooled_tokens,
    timed_condition,
)
from clipsonic.seeding import torch_generator
from clipsonic.specs import GLOBAL_TIME_S

E_WIDTH, D_WIDTH = 16, 24


def units(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(shape, generator=torch_generator(seed, "test.condition")), dim=-1)


def frames(batch=3, count=4, seed=0, mask=None):
    times_s = (torch.arange(count) + 0.5).expand(batch, count)
    return timed_condition(units(batch, count, E_WIDTH, seed=seed), times_s, mask)


def encoder():
    torch.manual_seed(0)
    network = ConditionEncoder(E_WIDTH, D_WIDTH)
    torch.nn.init.normal_(network.global_token)
    return network.eval()


@pytest.mark.parametrize("rubbish", [0.0, 123.0, float("nan"), float("inf")])
def test_what_a_masked_token_holds_changes_nothing_bit_for_bit(rubbish):
    mask = torch.tensor([[True, False, True, False]] * 3)
    plain = frames(mask=mask)
    spoilt = Condition(
        plain.tokens.masked_fill(~mask[..., None], rubbish), plain.times_s.masked_fill(~mask, rubbish), mask
    )
    for ours, theirs in zip(encoder()(plain), encoder()(spoilt), strict=True):
        assert torch.equal(ours[:, [0, 1, 3]], theirs[:, [0, 1, 3]])
        assert torch.isfinite(theirs.float()).all()


def test_all_masked_leaves_the_learned_null_token_alone():
    network = encoder()
    tokens, mask = network(frames().null_like())
    assert mask.tolist() == [[True, False, False, False, False]] * 3
    assert torch.equal(tokens[:, 0], network.null_token.expand(3, -1))
    assert torch.equal(pooled_tokens(tokens, mask), tokens[:, 0])


def test_the_pooled_vector_is_the_mean_of_what_counts():
    tokens, mask = encoder()(frames(mask=torch.tensor([[True, True, False, False]] * 3)))
    torch.testing.assert_close(pooled_tokens(tokens, mask), tokens[:, 1:3].mean(dim=1))


def test_times_move_timed_tokens_and_the_global_token_has_its_own_place():
    network, embeds = encoder(), units(1, 1, E_WIDTH)
    places = [
        network(timed_condition(embeds, torch.tensor([[time_s]])))[0][0, 1] for time_s in (0.0, 0.5, 4.0, GLOBAL_TIME_S)
    ]
    for index, one in enumerate(places):
        for other in places[index + 1 :]:
            assert (one - other).abs().max() > 1e-3
    assert torch.equal(places[-1], network(global_condition(embeds[:, 0]))[0][0, 1])


def test_a_unit_embedding_enters_with_unit_variance():
    network = encoder()
    with torch.no_grad():
        network.project.weight.copy_(torch.eye(D_WIDTH, E_WIDTH))
        network.project.bias.zero_()
        network.global_token.zero_()
    token = network(global_condition(units(1, E_WIDTH)))[0][0, 1]
    assert token.norm().item() == pytest.approx(math.sqrt(E_WIDTH), rel=1e-6)


def test_pooled_frames_are_one_global_unit_vector_of_what_counts():
    embeds = units(2, 4, E_WIDTH)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    pooled = pooled_condition(embeds, mask)
    expected = torch.nn.functional.normalize(embeds[0, :2].sum(dim=0), dim=0)
    torch.testing.assert_close(pooled.tokens[0, 0], expected)
    assert pooled.times_s.tolist() == [[GLOBAL_TIME_S]] * 2
    assert pooled.mask.tolist() == [[True], [False]]
    assert torch.isfinite(pooled.tokens).all()


def test_pooling_equal_frames_gives_that_frame():
    embed = units(1, 1, E_WIDTH)
    torch.testing.assert_close(pooled_condition(embed.expand(1, 4, -1)).tokens, embed)


def test_padding_and_joining_keep_each_item():
    joined = Condition.cat([frames(2, 4), global_condition(units(1, E_WIDTH, seed=7))])
    assert joined.tokens.shape == (3, 4, E_WIDTH)
    assert joined.mask.sum(dim=1).tolist() == [4, 4, 1]
    assert torch.equal(joined.tokens[2, 0], units(1, E_WIDTH, seed=7)[0])
    assert torch.equal(joined.times_s[:2], frames(2, 4).times_s)
    with pytest.raises(SpecError, match="cannot be padded"):
        frames(1, 4).pad_to(2)


def test_repeat_keeps_the_sounds_of_a_prompt_together():
    repeated = frames(2).repeat(3)
    assert len(repeated) == 6
    assert torch.equal(repeated.tokens[2], frames(2).tokens[0])
    assert torch.equal(repeated[3:4].tokens, frames(2)[1:2].tokens)


def test_what_is_known_to_be_full_is_full_and_masking_or_padding_ends_it():
    full = [global_condition(torch.randn(3, 4)), timed_condition(torch.randn(3, 2, 4), torch.zeros(3, 2)),
            pooled_condition(torch.randn(3, 2, 4))]  # fmt: skip
    kept = [
        change for one in full for change in (one, one[:2], one.to("cpu"), one.repeat(2), Condition.cat([one, one]))
    ]
    assert all(one.is_full and bool(one.mask.all()) for one in kept)
    for one in full:
        not_known = [one.null_like(), one.keep_where(torch.tensor([True, False, True])), one.pad_to(3)]
        not_known.append(Condition.cat([one, one.null_like()]))
        assert not any(other.is_full or bool(other.mask.all()) for other in not_known)
    assert not Condition.cat(full[:2]).is_full


def test_dropout_masks_whole_items_only():
    kept = frames().keep_where(torch.tensor([True, False, True]))
    assert kept.mask.all(dim=1).tolist() == [True, False, True]
    assert not kept.mask[1].any()


def test_times_stay_float32_when_tokens_are_halved():
    half = frames().to("cpu", torch.bfloat16)
    assert half.tokens.dtype == torch.bfloat16
    assert half.times_s.dtype == torch.float32


def test_shapes_that_do_not_agree_and_other_clips_are_refused():
    with pytest.raises(SpecError, match=r"\(B, S, E\)"):
        timed_condition(units(2, 3, E_WIDTH), torch.zeros(2, 4))
    with pytest.raises(SpecError, match="bool"):
        Condition(units(1, 1, E_WIDTH), torch.zeros(1, 1), torch.ones(1, 1))
    with pytest.raises(SpecError, match=f"width 8, this model takes {E_WIDTH}"):
        encoder()(global_condition(units(1, 8)))
