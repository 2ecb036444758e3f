"""Closers: the right one by name, unit vectors out, each doing what its paper says."""

import pytest
import torch
from torch.nn.functional import normalize

from clipsonic.errors import CheckpointError, UsageError
from clipsonic.prior.adapter import PriorShape, TextPrior
from clipsonic.prior.bank import MAX_BANK, EmbedBank
from clipsonic.prior.closers import make_closer, mean_shift, neighbours, why_not


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def prior():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = PriorShape(width=16, depth=1, heads=1, head_width=16, num_timesteps=4)
        return TextPrior(shape, "toy/abc", means=(0.1 * draw(16, seed=2), 0.1 * draw(16, seed=3)))


@pytest.fixture(scope="module")
def bank():
    return EmbedBank.of(draw(50, 16, seed=4).numpy(), "toy/abc")


def texts():
    return normalize(draw(2, 16, seed=1), dim=-1)


def generators():
    return [torch.Generator().manual_seed(n) for n in range(2)]


def test_zero_shot_is_the_text_itself():
    assert (make_closer("zero-shot")(texts(), []) - texts()).abs().max() < 1e-7  # one renormalisation


def test_auto_is_the_prior_else_neighbours_else_zero_shot(prior, bank):
    def close(name, given, bank=None):
        return make_closer(name, given, bank)(texts(), generators())

    assert torch.equal(close("auto", prior, bank), close("prior", prior))
    assert torch.equal(close("auto", None, bank), close("neighbours", None, bank))
    assert torch.equal(close("auto", None), close("zero-shot", None))
    assert torch.equal(close("zero-shot", prior), close("zero-shot", None))


@pytest.mark.parametrize("name", ["zero-shot", "mean-shift", "neighbours", "prior"])
def test_every_closer_gives_unit_vectors_and_the_same_alone_as_in_a_batch(name, prior, bank):
    close = make_closer(name, prior, bank)
    together = close(texts(), generators())
    assert together.shape == (2, 16)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))
    for place, generator in enumerate(generators()):
        alone = close(texts()[place : place + 1], [generator])
        torch.testing.assert_close(alone[0], together[place], atol=1e-6, rtol=0)


def test_the_mean_shift_undoes_most_of_a_constant_gap_and_nothing_where_there_is_none():
    pictures, gap = normalize(draw(6, 16, seed=5), dim=-1), 0.7 * normalize(draw(16, seed=6), dim=0)
    said = normalize(pictures + gap, dim=-1)
    closed = mean_shift(said.mean(0), pictures.mean(0))(said, [])
    assert ((closed * pictures).sum(1) > (said * pictures).sum(1)).all()
    torch.testing.assert_close(mean_shift(gap, gap)(pictures, []), pictures)


def test_the_mean_picture_is_the_corpuss_own_where_there_is_a_bank(prior, bank):
    with_bank, without = (make_closer("mean-shift", prior, given)(texts(), []) for given in (bank, None))
    expected = normalize(texts() - prior.means[0] + bank.images.mean(0), dim=-1)
    torch.testing.assert_close(with_bank, expected)
    torch.testing.assert_close(without, normalize(texts() - prior.means[0] + prior.means[1], dim=-1))


def test_neighbours_lie_among_the_bank(bank):
    assert torch.allclose(neighbours(bank.images, count=1)(bank.images[7:8], []), bank.images[7:8], atol=1e-6)
    few = neighbours(bank.images[:3])(texts(), [])  # fewer pictures than neighbours asked for
    rest = few - few @ torch.linalg.pinv(bank.images[:3]) @ bank.images[:3]
    assert rest.abs().max() < 1e-5  # a mean of the three lies in their span
    cold = neighbours(bank.images, temperature=1e-4)(texts(), [])
    nearest = bank.images[(texts() @ bank.images.T).argmax(1)]
    torch.testing.assert_close(cold, nearest, atol=1e-4, rtol=0)


def test_a_bank_and_a_priors_means_are_saved_and_found_again(tmp_path, prior, bank):
    bank.save(tmp_path / "bank")
    again = EmbedBank.from_folder(tmp_path / "bank")
    assert again.fingerprint == "toy/abc"
    torch.testing.assert_close(again.images, bank.images, atol=1e-3, rtol=0)  # float16
    prior.save(tmp_path / "prior")
    for mine, read in zip(prior.means, TextPrior.from_folder(tmp_path / "prior").means, strict=True):
        torch.testing.assert_close(read, mine, atol=1e-6, rtol=0)
    (tmp_path / "bank" / "bank_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="train again"):
        EmbedBank.from_folder(tmp_path / "bank")


def test_a_bank_that_is_empty_or_too_large_is_refused():
    for count in (0, MAX_BANK + 1):
        with pytest.raises(UsageError, match=f"N from 1 to {MAX_BANK}"):
            EmbedBank(torch.zeros(count, 2), "toy/abc")


def test_an_unknown_closer_and_a_missing_part_are_wrong_usage(prior):
    with pytest.raises(UsageError, match="choose one of auto, zero-shot, mean-shift, neighbours, prior"):
        make_closer("magic")
    with pytest.raises(UsageError, match="--prior FOLDER"):
        make_closer("prior")
    with pytest.raises(UsageError, match="needs the bank"):
        make_closer("neighbours", prior)
    with pytest.raises(UsageError, match="keeps the means"):
        make_closer("mean-shift", TextPrior(prior.shape, "toy/abc"))
    assert why_not("zero-shot", None, None) is None
